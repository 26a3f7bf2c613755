package console

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"belfry/server/config"
	"belfry/server/refusals"
)

// Role is what somebody who is signed in may do.
type Role string

// The roles.
const (
	Look Role = "look"
	Act  Role = "act" // and look
)

// account is whose session it is.
type account struct {
	Role Role   `json:"role"`
	User string `json:"user"`
}

// sessionTime is how long somebody stays signed in.
const sessionTime = 12 * time.Hour

// unknown is the answer to somebody who is not signed in.
type unknown struct {
	Message string `json:"error"`
	Token   bool   `json:"token"` // sign-in is by the token that the server has printed
}

func (u *unknown) Error() string { return u.Message }

func (c *Console) unknown(message string) error { return &unknown{message, c.keys.token != ""} }

// keys are what one signs in with.
type keys struct {
	token       string // of this run; empty if there is a password
	act, look   credentials
	tokenDigest digest
}

// digest stands for a text in a comparison, whose time then does not depend on its length.
type digest [sha256.Size]byte

// credentials of an account.
type credentials struct {
	account
	user, password digest
	none           bool // nobody has this role by a password
	// macKey signs the account's cookies. It is derived from this password alone: so it is
	// the same after a restart and on all nodes, until the password is changed, and a cookie
	// tells its owner nothing about the other password. Without a password it is random.
	macKey func() []byte
}

// macIterations makes guessing a password by a cookie slow: OWASP's number for PBKDF2
// with SHA-256.
const macIterations = 600_000

func newCredentials(role Role, user, password string) credentials {
	c := credentials{account: account{role, user}, user: sha256.Sum256([]byte(user)), password: sha256.Sum256([]byte(password)), none: password == ""}
	if c.none {
		random := []byte(rand.Text())
		c.macKey = func() []byte { return random }
		return c
	}
	c.macKey = sync.OnceValue(func() []byte {
		key, err := pbkdf2.Key(sha256.New, password, []byte("belfry console "+string(role)+" "+user), macIterations, sha256.Size)
		if err != nil {
			panic(err) // only of a salt or a key too short for FIPS 140
		}
		return key
	})
	return c
}

// match is 1 if they are right.
func (k credentials) match(user, password digest) int {
	right := subtle.ConstantTimeCompare(k.user[:], user[:]) & subtle.ConstantTimeCompare(k.password[:], password[:])
	if k.none {
		return 0
	}
	return right
}

func newKeys(k config.Console) keys {
	keys := keys{
		act:  newCredentials(Act, k.User, k.Password),
		look: newCredentials(Look, k.ViewerUser, k.ViewerPassword),
	}
	if k.Password == "" {
		keys.token = rand.Text()
		keys.tokenDigest = sha256.Sum256([]byte(keys.token))
	}
	return keys
}

// Token returns the token that signs in. It is empty if there is a password.
func (c *Console) Token() string { return c.keys.token }

// attempt is what somebody tries to sign in with.
type attempt struct {
	User     string `json:"user"`
	Password string `json:"password"`
	Token    string `json:"token"`
}

// find returns the account that an attempt signs in to. It compares with all of them, so
// that its time does not tell which is right.
func (k *keys) find(a attempt) (account, bool) {
	user, password, token := digest(sha256.Sum256([]byte(a.User))), digest(sha256.Sum256([]byte(a.Password))), digest(sha256.Sum256([]byte(a.Token)))
	act, look := k.act.match(user, password), k.look.match(user, password)
	byToken := subtle.ConstantTimeCompare(k.tokenDigest[:], token[:])
	switch {
	case act == 1, byToken == 1 && k.token != "":
		return k.act.account, true
	case look == 1:
		return k.look.account, true
	}
	return account{}, false
}

// seal makes the value of a cookie: the account and when it expires, and a MAC of that.
func (k *keys) seal(a account, expires time.Time) string {
	text := fmt.Sprintf("%s %d %s", a.Role, expires.Unix(), a.User)
	return base64.RawURLEncoding.EncodeToString([]byte(text)) + "." + base64.RawURLEncoding.EncodeToString(k.mac(text))
}

