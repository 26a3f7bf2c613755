package websocket_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"strings"
	"testing"

	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
)

// TLS messages of any size get through in both directions, also when the client
// reads late.
func TestTLSMessages(t *testing.T) {
	s := servertest.Start(t, servertest.Secure(t), func(c *config.Config) { c.Apps[0].MaxEventBytes, c.Apps[0].ClientEventRate = 100_000, 0 })
	c := s.Connect(t, "1")
	c.Subscribe("private-a")
	other := s.Connect(t, "1")
	other.Subscribe("private-a")
	for _, size := range []int{1, 1000, 16 << 10, 40_000} {
		data := strings.Repeat("x", size)
		const n = 5
		go func() {
			for range n {
				c.TryWrite(wstest.TextFrame(`{"event":"client-x","channel":"private-a","data":"` + data + `"}`))
			}
		}()
		for range n {
			other.Expect(servertest.EventText("client-x", "private-a", data))
		}
	}
	c.Sync()
}

// Bytes behind the handshake that are no TLS end the connection, and that one
// only.
func TestNoTLSBehindTheHandshake(t *testing.T) {
	s := servertest.Start(t, servertest.Secure(t))
	witness := s.Connect(t, "1")
	for _, garbage := range []string{"\x17\x03\x03\x00\x20" + strings.Repeat("g", 32), strings.Repeat("\x16", 100), "\x15\x03\x03\xff\xff"} {
		d := s.Dialer()
		c := d.Dial(t, servertest.Path("1"))
		c.ReadEvent()
		if _, err := c.Raw().Write([]byte(garbage)); err != nil {
			t.Fatal(err)
		}
		c.CloseWrite()
		if _, err := io.Copy(io.Discard, c.Raw()); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("the connection ends with %v", err)
		}
		c.Drop()
	}
	servertest.Eventually(t, "one is left", func() bool { return s.Metric(t, `belfry_connections{app="1"}`) == 1 })
	witness.Sync()
}

// HTTP/2 is not offered; clients that can speak it speak HTTP/1.1.
func TestNoHTTP2(t *testing.T) {
	s := servertest.Start(t, servertest.Secure(t))
	c, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if p := c.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
		t.Errorf("the protocol is %q", p)
	}
	if _, err := c.Write([]byte("GET /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if answer, _ := io.ReadAll(c); !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 OK\r\n")) {
		t.Errorf("the answer is %.100q", answer)
	}
}
