// Package histories is a model test of several nodes that share a store: it plays
// random histories of what clients, operators and faults do, and looks whether
// everything that the nodes tell is true once things are quiet.
//
// A history is a list of steps ([History], with its words in step.go). It is drawn
// by rapid, which over a store in synctest also shrinks one that fails. As the
// goroutines of the nodes do not run in the same order each time, a history that
// failed once is taken to fail always: otherwise rapid would give up instead of
// shrinking. A history that fails is printed so that it can be played again:
//
//	HISTORY='seed 3; subscribe 0 a; kill 1' go test -count 10 -run Histories ./channels/cluster/local
//
// Found over Redis, it may be shrunk there too, or fail as well over local, which
// is faster.
//
// # What is true
//
// The world notes when each connection asked, was answered and left, and when
// each event was accepted: see examine.go and deliveries.go for what follows from
// that. What a node owes its clients excludes the times in which it could not
// reach the store.
//
// A page is a client over all its connections: when one breaks, the page may come back,
// and resume channels that have a history, as clients/recover does. Nothing excludes what
// it is owed of these: see recovery.go.
package histories

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// Store is what the nodes of one history share.
type Store interface {
	// Node returns a new node's way to it.
	Node() Node
	// Flush loses the data, and nothing else.
	Flush()
	// Restart ends it, and begins it anew without data.
	Restart()
	// Left is what is still there when all nodes have ended, and has no business
	// to be.
	Left() []string
	Close()
}

// Saver is a store that can save its data. After the next restarts, it has what it saved.
type Saver interface{ Save() }

// Node is one node's way to the store.
type Node interface {
	Driver() Driver
	// Kill cuts it off for good: the others take its share away.
	Kill()
	// Cut ends its connections, and Heal allows new ones.
	Cut()
	Heal()
	// Slow makes all its calls, and what it is told, take longer, or not.
	Slow(bool)
}

// Times say how fast a store is.
type Times struct {
	// Grace is how long who leaves may come back unnoticed.
	Grace time.Duration
	// Buried is how long a node is cut off at least when the others take it for
	// dead.
	Buried time.Duration
	// InFlight is how long an event may be on its way.
	InFlight time.Duration
	// Notice is how long a node may take to see that its connections have ended.
	Notice time.Duration
	// FlushCuts is how long after a flush connections may be lost because of it.
	FlushCuts time.Duration
	// Quiet is how long after the last fault everything has to be true.
	Quiet time.Duration
	// Patience is how much longer it may take on a machine that is busy, and
	// Pause is between two looks.
	Patience, Pause time.Duration
	// Waits are how long a step of a history may let time pass.
	Waits []time.Duration
}

// Options are how histories are played.
type Options struct {
	// Store returns a new one. The seed is of the delays of a slow node.
	Store func(t *testing.T, seed uint64) Store
	Times Times
	// Moves has nodes go on in other processes. It cannot be in bubbles, whose time stands
	// still while somebody waits for a lock.
	Moves bool
	// Bubble plays each history in a bubble of testing/synctest.
	Bubble bool
	// Parallel is how many are played at a time. In bubbles, no more are than there are
	// processors.
	Parallel int
	// Weights replace those of the tables, by the names of steps and channels.
	Weights map[string]int
	// Off are checks that are not made, beside those that fail for now.
	Off []string
}

// Run plays the one history in the environment's HISTORY, or as many random ones as
// HISTORIES says, and else those that are known. There are also:
//
//	SEED=n               where to begin
//	WEIGHTS=kill=0,cut=5 how often steps and channels are drawn
//	OFF=told,webhooks    which checks are not made, instead of those that fail for now
//	SHRINK=5m            how long to shrink a failure in real time
//	TRACE=1              prints each history before it is played, to find one that ends the process
func Run(t *testing.T, o Options) {
	o.override(t)
	if text := os.Getenv("HISTORY"); text != "" {
		h, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.play(t, h); err != nil {
			t.Fatalf("%v\n%s", err, h)
		}
		return
	}
	histories := number(t, "HISTORIES", 0)
	if histories == 0 {
		o.playKnown(t)
		return
	}
	first := number(t, "SEED", rand.IntN(1e9))
	t.Logf("SEED=%d HISTORIES=%d", first, histories)
	if !o.Bubble {
		o.concurrently(t, generator(o.Weights, o.Times.Waits), first, histories)
		return
	}
	parts := min(max(o.Parallel, 1), histories)
	defer set(t, "rapid.seed", "0")
	defer set(t, "rapid.checks", "100")
	set(t, "rapid.nofailfile", "true") // the history itself is printed, which outlives the generator
	t.Run("all", func(t *testing.T) {  // ends when all have
		for i := range parts {
			// Each part is of one seed alone, and has read the flags when it lets the next one go.
			set(t, "rapid.seed", strconv.Itoa(first+i))
			set(t, "rapid.checks", strconv.Itoa((histories+parts-1-i)/parts))
			t.Run(fmt.Sprint("seed=", first+i), func(t *testing.T) { o.check(t) })
		}
	})
}

