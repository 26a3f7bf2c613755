package apps

import (
	"net/netip"
	"sync"
	"time"
)

// ipv6Bits of an address are its network's (RFC 4291 section 2.5.4): a host
// changes the others by itself, from one connection to the next (RFC 8981).
const ipv6Bits = 64

// Network is what does not change of a client's address while it stays where it
// is: the whole of an IPv4 address, the first 64 bits of an IPv6 one. remote may
// have a port. The result is not valid if remote is no address.
func Network(remote string) netip.Prefix {
	var a netip.Addr
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		a = ap.Addr()
	} else if a, err = netip.ParseAddr(remote); err != nil {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = ipv6Bits
	}
	p, _ := a.Prefix(bits) // cannot fail: the bits fit
	return p
}

// Address counts an application's connections from one network address.
type Address struct {
	network netip.Prefix

	// Guarded by addresses.mu.
	open   int   // connections
	second int64 // in which the last one was opened, since 1970
	opened int   // within that second
}

// addresses are those that have connections, or had one a moment ago.
type addresses struct {
	mu        sync.Mutex // guards the following
	byNetwork map[netip.Prefix]*Address
	sweepAt   int // number of addresses at which those without connections are forgotten
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
func (a *addresses) connect(network netip.Prefix, most, rate int, now time.Time) (*Address, limit) {
	a.mu.Lock()
	defer a.mu.Unlock()
	second := now.Unix()
	addr := a.byNetwork[network]
	if addr == nil {
		a.sweep(second)
		if a.byNetwork == nil {
			a.byNetwork = make(map[netip.Prefix]*Address)
		}
		addr = &Address{network: network}
		a.byNetwork[network] = addr
	}
	if addr.second != second {
		addr.second, addr.opened = second, 0
	}
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
	if len(a.byNetwork) < max(a.sweepAt, sweepLeast) {
		return
	}
	for network, addr := range a.byNetwork {
		if addr.open == 0 && addr.second != second {
			delete(a.byNetwork, network)
		}
	}
	a.sweepAt = 2 * len(a.byNetwork)
}
