package auth

import "testing"

func TestSignUser(t *testing.T) {
	const userData = `{"id":"12345"}`
	want := creds.Key + ":4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba"
	if got := creds.SignUser("1234.1234", userData); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := creds.VerifyUser(want, "1234.1234", userData); err != nil {
		t.Error(err)
	}
}

func TestVerifyUserRefuses(t *testing.T) {
	const socketID, userData = "1234.1234", `{"id":"12345"}`
	token := creds.SignUser(socketID, userData)
	wantRefusal(t, creds.VerifyUser("", socketID, userData), ErrNoSignature)
	wantRefusal(t, creds.VerifyUser("other"+token, socketID, userData), ErrKey)
	// The reconnect during sign-in: the auth was made for the old socket id.
	wantRefusal(t, creds.VerifyUser(token, "5678.5678", userData), ErrSignature, "socket_id::user::user_data", "socket id")
	for _, changed := range changes(token) {
		if creds.VerifyUser(changed, socketID, userData) == nil {
			t.Errorf("verified token %q", changed)
		}
	}
	for _, changed := range changes(userData) {
		wantRefusal(t, creds.VerifyUser(token, socketID, changed), ErrSignature)
	}
	// A channel's auth is no user's.
	wantRefusal(t, creds.VerifyUser(creds.SignChannel(socketID, "private-a", userData), socketID, userData), ErrSignature)
}
