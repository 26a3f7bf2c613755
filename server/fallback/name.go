package fallback

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net/http"
	"net/netip"
)

// name is what a session is known by: a digest of what all requests of its
// client have in common. So whose session it is needs no check: who differs in
// anything does not find it.
type name [sha256.Size]byte

func nameOf(r *http.Request) (n name) {
	digest := sha256.New()
	for _, part := range []string{
		r.PathValue("key"), r.PathValue("server"), r.PathValue("session"),
		network(r.RemoteAddr), r.Header.Get("Origin"), r.UserAgent(),
	} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		digest.Write(length[:])
		io.WriteString(digest, part)
	}
	digest.Sum(n[:0])
	return n
}

// ipv6Bits of an address are its network's (RFC 4291 section 2.5.4): a host
// changes the others by itself, from one connection to the next (RFC 8981).
const ipv6Bits = 64

// network is what does not change of a client's address while it stays where
// it is.
func network(remote string) string {
	var a netip.Addr
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		a = ap.Addr()
	} else if a, err = netip.ParseAddr(remote); err != nil {
		return remote
	}
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a.String()
	}
	p, err := a.Prefix(ipv6Bits)
	if err != nil {
		return remote
	}
	return p.String()
}
