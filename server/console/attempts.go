package console

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"belfry/server/apps"
)

// How often somebody may try to sign in, from one network and from all together. The limit
// of all together also bounds how many networks are remembered.
const (
	networkAttempts  = 5
	networkRegain    = 12 * time.Second // for another attempt
	everyoneAttempts = 1000
	everyoneRegain   = 100 * time.Millisecond
)

// attempts limits how often somebody tries to sign in. The zero value is ready. Its methods
// may be called concurrently.
type attempts struct {
	mu       sync.Mutex // guards the following
	everyone *rate.Limiter
	networks map[netip.Prefix]*rate.Limiter // those that have tried of late
}

// begin counts an attempt, or returns how long to wait for one. An attempt that succeeds is
// given back by undo.
func (a *attempts) begin(remote string, now time.Time) (undo func(), wait time.Duration) {
	network := wide(apps.Network(remote))
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.everyone == nil {
		a.everyone = rate.NewLimiter(rate.Every(everyoneRegain), everyoneAttempts)
		a.networks = make(map[netip.Prefix]*rate.Limiter)
	}
	one := a.networks[network]
	if one == nil {
		one = rate.NewLimiter(rate.Every(networkRegain), networkAttempts)
	}
	mine := one.ReserveN(now, 1)
	if wait := mine.DelayFrom(now); wait > 0 {
		mine.CancelAt(now)
		return nil, wait
	}
	all := a.everyone.ReserveN(now, 1)
	if wait := all.DelayFrom(now); wait > 0 {
		all.CancelAt(now)
		mine.CancelAt(now)
		return nil, wait
	}
	if a.networks[network] == nil {
		a.sweep(now)
		a.networks[network] = one
	}
	return func() {
		mine.CancelAt(now) // as if it had not been: nothing is left to wait for
		all.CancelAt(now)
	}, 0
}

// wide returns the /48 of an IPv6 network, which is what one site may have (RFC 6177), and
// an IPv4 address as it is.
func wide(network netip.Prefix) netip.Prefix {
	if a := network.Addr(); a.Is6() && !a.Is4In6() {
		return netip.PrefixFrom(a, 48).Masked()
	}
	return network
}

// sweep forgets the networks that have all their attempts again. mu is held.
func (a *attempts) sweep(now time.Time) {
	for network, one := range a.networks {
		if one.TokensAt(now) >= networkAttempts {
			delete(a.networks, network)
		}
	}
}
