package auth

import (
	"net/url"
	"testing"
)

// While a secret is being changed, whoever signs with any of them is believed,
// and what we sign is signed with the first.
func TestSeveralSecrets(t *testing.T) {
	const path, socketID, userData = "/apps/3/events", "1234.1234", `{"id":"7"}`
	body := []byte(eventBody)
	query := url.Values{"info": {"a", "b"}}
	// Each of what there is to sign: by one, verified by another.
	proofs := map[string]func(signer, verifier Credentials) error{
		"channel": func(signer, verifier Credentials) error {
			return verifier.VerifyChannel(signer.SignChannel(socketID, "private-a", ""), socketID, "private-a", "")
		},
		"user": func(signer, verifier Credentials) error {
			return verifier.VerifyUser(signer.SignUser(socketID, userData), socketID, userData)
		},
		"request": func(signer, verifier Credentials) error {
			r := Request{Method: "POST", Paths: []string{"/other", path}, Body: body}
			r.Query = signer.SignRequest(r.Method, path, query, body, signedAt)
			return verifier.VerifyRequest(r, signedAt)
		},
		"webhook": func(signer, verifier Credentials) error {
			return verifier.VerifyWebhook(signer.SignWebhook(body), body)
		},
	}
	with := func(secret string, old ...string) Credentials {
		return Credentials{Key: creds.Key, Secret: secret, OldSecrets: old}
	}
	server := with("newest", "older", "oldest")
	for name, prove := range proofs {
		t.Run(name, func(t *testing.T) {
			for _, secret := range []string{"newest", "older", "oldest"} {
				if err := prove(with(secret), server); err != nil {
					t.Errorf("signed with %s: %v", secret, err)
				}
			}
			wantRefusal(t, prove(with("another"), server), ErrSignature)
			wantRefusal(t, prove(with("newes"), server), ErrSignature)
			if err := prove(server, with("newest")); err != nil {
				t.Errorf("not signed with the first secret: %v", err)
			}
			for _, old := range server.OldSecrets {
				wantRefusal(t, prove(server, with(old)), ErrSignature)
			}
		})
	}
	for _, secret := range []string{"newest", "older", "oldest"} {
		wantRefusal(t, server.VerifyChannel(secret+":00", socketID, "private-a", ""), ErrKey, "swapped")
	}
}
