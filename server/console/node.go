package console

import (
	"math"
	"net/http"
	"time"
)

// Node is one of the servers of a cluster.
type Node struct {
	ID          string `json:"id"`
	Self        bool   `json:"self"`
	Host        string `json:"host"`
	Version     string `json:"version"`
	Connections int    `json:"connections"`
	SeenAt      int64  `json:"seen_at"` // milliseconds since 1970
}

type nodeAnswer struct {
	process
	Descriptors descriptors  `json:"descriptors"`
	Memory      float64      `json:"memory_bytes"` // resident
	CPU         float64      `json:"cpu_percent"`  // of one processor
	Cluster     clusterState `json:"cluster"`
	Nodes       []Node       `json:"nodes"` // just this one while the cluster is away
	Series      series       `json:"series"`
}

type descriptors struct {
	Now   float64 `json:"now"`
	Limit float64 `json:"limit"`
}

// series are the samples of the last hour, oldest first. Received, Sent and Published are
// per second; delays are null while nothing was delivered.
type series struct {
	Every       int        `json:"every_s"`
	At          []int64    `json:"at"` // seconds since 1970
	CPU         []float64  `json:"cpu_percent"`
	Memory      []float64  `json:"memory_bytes"`
	Heap        []float64  `json:"heap_bytes"`
	Goroutines  []float64  `json:"goroutines"`
	Descriptors []float64  `json:"descriptors"`
	Connections []float64  `json:"connections"`
	Received    []float64  `json:"received"`
	Sent        []float64  `json:"sent"`
	Published   []float64  `json:"published"`
	P50         []*float64 `json:"delay_p50_ms"`
	P99         []*float64 `json:"delay_p99_ms"`
}

// node is GET api/node.
func (c *Console) node(r *http.Request) (any, error) {
	answer := nodeAnswer{
		process: c.process(),
		Cluster: c.cluster(r),
	}
	answer.Nodes, _ = c.Nodes(r.Context()) // Cluster says that there may be others
	s := &c.samples
	s.mu.Lock()
	defer s.mu.Unlock()
	answer.Descriptors = descriptors{s.last.open, s.last.maxFiles}
	answer.Memory = s.last.memory
	if n := len(s.points); n > 0 {
		answer.CPU = round(s.points[n-1].cpu)
	}
	answer.Series = s.series()
	return answer, nil
}

// series makes them. mu is held.
func (s *samples) series() series {
	n := len(s.points)
	floats := func() []float64 { return make([]float64, n) }
	out := series{
		Every: int(sampleEvery / time.Second), At: make([]int64, n), CPU: floats(), Memory: floats(), Heap: floats(), Goroutines: floats(),
		Descriptors: floats(), Connections: floats(), Received: floats(), Sent: floats(), Published: floats(), P50: make([]*float64, n), P99: make([]*float64, n),
	}
	for i, p := range s.points {
		out.At[i], out.CPU[i], out.Memory[i], out.Heap[i], out.Goroutines[i] = p.at, round(p.cpu), p.memory, p.heap, p.goroutines
		out.Descriptors[i], out.Connections[i], out.Received[i], out.Sent[i], out.Published[i] = p.descriptors, p.connections, round(p.received), round(p.sent), round(p.published)
		out.P50[i], out.P99[i] = p.p50, p.p99
	}
	return out
}

// round leaves what can be told apart in a plot.
func round(x float64) float64 { return math.Round(x*100) / 100 }
