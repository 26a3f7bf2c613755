// Package client is a client of servers that speak the Pusher Channels protocol, for
// the commands: [Client.Dial] connects as a page does, [Client.Get] and
// [Client.Publish] send requests as a backend does.
//
// No error holds a secret or a signature.
package client

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"belfry/auth"
)

// Client is an app of a server. Its fields are not changed while it is in use; all
// methods may be called concurrently.
type Client struct {
	// WebSocket is where pages connect, API where backends send requests: http or
	// https, a host, and maybe a path prefix.
	WebSocket, API *url.URL
	AppID          string
	// Credentials have no secret where none is known: then nothing is signed.
	Credentials auth.Credentials
	// TLS is for both; nil means the system's certificate authorities.
	TLS *tls.Config
}

// http returns a client that opens a connection for each request, ignores proxies of the
// environment and follows no redirect: no WebSocket would.
func (c *Client) http() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: c.TLS.Clone(), DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// maxText is how much of a server's text an error repeats, in bytes.
const maxText = 500

// Printable returns s as one line without control characters, so that what a server sends
// cannot drive a terminal.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return unicode.ReplacementChar
	}, s)
}

// clip returns what an error repeats of a server's text.
func clip(s string) string {
	s = strings.TrimSpace(Printable(s))
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}
