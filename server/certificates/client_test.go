package certificates

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// An authority's answer has a bound, and leads nowhere but to https.
func TestClient(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	authority := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/plain" {
			http.Redirect(w, r, plain.URL, http.StatusFound)
			return
		}
		_, _ = io.Copy(w, io.LimitReader(zeros{}, maxAnswer+1))
	}))
	defer authority.Close()
	c := newClient()
	c.Transport.(bounded).TLSClientConfig = authority.Client().Transport.(*http.Transport).TLSClientConfig
	defer c.CloseIdleConnections()
	answer, err := c.Get(authority.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err == nil || len(text) > maxAnswer {
		t.Errorf("read %d bytes, %v", len(text), err)
	}
	if answer, err := c.Get(authority.URL + "/plain"); err == nil || !strings.Contains(err.Error(), "not https://") {
		t.Errorf("answered %v, %v", answer, err)
	}
}

// zeros is without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
