package channels

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// Whoever comes and goes while a batch is on its way, the list has everybody once, at
// the position that each knows, and those who were not served yet come first.
func TestShardList(t *testing.T) {
	for seed := range uint64(500) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			s := new(shard)
			here := make(map[*Subscription]bool) // whether it was served
			check := func() {
				t.Helper()
				if len(s.subs) != len(here) || int(s.cursor) > len(s.subs) {
					t.Fatalf("%d are listed, %d are there, %d are unserved", len(s.subs), len(here), s.cursor)
				}
				for i, sub := range s.subs {
					served, ok := here[sub]
					if !ok || sub.pos != int32(i) || served != (i >= int(s.cursor)) {
						t.Fatalf("at %d: there %t, position %d, served %t, %d are unserved", i, ok, sub.pos, served, s.cursor)
					}
				}
			}
			for range 200 {
				switch random.IntN(5) {
				case 0, 1:
					sub := new(Subscription)
					s.add(sub)
					here[sub] = true
				case 2, 3:
					if len(s.subs) > 0 {
						sub := s.subs[random.IntN(len(s.subs))]
						s.remove(sub)
						delete(here, sub)
					}
				default:
					if s.cursor == 0 { // the next batch
						s.cursor = int32(len(s.subs))
						for sub := range here {
							here[sub] = false
						}
						break
					}
					n := random.Int32N(s.cursor + 1)
					for _, sub := range s.subs[s.cursor-n : s.cursor] {
						here[sub] = true
					}
					s.cursor -= n
				}
				check()
			}
		})
	}
}
