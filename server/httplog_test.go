package server_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"

	"belfry/server/internal/servertest"
)

// An operator learns that clients speak TLS to a plain port.
func TestTLSToPlainPort(t *testing.T) {
	s := servertest.Start(t)
	for range 50 {
		c, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err == nil {
			c.Close()
			t.Fatal("a plain port speaks TLS")
		}
	}
	servertest.Eventually(t, "it is logged", func() bool { return s.Log.Contains("a client speaks TLS (https or wss) to this port") })
	s.Connect(t, "1").Sync()
}

// And that clients speak plain HTTP to a TLS port.
func TestPlainToTLSPort(t *testing.T) {
	s := servertest.Start(t, servertest.Secure(t))
	resp, err := http.Get("http://" + s.Addr().String() + "/up")
	if err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	servertest.Eventually(t, "it is logged", func() bool { return s.Log.Contains("a client speaks plain HTTP (http or ws) to this port") })
	s.Connect(t, "1").Sync()
}

// Other nonsense is refused as before, and says nothing at level info.
func TestNonsenseToPlainPort(t *testing.T) {
	s := servertest.Start(t)
	nc, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.Write([]byte("\x00\x01\x02\r\n\r\n"))
	answer, _ := io.ReadAll(nc)
	if len(answer) == 0 {
		t.Error("there is no answer")
	}
}
