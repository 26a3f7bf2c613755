// Package handover is how a process gives its clients to a new process of the same
// program: the protocol that the two speak over a pair of Unix sockets, the start of the
// new process, and the socket by which an operator asks for a handover and hears what
// came of it. The package does not know what it carries.
//
// # The protocol
//
// The old process starts the new one, which has inherited one socket of the pair. Each
// side sends records. Descriptors travel beside them, in the order of the records that
// are about them.
//
//	old → new   Hello      the version, the listeners
//	old ← new   Ready      the version; everything that can fail is prepared
//	old → new   State      as many as there are; kinds of the carrier's own, some of which
//	                       the new process answers by one of the same kind
//	old → new   Complete   that was all; nothing changes in the old process meanwhile
//	old ← new   Adopted    everything is restored, no client has noticed anything
//	old → new   Go         the clients are the new process's
//	old → new   Rest       what could not be had any sooner; the end
//
// # Whose the clients are
//
// Until Go, they are the old process's. If the new one fails, ends or is late before,
// the old one ends it, and goes on as if nothing had been. If the old process ends
// before Go, but after Adopted, the clients are the new one's: the old one ends the new
// one before it goes on, so the new one sees the end of the connection only if the old
// one has ended.
//
// # Versions
//
// [Version] is that of the records, the carried ones among them. The new process says
// which one it speaks once it has seen that of the old one; either refuses a version
// that it does not know. A record is JSON, so that a field that was added is left alone
// by those who do not know it, and is zero for those who do.
package handover

import (
	"errors"
	"fmt"
	"time"
)

// Version is that of the records that this program writes, and oldestVersion the oldest
// that it reads: that of the release before at least. No release has spoken version 1,
// in which each client had a copy of the frames that waited for it.
const (
	Version       = 2
	oldestVersion = 2
)

// CheckVersion returns what is wrong with the version of a peer, which may be any
// number.
func CheckVersion(version int) error {
	if version < oldestVersion || version > Version {
		return fmt.Errorf("%w: it has version %d, and this program knows %d to %d", ErrVersion, version, oldestVersion, Version)
	}
	return nil
}

// Errors of a handover.
var (
	// ErrUnsupported: the system has no handover; it is for Linux.
	ErrUnsupported = errors.New("a handover to a new process needs Linux")
	// ErrVersion: the state of the other process cannot be read.
	ErrVersion = errors.New("the other process speaks another version of the handover")
	// ErrRecord: what has come is no record, or not one that is due.
	ErrRecord = errors.New("the other process has sent something else than it should")
	// ErrDescriptors: not all descriptors have come.
	ErrDescriptors = errors.New("descriptors were lost on the way: the limit of the new process may be too low for all connections")
	// ErrRefused: the other process has failed, and says why.
	ErrRefused = errors.New("the new process refuses")
)

// How long the old process waits for the new one.
const (
	// ReadyTimeout is from the start of the new process until it is ready.
	ReadyTimeout = 10 * time.Second
	// Clients wait during the following three.

	// FreezeTimeout is how long each of two freezes may take: of what changes state, and
	// of deliveries.
	FreezeTimeout = 2 * time.Second
	// CutTimeout is how long the cut may take on a node of a cluster, on each side: see
	// cluster.Movable.
	CutTimeout = 2 * time.Second
	// AdoptTimeout is from the time when deliveries are frozen to Adopted.
	AdoptTimeout = 5 * time.Second
)

// Kind is what a record is.
type Kind byte

// The kinds of the protocol. Small letters are the carrier's own, which are [State].
const (
	Hello    Kind = 'H'
	Ready    Kind = 'R'
	Complete Kind = 'C'
	Adopted  Kind = 'A'
	Go       Kind = 'G'
	Rest     Kind = 'W'
	Failed   Kind = 'X' // in place of Ready or Adopted: a text that says why

	descriptors Kind = 'F' // some come with this record, which is empty
)

// IsState says whether a kind is one of the carrier's.
func (k Kind) IsState() bool { return k >= 'a' && k <= 'z' }
