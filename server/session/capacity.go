package session

import (
	"sync"

	"belfry/protocol"
)

// Capacity is what server.max_connections allows, and the file descriptors that
// there are to serve clients with. All transports share it. Its methods may be
// called concurrently.
type Capacity struct {
	connections, files int // the most; 0: no limit

	mu          sync.Mutex // guards the following
	connected   int        // connections
	descriptors int        // that they need
}

// NewCapacity returns the capacity for that many connections at a time, which
// together need at most files descriptors. 0 is no limit, of either.
func NewCapacity(connections, files int) *Capacity {
	return &Capacity{connections: connections, files: files}
}

// Acquire takes the capacity for one connection that needs that many
// descriptors. Release must give it back. Without capacity, Acquire returns what
// to tell the client.
func (c *Capacity) Acquire(files int) (refused *protocol.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.connections > 0 && c.connected >= c.connections:
		return protocol.Errorf(protocol.CodeOverCapacity, "Server is over its capacity of %d connections", c.connections)
	case c.files > 0 && c.descriptors+files > c.files:
		return protocol.Errorf(protocol.CodeOverCapacity, "Server is over its capacity of %d connections, for want of file descriptors", c.connected)
	}
	c.connected++
	c.descriptors += files
	return nil
}

// Release gives back what Acquire took.
func (c *Capacity) Release(files int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connected--
	c.descriptors -= files
}
