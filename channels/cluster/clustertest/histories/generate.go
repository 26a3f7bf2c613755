package histories

import (
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// weights are how often each kind of step is drawn. [Options.Weights] overrides these,
// and the next table's.
var weights = []struct {
	do     kind
	weight int
}{
	{subscribe, 30},
	{leave, 8},
	{end, 6},
	{publish, 20},
	{say, 6},
	{wait, 12},
	{crowd, 1},
	{uncrowd, 1},
	{stop, 1},
	{start, 2},
	{cut, 2},
	{heal, 3},
	{slow, 2},
	{fast, 2},
	{kill, 1},
	{hurry, 1},
	{reload, 1},
	{flush, 1},
	{restart, 1},
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
// some.
func generator(over map[string]int, times []time.Duration) *rapid.Generator[History] {
	if times == nil {
		times = waits
	}
	d := drawer{times: times}
	for _, w := range weights {
		d.kinds = append(d.kinds, repeat(over, w.do, string(w.do), w.weight)...)
	}
	for _, w := range popular {
		d.channels = append(d.channels, repeat(over, w.name, w.name, w.weight)...)
	}
	step := rapid.Custom(d.step)
	scenes := rapid.SliceOfN(rapid.SliceOfN(step, 1, mostSteps), 1, mostScenes)
	return rapid.Custom(func(t *rapid.T) History {
		first := Step{Do: seed, Except: -1, Seed: rapid.Uint64Max(999).Draw(t, "seed")}
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
}

func (d drawer) step(t *rapid.T) Step {
	s := Step{Do: rapid.SampledFrom(d.kinds).Draw(t, "do"), Except: -1}
	switch s.Do {
	case wait:
		s.For = rapid.SampledFrom(d.times).Draw(t, "for")
		return s
	case flush, restart:
		return s
	case subscribe, leave, say, end:
		s.Node = rapid.IntRange(0, connections-1).Draw(t, "connection")
	default:
		s.Node = rapid.IntRange(0, nodes-1).Draw(t, "node")
	}
	switch s.Do {
	case subscribe, leave, say, publish:
		s.Channel = rapid.SampledFrom(d.channels).Draw(t, "channel")
	case crowd:
		s.Channel = d.channels[0]
	}
	if s.Do == subscribe && strings.HasPrefix(s.Channel, "presence-") {
		s.User = rapid.SampledFrom(users).Draw(t, "user")
	}
	if s.Do == publish && rapid.IntRange(0, 5).Draw(t, "except") == 1 {
		s.Except = rapid.IntRange(0, connections-1).Draw(t, "excepted")
	}
	return s
}
