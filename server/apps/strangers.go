package apps

import (
	"net/netip"
	"time"
)

const (
	// maxNegatives bounds how many names are remembered for which there is no app.
	maxNegatives = 100_000
	// maxGuesses is how many names for which there is no app one network may ask for in
	// guessesFor, and maxGuessers how many networks are counted.
	maxGuesses  = 100
	guessesFor  = 10 * time.Second
	maxGuessers = 10_000
)

// negatives are names for which there is no app. They are not for concurrent use.
type negatives map[question]negative

// negative is why there is no app of a name.
type negative struct {
	err   error // nil: there is none; ErrUnusable: its settings have a mistake in them
	until time.Time
}

// of returns what is known of a name.
func (n negatives) of(q question, now time.Time) (why error, known bool) {
	found := n[q]
	return found.err, now.Before(found.until)
}

// add remembers a name. If there are too many, it first forgets them all: the source is asked
// about each once more.
func (n negatives) add(q question, why error, until time.Time) {
	if len(n) >= maxNegatives {
		clear(n)
	}
	n[q] = negative{why, until}
}

// guesses count the names for which there is no app, by the network that has asked for them.
// They are not for concurrent use.
type guesses struct {
	since time.Time
	by    map[netip.Prefix]int
}

// tooMany reports whether a network is not to ask for other names now.
func (g *guesses) tooMany(network netip.Prefix, now time.Time) bool {
	if now.Sub(g.since) >= guessesFor {
		*g = guesses{since: now, by: make(map[netip.Prefix]int)}
	}
	return g.by[network] >= maxGuesses
}

// add counts a name that a network has asked for. One that is not valid does not count.
func (g *guesses) add(network netip.Prefix) {
	if _, known := g.by[network]; network.IsValid() && g.by != nil && (known || len(g.by) < maxGuessers) {
		g.by[network]++
	}
}
