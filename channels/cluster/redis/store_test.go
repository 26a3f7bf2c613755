package redis

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"belfry/channels/cluster"
)

// While a server that says nothing is waited for, calls end with their contexts.
func TestStoreWaitsForNobody(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s, err := NewStore(Options{URL: "redis://" + silent.Addr().String(), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	connecting := make(chan struct{})
	go func() {
		defer close(connecting)
		_, _, _ = s.Get(context.Background(), "a")
	}()
	c, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, ok, err := s.Get(ended, "b"); ok || !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("%t, %v", ok, err)
	}
	select {
	case <-connecting:
		t.Error("it waits for the one that connects")
	default:
	}
	silent.Close() // the client dials again
	c.Close()
	<-connecting
	s.Close()
}
