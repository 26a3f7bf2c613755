package redis

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"belfry/channels/cluster"
	"belfry/channels/cluster/clustertest"
	"belfry/channels/cluster/redis/redistest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The client sleeps for some seconds before it looks at a Redis Cluster
		// again, or closes what it uses no more, even if it is closed itself.
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"))
}

// Times of tests: a node that has died is missed soon, one that only gets no CPU
// for a moment is not.
const (
	testTimeout = time.Second
	testLease   = 3 * time.Second
	testRenew   = 500 * time.Millisecond
)

func TestConformance(t *testing.T) {
	server := redistest.Start(t)
	url := "redis://" + server.Addr
	conform(t, url, server)
	expectNothingLeft(t, url, server)
}

func TestConformanceOnCluster(t *testing.T) {
	servers := redistest.Cluster(t)
	conform(t, clusterURL(servers), servers...)
	expectNothingLeft(t, clusterURL(servers), servers...)
	for _, server := range servers {
		if got := server.CLI("info", "commandstats"); strings.Contains(got, "cmdstat_publish:") {
			t.Error("messages were published to all servers")
		}
	}
}

// expectNothingLeft looks for keys of the clusters that were tested. A node that
// had no time to say that it goes leaves some, for others to clear: one more is
// made then.
func expectNothingLeft(t *testing.T, url string, servers ...*redistest.Server) {
	t.Helper()
	left := func() (keys []string) {
		for _, server := range servers {
			for _, key := range strings.Fields(server.CLI("keys", "*")) {
				if !lingers(key) {
					keys = append(keys, key)
				}
			}
		}
		return keys
	}
	for keys := left(); len(keys) > 0; keys = left() {
		prefix := prefixOf(keys[0])
		d, err := New(Options{URL: url, Prefix: prefix, Timeout: testTimeout, Lease: testLease, Renew: testRenew})
		if err != nil {
			t.Fatal(err)
		}
		d.Start(nobody{})
		until(t, fmt.Sprint("the end of what a dead node has left: ", keys), func() bool {
			alone := d.Ready() == nil && slices.ContainsFunc(servers, func(s *redistest.Server) bool {
				return s.CLI("zrange", d.keys.leases(), "0", "-1") == current(&testNode{Driver: d}).node
			})
			return alone && !slices.ContainsFunc(left(), func(key string) bool { return prefixOf(key) == prefix && key != d.keys.leases() })
		})
		d.Close()
	}
}

// prefixOf is that of a key.
func prefixOf(key string) string {
	prefix, _, _ := strings.Cut(key[1:], "}")
	prefix, _, _ = strings.Cut(prefix, ":")
	return prefix
}

// nobody is a receiver.
type nobody struct{}

func (nobody) Receive(cluster.Message)           {}
func (nobody) Restored(func(cluster.Topic) bool) {}
func (nobody) Shares([]cluster.Topic)            {}
func (nobody) Due(cluster.Hint)                  {}

// lingers says whether a key stays for a while when everything it belongs to is
// gone.
func lingers(key string) bool {
	_, rest, _ := strings.Cut(key, "}")
	kind, _, _ := strings.Cut(rest, ":")
	return rest == "born" || slices.Contains([]string{"b", "e", "h", "k", "l", "q", "w"}, kind) && strings.Contains(key, "/") // of a bucket
}

// clusterURL is that of a Redis Cluster.
func clusterURL(servers []*redistest.Server) string {
	text := "redis://" + servers[0].Addr + "?"
	for _, s := range servers[1:] {
		text += "&addr=" + s.Addr
	}
	return text
}

func conform(t *testing.T, url string, servers ...*redistest.Server) {
	t.Run("all", func(t *testing.T) { // ends when all have
		clustertest.Run(t, func(t *testing.T) clustertest.Cluster {
			c := newTestCluster(t, url)
			c.forget = func(prefix string) {
				for _, s := range servers { // each loses all in one step, as by FLUSHALL
					s.CLI("eval", `for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end`, "0", "{"+prefix+"[}:]*")
				}
			}
			return c
		})
	})
}

var prefixes atomic.Int64

// prefix is another for each test, so that they can share a server.
func prefix() string { return fmt.Sprint("test", prefixes.Add(1)) }

// testCluster is the nodes of a test.
type testCluster struct {
	t       *testing.T
	options Options
	forget  func(prefix string)

	mu       sync.Mutex // guards the following
	networks map[cluster.Driver]*network
}

func newTestCluster(t *testing.T, url string) *testCluster {
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	return &testCluster{t: t, options: Options{URL: url, Prefix: prefix(), Log: log}, networks: make(map[cluster.Driver]*network)}
}

func (c *testCluster) Node() cluster.Driver {
	c.t.Helper()
	o := c.options
	o.Timeout, o.Lease, o.Renew = testTimeout, testLease, testRenew
	d, err := New(o)
	if err != nil {
		c.t.Fatal(err)
	}
	n := new(network)
	d.client.DialCtxFn = n.dial
	c.mu.Lock()
	defer c.mu.Unlock()
	c.networks[d] = n
	return d
}

func (c *testCluster) network(d cluster.Driver) *network {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.networks[d]
}

func (c *testCluster) Kill(d cluster.Driver) { c.network(d).Cut() }

func (c *testCluster) Interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.networks {
		n.Cut()
	}
}

func (c *testCluster) Forget() { c.forget(c.options.Prefix) }

func (c *testCluster) Restore() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.networks {
		n.Mend()
	}
}
