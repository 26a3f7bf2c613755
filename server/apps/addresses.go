package apps

import (
	"net/netip"
	"sync"
	"time"

	"belfry/protocol"
)

// ipv6Bits of an address are its network's (RFC 4291 section 2.5.4): a host
// changes the others by itself, from one connection to the next (RFC 8981).
const ipv6Bits = 64

// Network is what does not change of a client's address while it stays where it
// is: the whole of an IPv4 address, the first 64 bits of an IPv6 one. remote may
// have a port. The result is not valid if remote is no address.
func Network(remote string) netip.Prefix {
	a := Addr(remote)
	bits := a.BitLen()
	if a.Is6() {
		bits = ipv6Bits
	}
	p, _ := a.Prefix(bits) // cannot fail: the bits fit
	return p
}

// Addr is a client's address, without a zone. remote may have a port. The result is not
// valid if remote is no address.
func Addr(remote string) netip.Addr {
	a, err := netip.ParseAddr(remote)
	if ap, withPort := netip.ParseAddrPort(remote); withPort == nil {
		a = ap.Addr()
	} else if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// Address counts an application's connections from one network address.
type Address struct {
	// Guarded by addresses.mu.
	open   int   // connections
	second int64 // in which the last one was opened, since 1970
	opened int   // within that second
}

// addresses are those that have connections, or had one a moment ago.
type addresses struct {
	mu       sync.Mutex // guards the following
	bySource map[protocol.Source]*Address
	sweepAt  int // number of addresses at which those without connections are forgotten
}

// limit is what keeps an address from another connection.
type limit uint8

const (
	within limit = iota
	tooMany
	tooFast
)

// connect counts a connection in unless the address has most already, or has
// opened rate of them in this second; 0 is no limit.
func (a *addresses) connect(source protocol.Source, most, rate int, now time.Time) (*Address, limit) {
	a.mu.Lock()
	defer a.mu.Unlock()
	addr := a.at(source, now.Unix())
	switch {
	case most > 0 && addr.open >= most:
		return nil, tooMany
	case rate > 0 && addr.opened >= rate:
		return nil, tooFast
	}
	addr.open++
	addr.opened++
	return addr, within
}

// count counts a connection in that was there before.
func (a *addresses) count(source protocol.Source) *Address {
	a.mu.Lock()
	defer a.mu.Unlock()
	addr := a.at(source, time.Now().Unix())
	addr.open++
	return addr
}

// at returns an address, made if need be. mu is held.
func (a *addresses) at(source protocol.Source, second int64) *Address {
	addr := a.bySource[source]
	if addr == nil {
		a.sweep(second)
		if a.bySource == nil {
			a.bySource = make(map[protocol.Source]*Address)
		}
		addr = new(Address)
		a.bySource[source] = addr
	}
	if addr.second != second {
		addr.second, addr.opened = second, 0
	}
	return addr
}

func (a *addresses) disconnect(addr *Address) {
	a.mu.Lock()
	defer a.mu.Unlock()
	addr.open--
}

// sweepLeast is how many addresses are kept without looking through them.
const sweepLeast = 1024

// sweep forgets addresses without connections whenever there are twice as many
// addresses as the last sweep left. mu is held.
func (a *addresses) sweep(second int64) {
	if len(a.bySource) < max(a.sweepAt, sweepLeast) {
		return
	}
	for source, addr := range a.bySource {
		if addr.open == 0 && addr.second != second {
			delete(a.bySource, source)
		}
	}
	a.sweepAt = 2 * len(a.bySource)
}
