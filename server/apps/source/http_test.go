package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"belfry/server/config"
)

// answering opens the source of an API.
func answering(t *testing.T, answer http.HandlerFunc, query, token string) Source {
	t.Helper()
	server := httptest.NewServer(answer)
	s, err := Open(config.AppsFrom{URL: strings.Replace(server.URL, "http://", "http://user:hunter2@", 1) + "/app" + query, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return s
}

func TestHTTP(t *testing.T) {
	const document = `{"id": "1", "key": "k", "secret": "s"}`
	asked := make(chan *http.Request, 10)
	s := answering(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		switch q := r.URL.Query(); {
		case q.Get("id") == "1" || q.Get("key") == "k&id=1":
			fmt.Fprint(w, document)
		case q.Get("id") == "gone":
			w.WriteHeader(http.StatusGone)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}, "?a=b%20c", "hunter2")
	for by, name := range map[By]string{ByID: "1", ByKey: "k&id=1"} {
		if got, err := s.Find(t.Context(), by, name); err != nil || string(got) != document {
			t.Errorf("%s, error %v", got, err)
		}
		r := <-asked
		if q := r.URL.Query(); r.Method != http.MethodGet || r.URL.Path != "/app" || q.Get("a") != "b c" || q.Get(by.String()) != name || len(q) != 2 ||
			r.Header.Get("Authorization") != "Bearer hunter2" || r.Header.Get("Accept") != "application/json" || r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
	}
	for _, name := range []string{"2", "gone", "", "a b", "a/b"} {
		if _, err := s.Find(t.Context(), ByID, name); !errors.Is(err, ErrNone) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestHTTPFaults has answers that are no answer.
func TestHTTPFaults(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/elsewhere?secret=hunter2")
			w.WriteHeader(code)
			fmt.Fprint(w, `{"id": "hunter2"}`)
		}
	}
	tests := map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"error":      {status(500), "it answered 500"},
		"busy":       {status(503), "it answered 503"},
		"no token":   {status(401), "it answered 401: see apps_from.token"},
		"no right":   {status(403), "it answered 403: see apps_from.token"},
		"moved":      {status(301), "it answered 301, and redirects are not followed"},
		"found":      {status(302), "it answered 302, and redirects are not followed"},
		"no content": {status(204), "it answered 204"},
		"created":    {status(201), "it answered 201"},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"id": "1"`)
		}, "unexpected EOF"},
		"hung up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := answering(t, tt.answer, "?token=hunter2", "hunter2")
			document, err := s.Find(t.Context(), ByKey, "k")
			if err == nil || errors.Is(err, ErrNone) || document != nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(fmt.Sprintf("%+v", err), "hunter2") {
				t.Errorf("%s, error %v", document, err)
			}
			if err := s.Check(t.Context()); err == nil {
				t.Error("it checks")
			}
		})
	}
}

// TestHTTPIsSlow has an API that answers never, and one that never ends its answer.
func TestHTTPIsSlow(t *testing.T) {
	for name, begin := range map[string]string{"no answer": "", "no end": "{"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := answering(t, func(w http.ResponseWriter, r *http.Request) {
				if begin != "" {
					fmt.Fprint(w, begin)
					_ = http.NewResponseController(w).Flush()
				}
				<-r.Context().Done()
			}, "", "")
			_, err := s.Find(t.Context(), ByKey, "k")
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer in 5s") {
				t.Error(err)
			}
		})
	}
}

// TestHTTPRows has answers that are about one application: the source is not away.
func TestHTTPRows(t *testing.T) {
	for want, answer := range map[string]http.HandlerFunc{
		"answered 400":                      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) },
		"answered 422":                      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) },
		"answered with more than 1048576 b": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxDocument+1)) },
	} {
		s := answering(t, answer, "?token=hunter2", "hunter2")
		_, err := s.Find(t.Context(), ByKey, "k")
		if odd := new(AppError); !errors.As(err, &odd) || !strings.Contains(odd.Problem, want) {
			t.Errorf("%v, want %s", err, want)
		}
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestHTTPKeepsConnections(t *testing.T) {
	remotes := make(chan string, 10)
	s := answering(t, func(w http.ResponseWriter, r *http.Request) {
		remotes <- r.RemoteAddr
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, strings.Repeat("x", 100_000))
	}, "", "")
	first := ""
	for range 5 {
		if _, err := s.Find(t.Context(), ByID, "1"); !errors.Is(err, ErrNone) {
			t.Fatal(err)
		}
		remote := <-remotes
		if first == "" {
			first = remote
		}
		if remote != first {
			t.Errorf("another connection, from %s", remote)
		}
	}
}

func TestHTTPAway(t *testing.T) {
	s, err := Open(config.AppsFrom{URL: "http://127.0.0.1:1/app?token=hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}
