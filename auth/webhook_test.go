package auth

import "testing"

func TestSignWebhook(t *testing.T) {
	body := `{"time_ms":1327078148132,"events":[{"name":"channel_occupied","channel":"my-channel"}]}`
	const want = "c19001ae3963ccb13bf618e5b16ba9848e7e74df0993aa0689168e341c6833cf"
	if got := creds.SignWebhook([]byte(body)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := creds.VerifyWebhook(want, []byte(body)); err != nil {
		t.Error(err)
	}
	wantRefusal(t, creds.VerifyWebhook("", []byte(body)), ErrNoSignature, "X-Pusher-Signature")
	for _, changed := range changes(want) {
		if creds.VerifyWebhook(changed, []byte(body)) == nil {
			t.Errorf("verified signature %q", changed)
		}
	}
	for _, changed := range changes(body) {
		wantRefusal(t, creds.VerifyWebhook(want, []byte(changed)), ErrSignature, "body")
	}
}
