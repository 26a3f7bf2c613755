package protocol

import "unicode/utf8"

// Clip shortens what a stranger sent to at most max bytes and an ellipsis, so
// that it can be repeated in an error, a log line or a close frame. It does not
// cut within a character.
func Clip(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max] + "…"
}

// quoted is what an error of this package repeats of a name.
func quoted(s string) string { return Clip(s, 64) }
