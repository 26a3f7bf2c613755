package webhooks

import "hash/maphash"

// maxUntold bounds how many beginnings an endpoint's untold remembers, 8 bytes
// each.
const maxUntold = 100_000

// untold are the channels and members whose beginning an endpoint had no room
// for. Their end is dropped as well: a backend that heard it would end what it
// has never begun.
type untold struct {
	seed       maphash.Seed
	beginnings map[uint64]struct{} // hashes of the keys of the ends
}

// endKey is the end of a channel, or of a member.
type endKey struct {
	kind            kinds
	channel, userID string
}

// add remembers a beginning, by the key of its end. Over the bound, another one
// is forgotten, and its end will be told.
func (u *untold) add(end endKey) {
	if u.beginnings == nil {
		u.seed, u.beginnings = maphash.MakeSeed(), make(map[uint64]struct{})
	}
	if len(u.beginnings) >= maxUntold {
		for hash := range u.beginnings {
			delete(u.beginnings, hash)
			break
		}
	}
	u.beginnings[maphash.Comparable(u.seed, end)] = struct{}{}
}

// take forgets the beginning of an end, and reports whether it was there.
func (u *untold) take(end endKey) bool {
	if len(u.beginnings) == 0 {
		return false
	}
	hash := maphash.Comparable(u.seed, end)
	_, ok := u.beginnings[hash]
	delete(u.beginnings, hash)
	if len(u.beginnings) == 0 {
		u.beginnings = nil // and its memory
	}
	return ok
}
