// Package commands is what the command line does beside running a server: it listens to
// channels, publishes, and asks a server about itself. Each command is a struct with its
// settings and a Run method, which writes results to Out and messages to Err.
package commands

import (
	"encoding/json"
	"io"
)

// writeJSON writes v as one line.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
