// Package poller tells when descriptors are ready, by an epoll of its own: a
// connection that waits there needs no goroutine. Where there is no epoll, it does
// nothing.
package poller

// InputBytes is how many bytes are read from a connection at a time. It is small so
// that a client that sends much at once leaves the others their turn.
const InputBytes = 4 << 10
