package session

import (
	"sync"

	"belfry/protocol"
)

// Places are those of server.max_connections, and the file descriptors to serve
// them with, which all transports share. Its methods may be called
// concurrently.
type Places struct {
	connections, files int // the most; 0: no limit

	mu          sync.Mutex // guards the following
	taken, open int
}

// NewPlaces makes so many places, for as long as so many descriptors last; 0
// for no limit of either.
func NewPlaces(connections, files int) *Places {
	return &Places{connections: connections, files: files}
}

// Take takes a place for a connection that needs so many descriptors. It must
// be given back with Leave. Without one, what to tell the client is returned.
func (p *Places) Take(files int) (refused *protocol.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.connections > 0 && p.taken >= p.connections:
		return protocol.Errorf(protocol.CodeOverCapacity, "Server is over its capacity of %d connections", p.connections)
	case p.files > 0 && p.open+files > p.files:
		return protocol.Errorf(protocol.CodeOverCapacity, "Server is over its capacity of %d connections, for want of file descriptors", p.taken)
	}
	p.taken++
	p.open += files
	return nil
}

// Leave gives a place back, with so many descriptors as were taken.
func (p *Places) Leave(files int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	p.open -= files
}
