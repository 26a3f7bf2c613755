package histories

import (
	"math/bits"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// weights are how often each kind of step is drawn: usually, and in a history of channels
// that have a history. [Options.Weights] overrides these, and the next table's.
var weights = []struct {
	do                kind
	usual, recovering int
}{
	{subscribe, 30, 40},
	{leave, 8, 3},
	{end, 6, 3},
	{drop, 5, 16},
	{tear, 1, 4},
	{back, 6, 20},
	{hop, 1, 8},
	{publish, 20, 36},
	{say, 6, 8},
	{wait, 12, 14},
	{crowd, 1, 0},
	{uncrowd, 1, 0},
	{stop, 1, 1},
	{start, 2, 2},
	{cut, 2, 4},
	{heal, 3, 3},
	{slow, 2, 4},
	{fast, 2, 2},
	{kill, 1, 1},
	{hurry, 1, 1},
	{move, 1, 4},
	{stay, 1, 1},
	{reload, 1, 1},
	{flush, 1, 1},
	{restart, 1, 1},
	{save, 0, 1},
}

// popular are how often each channel is drawn.
var popular = []struct {
	name   string
	weight int
}{
	{"a", 3},
	{"b", 2},
	{"presence-a", 3},
	{"cache-a", 2},
	{"presence-cache-a", 1},
	{"kept", 3},
	{"private-kept", 2},
	{"presence-kept", 2},
	{"cache-kept", 2},
	{"private-few", 3},
}

// A history is drawn as a list of lists, as rapid draws a list of any length with
// but six elements on average: so it has some 35 steps, and shrinks to one.
const (
	mostScenes = 12
	mostSteps  = 10
)

// waits are how long time may pass, unless a store has its own: a moment, around
// the grace, around the time after which a node counts as dead.
var waits = []time.Duration{0, time.Millisecond, 20 * time.Millisecond, 300 * time.Millisecond,
	time.Second, 2900 * time.Millisecond, 3100 * time.Millisecond, 8 * time.Second, 20 * time.Second}

// generator draws histories, with other weights than the table's where over has
// some. One in three has channels with a history only, and steps that are drawn as often as
// their weights say.
func generator(over map[string]int, times []time.Duration) *rapid.Generator[History] {
	if times == nil {
		times = waits
	}
	usual, recovering := drawer{times: times}, drawer{times: times, uniform: true}
	for _, w := range weights {
		usual.kinds = append(usual.kinds, repeat(over, w.do, string(w.do), w.usual)...)
		recovering.kinds = append(recovering.kinds, repeat(over, w.do, string(w.do), w.recovering)...)
	}
	for _, w := range popular {
		weighted := repeat(over, w.name, w.name, w.weight)
		usual.channels = append(usual.channels, weighted...)
		if keeps(w.name) {
			recovering.channels = append(recovering.channels, weighted...)
		}
	}
	usualScenes, recoveringScenes := usual.scenes(), recovering.scenes()
	return rapid.Custom(func(t *rapid.T) History {
		first, scenes := Step{Do: seed, Except: -1}, usualScenes
		if len(recovering.channels) > 0 && uniform(t, 3, "kind") == 1 {
			first.Do, scenes = recoveries, recoveringScenes
		}
		first.Seed = rapid.Uint64Max(999).Draw(t, "seed")
		return append(History{first}, slices.Concat(scenes.Draw(t, "scenes")...)...)
	})
}

// drawn reports whether a weight may have the name.
func drawn(name string) bool {
	for _, w := range weights {
		if string(w.do) == name {
			return true
		}
	}
	return slices.Contains(names, name)
}

// repeat is something as often as its weight says.
func repeat[T any](over map[string]int, what T, name string, weight int) []T {
	if other, ok := over[name]; ok {
		weight = other
	}
	return slices.Repeat([]T{what}, weight)
}

// drawer draws steps.
type drawer struct {
	kinds    []kind
	channels []string
	times    []time.Duration
	uniform  bool // else the first and the last of everything are drawn more often, as rapid does
}

// uniform draws each number below n as often. It shrinks to 0.
func uniform(t *rapid.T, n int, label string) (drawn int) {
	for range bits.Len(uint(n-1)) + 4 {
		drawn *= 2
		if rapid.Bool().Draw(t, label) {
			drawn++
		}
	}
	return drawn % n
}

// index draws a number below n.
func (d drawer) index(t *rapid.T, n int, label string) int {
	if d.uniform {
		return uniform(t, n, label)
	}
	return rapid.IntRange(0, n-1).Draw(t, label)
}

func sampled[T any](t *rapid.T, d drawer, from []T, label string) T {
	if d.uniform {
		return from[uniform(t, len(from), label)]
	}
	return rapid.SampledFrom(from).Draw(t, label)
}

func (d drawer) scenes() *rapid.Generator[[][]Step] {
	return rapid.SliceOfN(rapid.SliceOfN(rapid.Custom(d.step), 1, mostSteps), 1, mostScenes)
}

func (d drawer) step(t *rapid.T) Step {
	s := Step{Do: sampled(t, d, d.kinds, "do"), Except: -1}
	switch s.Do {
	case wait:
		s.For = sampled(t, d, d.times, "for")
		return s
	case flush, restart, save:
		return s
	}
	if s.Do.ofConnection() {
		s.Node = d.index(t, connections, "connection")
	} else {
		s.Node = d.index(t, nodes, "node")
	}
	if s.Do == back || s.Do == hop {
		s.At = d.index(t, nodes, "node")
	}
	switch s.Do {
	case subscribe, leave, say, publish:
		s.Channel = sampled(t, d, d.channels, "channel")
	case crowd:
		s.Channel = d.channels[0]
	}
	if s.Do == subscribe && strings.HasPrefix(s.Channel, "presence-") {
		s.User = sampled(t, d, users, "user")
	}
	if s.Do == publish && d.index(t, 6, "except") == 1 {
		s.Except = d.index(t, connections, "excepted")
	}
	return s
}
