package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// creds are the key and secret of the worked examples in Pusher's
// documentation; the digests in these tests were computed from them with
// Python's hmac module, or come from the library named beside them.
var creds = Credentials{Key: "278d425bdf160c739803", Secret: "7ad3773142a6692b25b8"}

// wantRefusal checks what every refusal promises: its kind, a text with the
// given parts, and no secret in it.
func wantRefusal(t *testing.T, err error, kind error, parts ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got error %v, want one that is %q", err, kind)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not mention %q", err, part)
		}
	}
	if strings.Contains(err.Error(), creds.Secret) {
		t.Errorf("error %q holds the secret", err)
	}
	if len(err.Error()) > 4096 {
		t.Errorf("error of %d bytes: what the caller sent must be cut", len(err.Error()))
	}
}

func TestCredentialsHideTheSecret(t *testing.T) {
	creds := creds
	creds.OldSecrets = []string{"an-old-secret"}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("app", "credentials", creds)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("app", "credentials", creds, "wrapped", struct{ App Credentials }{creds})
	asJSON, err := json.Marshal(creds)
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{log.String(), string(asJSON), creds.String(), creds.GoString()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{creds, &creds, []Credentials{creds}, struct{ App Credentials }{creds}} {
			shown = append(shown, fmt.Sprintf(verb, value))
		}
	}
	for _, s := range shown {
		for _, secret := range []string{creds.Secret, creds.OldSecrets[0]} {
			if strings.Contains(s, secret) || strings.Contains(s, fmt.Sprintf("%x", secret)) {
				t.Errorf("the secret shows in %s", s)
			}
		}
	}
	if got := fmt.Sprint(creds); !strings.Contains(got, creds.Key) {
		t.Errorf("got %s, want the key in it", got)
	}
}

func TestNoSecretVerifiesNothing(t *testing.T) {
	for _, c := range []Credentials{
		{}, {Key: "key"}, {Secret: "secret"},
		{Key: "key", OldSecrets: []string{"secret"}},
		{Key: "key", Secret: "secret", OldSecrets: []string{"old", ""}},
	} {
		wantRefusal(t, c.VerifyChannel(c.SignChannel("1.1", "private-a", ""), "1.1", "private-a", ""), ErrKey)
		wantRefusal(t, c.VerifyUser(c.SignUser("1.1", "{}"), "1.1", "{}"), ErrKey)
		wantRefusal(t, c.VerifyWebhook(c.SignWebhook(nil), nil), ErrKey)
		query := c.SignRequest("GET", "/apps/3/channels", nil, nil, signedAt)
		wantRefusal(t, c.VerifyRequest(Request{Method: "GET", Paths: []string{"/apps/3/channels"}, Query: query}, signedAt), ErrKey)
	}
}

// changes returns s with every byte in turn replaced, and with a byte more and
// a byte less.
func changes(s string) []string {
	out := []string{s + "0"}
	for i := range len(s) {
		b := []byte(s)
		b[i] ^= 1
		out = append(out, string(b))
	}
	if s != "" {
		out = append(out, s[1:])
	}
	return out
}
