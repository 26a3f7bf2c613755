// Package auth signs and verifies everything that an application of the
// Pusher Channels protocol proves with its secret. All of it is HMAC-SHA256
// (RFC 2104) over a short text, written as 64 lower-case hex digits:
//
//   - a subscription to a private or presence channel, signed by the
//     application's backend for one client: [Credentials.SignChannel],
//     [Credentials.VerifyChannel];
//   - a user signing in: [Credentials.SignUser], [Credentials.VerifyUser];
//   - a request to the HTTP API: [Credentials.SignRequest],
//     [Credentials.VerifyRequest];
//   - a webhook delivery: [Credentials.SignWebhook],
//     [Credentials.VerifyWebhook].
//
// # What is signed
//
//	channel   socket_id:channel_name
//	          socket_id:channel_name:channel_data   when there is channel_data
//	user      socket_id::user::user_data
//	request   METHOD\nPATH\nQUERY
//	webhook   the request body
//
// The first two travel as a token, "KEY:DIGEST". channel_data and user_data
// are signed as the exact text that was sent: re-encoding the JSON breaks the
// signature.
//
// QUERY is every parameter but auth_signature as name=value, decoded, names
// in lower case, sorted by name and joined with "&". A request carries
// auth_key, auth_timestamp (Unix seconds), auth_version (1.0), auth_signature
// and, when it has a body, body_md5 (the MD5 of the body in hex).
//
// The sources are Pusher's documentation, "Authorizing users", "Authenticating
// users", "HTTP API: Authentication" and "Webhooks: Security", and, where that
// is silent, what its server libraries do; see [Credentials.VerifyRequest] for
// array parameters.
//
// # Several secrets
//
// A secret is changed without a moment in which somebody is refused: while
// backends move from the old to the new one, both verify and the new one signs;
// see [Credentials].
//
// # Errors
//
// A Verify method returns nil or an error that wraps one of the Err values of
// this package. Its text says which check failed, what was given and what to
// change, so that it can be sent to the caller and logged. It holds neither
// the secret nor the digest that would have been right. Text that came from
// the caller is quoted and cut to a bounded length.
//
// # Purity
//
// The package starts no goroutine, holds no lock, reads no clock and keeps no
// state: everything here is safe for concurrent use.
package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
)

// The reasons for which a Verify method refuses, for use with [errors.Is].
var (
	// ErrNoSignature: the request or subscription is not signed at all.
	ErrNoSignature = errors.New("no signature given")
	// ErrKey: the key is missing or is not the key of this application.
	ErrKey = errors.New("unknown key")
	// ErrVersion: auth_version is not 1.0.
	ErrVersion = errors.New("unsupported auth_version")
	// ErrTimestamp: auth_timestamp is missing, malformed or too far from the
	// server's time.
	ErrTimestamp = errors.New("timestamp expired")
	// ErrBodyMD5: body_md5 is missing or is not the digest of the body.
	ErrBodyMD5 = errors.New("body_md5 does not match the body")
	// ErrSignature: the signature does not match what it should sign.
	ErrSignature = errors.New("invalid signature")
)

// Credentials are one application's key and secret. The zero value verifies
// nothing: without a secret everybody could sign. For the same reason an empty
// text among OldSecrets makes every Verify method refuse.
//
// All of fmt's verbs, slog and encoding/json leave the secret out. fmt cannot
// do so for a Credentials in an unexported field of another struct: print such
// a struct by a method of its own.
type Credentials struct {
	Key    string
	Secret string `json:"-"` // signs and verifies
	// OldSecrets verify as well, and sign nothing: those that Secret is
	// replacing. None mostly.
	OldSecrets []string `json:"-"`
}

// String names the key only.
func (c Credentials) String() string {
	return "auth.Credentials{Key:" + strconv.Quote(c.Key) + ", Secret:hidden}"
}

// GoString is [Credentials.String].
func (c Credentials) GoString() string { return c.String() }

// Format writes [Credentials.String] for every verb: without it, %d would print
// the fields.
func (c Credentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue names the key only.
func (c Credentials) LogValue() slog.Value {
	return slog.GroupValue(slog.String("key", c.Key), slog.String("secret", "hidden"))
}

// digestLen is the length of an HMAC-SHA256 in hex, in bytes.
const digestLen = sha256.Size * 2

// appendDigest appends the HMAC-SHA256 of message, in hex, to b.
func (c Credentials) appendDigest(b, message []byte) []byte {
	return appendDigest(b, message, c.Secret)
}

func appendDigest(b, message []byte, secret string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write(message)
	var sum [sha256.Size]byte
	return hex.AppendEncode(b, h.Sum(sum[:0]))
}

// signs reports whether digest is the HMAC-SHA256 of message, with any of the
// secrets, in lower-case hex. It takes the same time wherever the two differ;
// what the time does tell is which of the secrets signed.
func (c Credentials) signs(digest string, message []byte) bool {
	if signs(digest, message, c.Secret) {
		return true
	}
	for _, secret := range c.OldSecrets {
		if signs(digest, message, secret) {
			return true
		}
	}
	return false
}

func signs(digest string, message []byte, secret string) bool {
	var want, got [digestLen]byte
	appendDigest(want[:0], message, secret)
	copy(got[:], digest)
	return len(digest) == digestLen && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// usable refuses credentials that anybody could forge a signature for.
func (c Credentials) usable() error {
	if c.Key == "" || c.Secret == "" || slices.Contains(c.OldSecrets, "") {
		return refuse(ErrKey, "the application has no key or no secret: configure both")
	}
	return nil
}

// wrongKey is the error for a key that is not c's. A client configured with key
// and secret swapped sends a secret here: that one is named, not shown.
func (c Credentials) wrongKey(field, given string) error {
	same := func(secret string) bool { return subtle.ConstantTimeCompare([]byte(given), []byte(secret)) == 1 }
	if same(c.Secret) || slices.ContainsFunc(c.OldSecrets, same) {
		return refuse(ErrKey, "%s holds this application's secret: the client has key and secret swapped", field)
	}
	return refuse(ErrKey, "%s %s is not this application's key %s: check the client's key", field, clip(given), clip(c.Key))
}

// refusal is one of the Err values with a text of its own.
type refusal struct {
	kind error
	text string
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.kind }

func refuse(kind error, format string, args ...any) error {
	return &refusal{kind: kind, text: fmt.Sprintf(format, args...)}
}

// maxQuoted bounds what an error repeats of one value the caller sent, in bytes.
const maxQuoted = 100

// clip quotes s for an error message: one line, printable, bounded, and without
// what could be a signature that the client has put in the wrong place.
func clip(s string) string {
	s = digestLike.ReplaceAllLiteralString(s[:min(len(s), 4*maxQuoted)], "[signature]")
	if len(s) > maxQuoted {
		return strconv.QuoteToASCII(s[:maxQuoted]) + "…"
	}
	return strconv.QuoteToASCII(s)
}

// digestLike matches longer runs of hexadecimal digits than any key has: those of
// an HMAC-SHA256, cut or not. Keys have 20, an MD5 has 32.
var digestLike = regexp.MustCompile(`[0-9A-Fa-f]{40,}`)
