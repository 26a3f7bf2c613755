package redis

import (
	"strings"
	"testing"
	"time"

	"belfry/channels"
	"belfry/channels/cluster/clustertest/histories"
	"belfry/channels/cluster/redis/redistest"
)

// TestHistories plays random histories, each with a server of its own. They take
// real time, most of it to wait for leases, so many run at once.
func TestHistories(t *testing.T) {
	histories.Run(t, histories.Options{
		Store:    newHistoriesStore,
		Parallel: 50,
		Moves:    true,
		Times: histories.Times{
			Grace:     channels.Grace,
			Buried:    testLease - 2*testRenew,
			InFlight:  2 * time.Second,
			Notice:    4 * testRenew,
			FlushCuts: 6 * testRenew,
			Quiet:     testLease + 2*testRenew + channels.Grace + 3*time.Second,
			Patience:  patience / 3,
			Pause:     5 * pause,
			Waits: []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond,
				300 * time.Millisecond, 900 * time.Millisecond, channels.Grace - 100*time.Millisecond, channels.Grace + 100*time.Millisecond, testLease + 2*testRenew},
		},
	})
}

// historiesStore is a Redis server.
type historiesStore struct {
	t      *testing.T
	server *redistest.Server
	nodes  *testCluster
	// clearing takes away what nodes have left that had no time to say that they
	// go; nil while there was nothing.
	clearing histories.Driver
}

func newHistoriesStore(t *testing.T, _ uint64) histories.Store {
	server := redistest.Start(t)
	nodes := newTestCluster(t, "redis://"+server.Addr)
	nodes.options.Log = nil // that of all histories together tells nothing
	return &historiesStore{t: t, server: server, nodes: nodes}
}

func (s *historiesStore) Node() histories.Node {
	d := s.nodes.Node()
	return &historiesNode{s.nodes.network(d), d}
}

func (s *historiesStore) Flush() { s.server.CLI("flushall") }

func (s *historiesStore) Save() { s.server.CLI("save") }

func (s *historiesStore) Close() {
	if s.clearing != nil {
		s.clearing.Close()
	}
	s.server.Kill()
}

func (s *historiesStore) Restart() {
	s.server.Kill()
	s.server.Restart()
}

// Left are the keys that do not go by themselves, but what a bucket says of itself.
func (s *historiesStore) Left() (left []string) {
	for _, key := range strings.Fields(s.server.CLI("eval", `
		local left = {}
		for _, key in ipairs(redis.call('KEYS', '*')) do
			if redis.call('TTL', key) == -1 then
				if string.sub(key, -2) ~= '}b' then
					left[#left + 1] = key
				else
					for _, field in ipairs(redis.call('HKEYS', key)) do
						if field == 'owner' or string.find(field, '^[cr]:') then left[#left + 1] = key .. ':' .. field end
					end
				end
			end
		end
		return left`, "0")) {
		if !strings.HasSuffix(key, "}born") && (s.clearing == nil || !strings.HasSuffix(key, "}leases")) {
			left = append(left, key)
		}
	}
	if len(left) > 0 && s.clearing == nil {
		s.clearing = s.nodes.Node()
		s.clearing.Start(nobody{})
	}
	return left
}

// historiesNode is a driver, and its way to the server.
type historiesNode struct {
	*network
	driver histories.Driver
}

func (n *historiesNode) Driver() histories.Driver { return n.driver }
func (n *historiesNode) Kill()                    { n.Cut() }
func (n *historiesNode) Heal()                    { n.Mend() }

func (n *historiesNode) Slow(slow bool) {
	if slow {
		n.SetDelay(20 * time.Millisecond)
	} else {
		n.SetDelay(0)
	}
}
