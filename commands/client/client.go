// Package client is a client of servers that speak the Pusher Channels protocol, for
// the commands: [Client.Dial] connects as a page does, [Client.Get] and [Client.Post]
// send requests as a backend does.
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

// http connects anew for each request, to no proxy of the environment, and follows no
// redirect, as no WebSocket does either.
func (c *Client) http() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: c.TLS.Clone(), DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// maxText bounds what is repeated of a server's text, in bytes.
const maxText = 500

// Printable makes one line of s without anything that a terminal obeys.
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

// clip is what an error repeats of a server's text.
func clip(s string) string {
	s = strings.TrimSpace(Printable(s))
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}
