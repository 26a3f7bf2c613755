package fallback

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net/http"

	"belfry/server/apps"
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

// network is what does not change of a client's address; the whole of it if it
// is no IP address.
func network(remote string) string {
	if p := apps.Network(remote); p.IsValid() {
		return p.String()
	}
	return remote
}
