package session

import (
	"sync"

	"belfry/protocol"
)

// Places are those of server.max_connections, which all transports share. Its
// methods may be called concurrently.
type Places struct {
	most int // 0: no limit

	mu    sync.Mutex // guards taken
	taken int
}

// NewPlaces makes most places, 0 for any number.
func NewPlaces(most int) *Places { return &Places{most: most} }

// Take takes a place, which must be given back with Leave; or it returns what
// to tell the client when there is none.
func (p *Places) Take() (refused *protocol.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.most > 0 && p.taken >= p.most {
		return protocol.Errorf(protocol.CodeOverCapacity, "Server is over its capacity of %d connections", p.most)
	}
	p.taken++
	return nil
}

// Leave gives a place back.
func (p *Places) Leave() {
	p.mu.Lock()
	p.taken--
	p.mu.Unlock()
}
