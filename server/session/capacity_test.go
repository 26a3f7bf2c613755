package session_test

import (
	"sync"
	"testing"

	"belfry/protocol"
	"belfry/server/session"
)

func TestCapacity(t *testing.T) {
	tests := []struct{ connections, files, each, want int }{
		{10, 0, 1, 10},
		{10, 0, 2, 10},
		{10, 100, 2, 10},
		{0, 10, 1, 10},
		{0, 10, 2, 5},
		{0, 11, 2, 5},
		{8, 10, 2, 5},
		{0, 0, 2, 30},
	}
	for _, tt := range tests {
		c := session.NewCapacity(tt.connections, tt.files)
		const all = 30
		var takers sync.WaitGroup
		refused := make(chan *protocol.Error, all)
		for range all {
			takers.Go(func() { refused <- c.Acquire(tt.each) })
		}
		takers.Wait()
		taken := 0
		for range all {
			switch e := <-refused; {
			case e == nil:
				taken++
			case e.Code != protocol.CodeOverCapacity:
				t.Errorf("%+v: refused with %v", tt, e)
			}
		}
		if taken != tt.want {
			t.Errorf("%+v: %d connections were admitted", tt, taken)
		}
		c.Release(tt.each)
		if e := c.Acquire(tt.each); e != nil {
			t.Errorf("%+v: what was given back is not given again: %v", tt, e)
		}
	}
}
