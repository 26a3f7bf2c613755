package server

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"belfry/server/certificates"
)

// redirect serves plain HTTP beside TLS: it answers an authority's challenges, and sends
// browsers to https. It refuses the HTTP API and whatever else is not read: a signature that
// has come in the open can be repeated, and a backend that is sent on would go on so unnoticed.
func (s *Server) redirect() http.Handler {
	return s.recovered(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := strings.Trim(r.Host, "[]")
		if name, _, err := net.SplitHostPort(r.Host); err == nil {
			host = name
		}
		if token, ok := strings.CutPrefix(r.URL.Path, certificates.ChallengePath); ok && s.acme != nil {
			s.answerChallenge(w, r, host, token)
			return
		}
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead, s.isAPI(r.URL.Path):
			writeJSON(w, http.StatusForbidden, `{"error":"this port is plain HTTP: use https, and its port"}`)
		case !s.serves(host), !strings.HasPrefix(r.URL.Path, "/"): // to no other host, whatever a stranger's request says
			writeJSON(w, http.StatusMisdirectedRequest, `{"error":"no such host here"}`)
		default:
			to := url.URL{Scheme: "https", Host: s.outside(host), Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
			w.Header().Set("Location", to.String())
			w.WriteHeader(http.StatusPermanentRedirect)
		}
	}))
}

func (s *Server) answerChallenge(w http.ResponseWriter, r *http.Request, host, token string) {
	text, ok := s.acme.Answer(r.Context(), host, token)
	if !ok {
		writeJSON(w, http.StatusNotFound, `{"error":"no such challenge"}`)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream") // RFC 8555 section 8.3
	w.Write([]byte(text))                                      // an error means that the authority has gone
}

// isAPI says whether a path is one of the HTTP API.
func (s *Server) isAPI(path string) bool {
	return strings.HasPrefix("/"+strings.TrimLeft(strings.TrimPrefix(path, s.config.Server.Path), "/"), "/apps/")
}

// serves says whether there is, or will be, a certificate for a host.
func (s *Server) serves(host string) bool {
	if s.acme != nil {
		return s.acme.Has(host)
	}
	return s.certificate.current.Load().Leaf.VerifyHostname(host) == nil
}

// outside is a host with the port at which clients find TLS.
func (s *Server) outside(host string) string {
	if at, ok := s.listener.Addr().(*net.TCPAddr); ok && at.Port != 443 {
		return net.JoinHostPort(host, strconv.Itoa(at.Port))
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}
