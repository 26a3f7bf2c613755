package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Check asks where apps are looked up whether they can be.
func TestCheckAsksTheSource(t *testing.T) {
	status := http.StatusNotFound
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer source.Close()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "apps_from: {url: %q, token: hunter2}", source.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	out := new(bytes.Buffer)
	if err := check(files{config: file}, out, out); err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), "apps     from http  for 1m0s\n") {
		t.Error(out)
	}
	status = http.StatusForbidden
	if err := check(files{config: file}, out, out); err == nil || !strings.Contains(err.Error(), "it answered 403: see apps_from.token") {
		t.Error(err)
	}
}
