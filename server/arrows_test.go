package server_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// isJSON says whether a module is the decoder of package protocol, which is as
// pure.
func isJSON(module string) bool { return module == "github.com/go-json-experiment/json" }

// TestArrows holds the packages to the one direction in which they import:
// cmd, commands, server, channels, protocol; and auth, protocol.
func TestArrows(t *testing.T) {
	type goPackage struct {
		ImportPath string
		Name       string
		Imports    []string
		Module     *struct{ Path string }
	}
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Name,Imports,Module", "belfry/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := make(map[string]goPackage)
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages[p.ImportPath] = p
	}
	ours := func(path string) bool { return path == "belfry" || strings.HasPrefix(path, "belfry/") }
	// room is the part of the house that a package is in.
	room := func(path string) string {
		room, _, _ := strings.Cut(strings.TrimPrefix(path, "belfry/"), "/")
		return room
	}

	// May import, beside its own.
	rooms := map[string][]string{
		"protocol": {},
		"auth":     {"protocol"},
		"channels": {"protocol"},
		"server":   {"channels", "auth", "protocol"},
		"commands": {"server", "auth", "protocol"},
		"cmd":      {"commands", "server", "channels", "auth", "protocol"},
	}
	pure := []string{"belfry/protocol", "belfry/auth"}
	found := make(map[string]bool)
	for path, p := range packages {
		if !ours(path) {
			continue
		}
		found[room(path)] = true
		for _, imported := range p.Imports {
			if !ours(imported) {
				if slices.Contains(pure, path) && (imported == "net/http" || imported == "net" || imported == "os" ||
					imported == "sync" || strings.HasPrefix(imported, "sync/") || packages[imported].Module != nil && !isJSON(packages[imported].Module.Path)) {
					t.Errorf("%s imports %s, and is to be pure", path, imported)
				}
				continue
			}
			if room(path) == "commands" && room(imported) == "server" && imported != "belfry/server/config" {
				t.Errorf("%s imports %s: commands look at a server from outside", path, imported)
			}
			if allowed, ok := rooms[room(path)]; ok && room(imported) != room(path) && !slices.Contains(allowed, room(imported)) {
				t.Errorf("%s imports %s", path, imported)
			}
			if packages[imported].Name == "main" || room(imported) == "cmd" && room(path) != "cmd" {
				t.Errorf("%s imports %s", path, imported)
			}
		}
	}
	for name := range rooms {
		if !found[name] {
			t.Errorf("there is no package in %s", name)
		}
	}
	// What only tests need is not in the program.
	program, err := exec.Command("go", "list", "-deps", "belfry/cmd/belfry").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range strings.Fields(string(program)) {
		if path == "testing" || strings.HasPrefix(path, "belfry/server/internal/") {
			t.Errorf("the program has %s in it", path)
		}
	}
}