// playKnown plays the histories that have found a fault once.
func (o Options) playKnown(t *testing.T) {
	if !o.Bubble {
		t.Skip("takes its time: set HISTORIES, as make histories does")
	}
	for _, text := range known {
		t.Run(text, func(t *testing.T) {
			h, err := Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			if err := o.play(t, h); err != nil {
				t.Error(err)
			}
		})
	}
}

// check plays as many histories as rapid's flags say.
func (o Options) check(t *testing.T) {
	parallel := sync.OnceFunc(t.Parallel)
	histories := generator(o.Weights, o.Times.Waits)
	verdicts := make(map[string]error)
	rapid.Check(t, func(r *rapid.T) {
		parallel()
		h := histories.Draw(r, "history")
		text := h.String()
		err, ok := verdicts[text]
		if !ok {
			o.trace(h)
			err = o.play(t, h)
			verdicts[text] = err
		}
		if err != nil {
			r.Fatalf("%v\nHISTORY='%s'", err, text)
		}
	})
}

// trace prints a history before it is played, in case it ends the process.
func (o Options) trace(h History) {
	if os.Getenv("TRACE") != "" {
		fmt.Fprintln(os.Stderr, h)
	}
}

// override takes weights and checks from the environment.
func (o *Options) override(t *testing.T) {
	o.Weights = maps.Clone(o.Weights)
	for _, word := range strings.FieldsFunc(os.Getenv("WEIGHTS"), isComma) {
		step, text, _ := strings.Cut(word, "=")
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			t.Fatalf("WEIGHTS: %s: step=number is expected", word)
		}
		if !drawn(step) {
			t.Fatalf("WEIGHTS: no step or channel is called %s", step)
		}
		if o.Weights == nil {
			o.Weights = make(map[string]int)
		}
		o.Weights[step] = n
	}
	o.Off = slices.Concat(o.Off, failing)
	if off, ok := os.LookupEnv("OFF"); ok {
		o.Off = strings.FieldsFunc(off, isComma)
	}
}

func isComma(r rune) bool { return r == ',' }

// number is one of the environment.
func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		t.Fatalf("%s=%s: a number above 0 is expected", name, text)
	}
	return n
}

func set(t *testing.T, name, value string) {
	t.Helper()
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
}

// play plays one history.
func (o Options) play(t *testing.T, h History) (err error) {
	var delays uint64
	off := o.Off
	if len(h) > 0 && (h[0].Do == seed || h[0].Do == recoveries) {
		delays = h[0].Seed
		if h[0].Do == recoveries {
			off = slices.Concat(off, unrelated)
		}
		h = h[1:]
	}
	once := func() {
		store := o.Store(t, delays)
		defer store.Close()
		err = play(h, store, o, standard(off))
	}
	if !o.Bubble {
		once()
		return err
	}
	defer func() {
		// A bubble that cannot end panics.
		if p := recover(); p != nil {
			err = errors.Join(err, fmt.Errorf("%v", p))
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		once()
		synctest.Wait()
		if left := bubbled(); len(left) > 0 {
			err = errors.Join(err, fmt.Errorf("goroutines are left:\n%s", strings.Join(left, "\n\n")))
		}
	})
	return err
}

// bubbled are the goroutines of this bubble, but the test's own.
func bubbled() []string {
	stacks := make([]byte, 1<<20)
	all := strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n")
	_, bubble, _ := strings.Cut(all[0], "synctest bubble ")
	bubble, _, _ = strings.Cut(bubble, "]")
	return slices.DeleteFunc(all, func(stack string) bool {
		head, _, _ := strings.Cut(stack, "\n")
		return stack == all[0] || strings.Contains(stack, "\ntesting.tRunner(") ||
			strings.Contains(stack, "\ntesting/synctest.") || !strings.Contains(head, "synctest bubble "+bubble+"]")
	})
}
