package histories

// known are histories that have each found a fault, or find one when the code that it is
// about is taken out.
var known = []string{
	// Counts.
	"seed 0; subscribe 0 a; wait 300ms; subscribe 3 a",
	"seed 0; subscribe 0 a; wait 20ms; end 0; subscribe 3 a",
	"seed 0; subscribe 0 a; wait 20ms; kill 0; wait 2.9s; crowd 1 a",
	"seed 0; subscribe 0 a; subscribe 1 a; leave 1 a; crowd 2 a",
	"seed 0; subscribe 0 a; subscribe 0 presence-a u3; subscribe 1 a; wait 300ms; subscribe 6 presence-a u3; end 0; subscribe 6 a; subscribe 1 a",
	"seed 8; subscribe 0 a; publish 1 a; subscribe 1 a",
	"seed 0; subscribe 2 private-kept; subscribe 2 private-few; slow 2; subscribe 5 private-few; wait 1s; cut 2",
	// Last events.
	"seed 0; publish 0 cache-a; subscribe 0 cache-a; wait 20ms; flush",
	"seed 9; publish 2 cache-a; subscribe 2 cache-a; wait 1ms; flush",
	"seed 224; subscribe 0 a; subscribe 0 cache-a; subscribe 3 cache-a; publish 0 cache-a",
	"seed 1; subscribe 1 presence-cache-a u1; wait 20ms; subscribe 4 presence-cache-a u2; publish 0 presence-cache-a; cut 1",
	"seed 0; subscribe 0 cache-a; wait 20ms; publish 0 cache-a; publish 0 cache-a; flush",
	"seed 913; subscribe 1 cache-a; restart; subscribe 0 cache-a; publish 1 cache-a; publish 2 cache-a",
	"seed 10; subscribe 1 presence-cache-a u1; subscribe 1 a; subscribe 2 presence-cache-a u2; wait 20ms; subscribe 4 presence-cache-a u2; publish 0 presence-cache-a",
	// Webhooks.
	"seed 0; subscribe 1 a; leave 1 a; wait 20ms; kill 1",
	"seed 8; subscribe 0 b; wait 1ms; kill 0",
	"seed 0; subscribe 0 presence-a u1; wait 1ms; end 0; wait 20ms; subscribe 7 presence-a u1; wait 300ms; leave 7 presence-a; wait 2.9s; subscribe 1 presence-a u1",
	"seed 0; subscribe 3 presence-a u1; leave 3 presence-a; wait 300ms; cut 0; wait 2.9s; subscribe 1 presence-a u1",
	"seed 0; subscribe 0 a; subscribe 1 a; wait 300ms; leave 0 a; leave 1 a; wait 1s; cut 1; stop 1; subscribe 0 a",
	"seed 0; subscribe 0 a; wait 20ms; restart",
	"seed 0; subscribe 0 a; wait 20ms; flush",
	"seed 4; subscribe 0 b",
	"seed 0; subscribe 1 a; kill 0; wait 20s; cut 2; hurry 1; wait 1ms",
	"seed 0; subscribe 0 b; wait 20ms; subscribe 1 b; flush",
	"seed 0; crowd 0 a; wait 20ms; restart; subscribe 2 a",
	"seed 153; subscribe 0 a; subscribe 2 b; wait 20s; restart; subscribe 2 a",
	// Members.
	"seed 0; subscribe 0 presence-a u1; subscribe 1 presence-a u2; wait 20ms; restart",
	"seed 0; subscribe 0 presence-a u1; wait 20ms; subscribe 1 presence-a u2; subscribe 2 presence-a u1; flush",
	"seed 0; subscribe 0 presence-a u1; subscribe 1 presence-a u2; wait 20ms; cut 0; restart; wait 8s",
	// Applications that are removed and added again.
	"seed 0; subscribe 0 a; wait 20ms; reload 0; subscribe 0 a",
	"seed 0; subscribe 0 a; wait 1ms; reload 0; reload 0; subscribe 0 a",
	"seed 1; subscribe 0 presence-a u2; wait 300ms; reload 0; reload 0; reload 0; subscribe 3 a",
	"seed 0; subscribe 1 presence-cache-a u1; wait 20ms; subscribe 4 presence-cache-a u2; wait 1ms; reload 1; subscribe 1 a",
	// Losses.
	"seed 0; subscribe 2 a; wait 300ms; cut 2; wait 20ms; publish 0 a; wait 300ms",
	"recoveries 0; subscribe 0 kept; wait 2.9s; publish 0 kept; flush",
	"seed 12; subscribe 0 presence-a u1; subscribe 6 kept; subscribe 3 a; wait 20ms; publish 2 kept; flush; publish 2 kept",
	"recoveries 0; subscribe 4 kept; wait 20ms; cut 1; publish 0 kept; wait 20ms",
	"recoveries 0; subscribe 0 private-few; wait 20ms; cut 0; publish 1 private-few; wait 11s",
	// Recoveries.
	"seed 0; subscribe 0 private-kept; wait 20ms; drop 0",
	"recoveries 0; subscribe 0 kept; wait 20ms; drop 0; publish 0 kept 0",
	"recoveries 0; subscribe 0 kept; wait 20ms; drop 0; publish 2 kept 0",
	"recoveries 0; subscribe 8 kept; wait 20s; drop 0; flush; back 0 0",
	"recoveries 0; subscribe 0 private-few; wait 300ms; publish 0 private-few 0; publish 0 private-few; drop 0; wait 20s",
	"recoveries 0; subscribe 0 kept; subscribe 1 kept; wait 1s; slow 1; publish 0 kept; wait 20ms; hop 0 1",
	"recoveries 3; subscribe 0 kept; subscribe 1 kept; subscribe 2 kept; wait 1s; slow 0; publish 2 kept; drop 1; drop 2; wait 1s; publish 2 kept; wait 1s; back 1 0; wait 100ms; publish 2 kept; wait 150ms; back 2 0",
}