// mac is that of a text which begins with a role. It is nil for any other text.
func (k *keys) mac(text string) []byte {
	role, _, _ := strings.Cut(text, " ")
	for _, c := range []credentials{k.act, k.look} {
		if string(c.Role) == role {
			h := hmac.New(sha256.New, c.macKey())
			h.Write([]byte(text))
			return h.Sum(nil)
		}
	}
	return nil
}

// clockSkew is how much the clocks of two nodes may differ.
const clockSkew = 5 * time.Minute

// open reads the value of a cookie.
func (k *keys) open(value string, now time.Time) (a account, ok bool) {
	const longest = 1 << 10
	text, mac, found := strings.Cut(value, ".")
	if !found || len(value) > longest {
		return a, false
	}
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return a, false
	}
	given, err := base64.RawURLEncoding.DecodeString(mac)
	if err != nil || len(given) != sha256.Size || !hmac.Equal(given, k.mac(string(sealed))) {
		return a, false
	}
	parts := strings.SplitN(string(sealed), " ", 3)
	if len(parts) != 3 {
		return a, false
	}
	expires, err := strconv.ParseInt(parts[1], 10, 64)
	end := time.Unix(expires, 0)
	return account{Role(parts[0]), parts[2]}, err == nil && now.Before(end) && end.Before(now.Add(sessionTime+clockSkew))
}

// signedIn returns the account that a request's cookie has.
func (c *Console) signedIn(r *http.Request) (account, error) {
	for _, cookie := range r.CookiesNamed(c.cookie) {
		if a, ok := c.keys.open(cookie.Value, time.Now()); ok {
			return a, nil
		}
	}
	return account{}, c.unknown("sign in first")
}

// allow serves those who have a role.
func (c *Console) allow(role Role, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, err := c.signedIn(r)
		if err == nil && role == Act && a.Role != Act {
			err = fail(http.StatusForbidden, "%s may only look: sign in as somebody who may act", a.User)
		}
		if err != nil {
			c.refuse(w, err)
			return
		}
		if c.Authorized != nil {
			c.Authorized(w, r)
		}
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), accountKey{}, a)))
	})
}

type accountKey struct{}

func (c *Console) showSession(r *http.Request) (any, error) {
	return c.signedIn(r)
}

func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	var tried attempt
	malformed := readJSON(r, &tried) // ahead of the count: who does not finish a request tries nothing
	undo, wait := c.attempts.begin(r.RemoteAddr, time.Now())
	if wait > 0 {
		c.signInRefused(r, http.StatusTooManyRequests, "too many attempts")
		seconds := int(wait/time.Second) + 1
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		c.refuse(w, fail(http.StatusTooManyRequests, "too many attempts: try again in %d seconds", seconds))
		return
	}
	if malformed != nil {
		c.signInRefused(r, http.StatusBadRequest, "the request is not the JSON that is expected")
		c.refuse(w, malformed)
		return
	}
	a, ok := c.keys.find(tried)
	if !ok {
		message := "the user or the password is wrong"
		if tried.Token != "" {
			message = "the token is wrong: take the address that the server has printed when it started"
		}
		c.signInRefused(r, http.StatusUnauthorized, message)
		c.refuse(w, c.unknown(message))
		return
	}
	undo()
	c.Log.Info("signed in to the console", "user", a.User, "role", string(a.Role), "remote", r.RemoteAddr)
	expires := time.Now().Add(sessionTime)
	c.setCookie(w, r, c.keys.seal(a, expires), int(sessionTime/time.Second))
	write(w, http.StatusOK, a)
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) {
	c.setCookie(w, r, "", -1)
	w.WriteHeader(http.StatusNoContent)
}

// setCookie names no path: a browser takes that of the request, which has whatever a proxy
// has put in front, and so the cookie goes to this console only.
func (c *Console) setCookie(w http.ResponseWriter, r *http.Request, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{
		Name:     c.cookie,
		Value:    value,
		MaxAge:   seconds,
		HttpOnly: true,
		SameSite: http.SameSiteStrictMode,
		Secure:   r.TLS != nil || strings.HasPrefix(r.Header.Get("Origin"), "https://"),
	})
}

// signInRefused tells the log why somebody was not signed in.
func (c *Console) signInRefused(r *http.Request, status int, why string) {
	c.Refusals.Add(refusals.Refusal{What: "console sign-in refused", Code: status, Reason: why}, slog.String("remote", r.RemoteAddr))
}
