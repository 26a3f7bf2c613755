package client

import (
	"strings"
	"testing"
)

// What a server says cannot drive a terminal.
func TestPrintable(t *testing.T) {
	if got := Printable("a\x1b[31m\r\nb\u202e\tÄ"); got != "a\ufffd[31m  b\ufffd Ä" {
		t.Errorf("%q", got)
	}
}

func TestErrorText(t *testing.T) {
	for body, want := range map[string]string{
		``:                              "",
		`{"error":"no"}`:                "no",
		`{"ERROR":"no"}`:                `{"ERROR":"no"}`,
		`{"message":"no\n"}`:            "no",
		`{"status":"draining"}`:         "draining",
		"plain\n":                       "plain",
		"<HTML><TITLE lang=en>404":      "a page",
		"\n<html><title>404\nx</title>": `a page, "404 x"`,
		strings.Repeat("ä", maxText):    strings.Repeat("ä", maxText/2) + "…",
	} {
		if got := errorText([]byte(body)); got != want {
			t.Errorf("%q is told as %q, not %q", body, got, want)
		}
	}
}

// Pusher and Belfry send an object, Reverb a string; Pusher's codes may be null.
func TestParseError(t *testing.T) {
	for data, want := range map[string]struct {
		code int
		text string
	}{
		`{"code":4009,"message":"no"}`: {4009, "no"},
		`{"code":null,"message":"no"}`: {0, "no"},
		`no`:                           {0, "no"},
	} {
		if code, text := ParseError(Message{Data: data}); code != want.code || text != want.text {
			t.Errorf("%s: %d %q", data, code, text)
		}
	}
}
