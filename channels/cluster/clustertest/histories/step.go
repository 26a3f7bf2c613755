package histories

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Size of the world that a history is played in.
const (
	nodes       = 3
	connections = 9 // connection i is one of node i % nodes
)

// names of the channels. A channel's kind follows from its name.
var (
	names = []string{"a", "b", "cache-a", "presence-a", "presence-cache-a", "kept", "private-kept", "presence-kept", "cache-kept", "private-few"}
	users = []string{"u1", "u2", "u3"}
)

// kind is what a step does.
type kind string

const (
	subscribe kind = "subscribe" // connection, channel, user if it is a presence channel
	leave     kind = "leave"     // connection, channel
	end       kind = "end"       // connection, with all its subscriptions
	drop      kind = "drop"      // connection, or the next one that is there: it breaks, and its page may come back
	tear      kind = "tear"      // connection: it breaks in the middle of the next frames that come together
	back      kind = "back"      // connection, node: the page of that one, or of the next one that is broken, comes back
	hop       kind = "hop"       // connection, node: it breaks, and its page comes back at once
	crowd     kind = "crowd"     // node, channel: 110 connections subscribe, which end with the node's or by uncrowd
	uncrowd   kind = "uncrowd"   // node
	publish   kind = "publish"   // node, channel, the excepted connection if any
	say       kind = "say"       // connection, channel: a client event, if it is subscribed
	kill      kind = "kill"      // node: it dies
	stop      kind = "stop"      // node: it ends as on SIGTERM
	hurry     kind = "hurry"     // node: it stops, and does not wait for its clients to have left
	move      kind = "move"      // node: it goes on in another process, with its clients, where Options.Moves says so
	stay      kind = "stay"      // node: likewise, but that fails at the end
	start     kind = "start"     // node: another in place of one that was killed or stopped
	cut       kind = "cut"       // node: from the store
	heal      kind = "heal"      // node
	slow      kind = "slow"      // node: its calls
	fast      kind = "fast"      // node
	reload    kind = "reload"    // node: the application is removed and added again
	flush     kind = "flush"     // the store loses its data
	restart   kind = "restart"   // the store ends, and begins anew without data, or with what it has saved
	save      kind = "save"      // the store saves its data, if it is a Saver
	wait      kind = "wait"      // duration
	seed      kind = "seed"      // number: of the delays of calls; first step only

	// recoveries is seed for a history in which only what concerns histories of channels
	// is looked at.
	recoveries kind = "recoveries"
)

// ofConnection reports whether the number of such a step is a connection's.
func (k kind) ofConnection() bool {
	switch k {
	case subscribe, leave, say, end, drop, tear, back, hop:
		return true
	default:
		return false
	}
}

// Step is one of a history. Which fields count follows from Do.
type Step struct {
	Do      kind
	Node    int // or connection
	At      int // the node to which a page comes back
	Channel string
	User    string
	Except  int // connection; -1 for none
	For     time.Duration
	Seed    uint64
}

// History is what happens to a cluster. Steps that make no sense where they
// stand, such as starting a node that runs, do nothing: so any part of a history
// is one.
type History []Step

func (s Step) String() string {
	words := []string{string(s.Do)}
	switch s.Do {
	case flush, restart, save:
	case wait:
		words = append(words, s.For.String())
	case seed, recoveries:
		words = append(words, strconv.FormatUint(s.Seed, 10))
	default:
		words = append(words, strconv.Itoa(s.Node))
	}
	if s.Do == back || s.Do == hop {
		words = append(words, strconv.Itoa(s.At))
	}
	if s.Channel != "" {
		words = append(words, s.Channel)
	}
	if s.User != "" {
		words = append(words, s.User)
	}
	if s.Do == publish && s.Except >= 0 {
		words = append(words, strconv.Itoa(s.Except))
	}
	return strings.Join(words, " ")
}

// String is what [Parse] reads.
func (h History) String() string {
	steps := make([]string, len(h))
	for i, s := range h {
		steps[i] = s.String()
	}
	return strings.Join(steps, "; ")
}

// GoString has rapid print a history so that it can be pasted.
func (h History) GoString() string { return h.String() }

// Parse reads a history: steps with a semicolon or a new line between them, each
// a word and what it is about.
func Parse(text string) (h History, err error) {
	for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == ';' || r == '\n' }) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		s, err := parseStep(words)
		if err != nil {
			return nil, fmt.Errorf("step %q: %w", strings.TrimSpace(line), err)
		}
		h = append(h, s)
	}
	return h, nil
}

func parseStep(words []string) (s Step, err error) {
	s = Step{Do: kind(words[0]), Except: -1}
	words = append(words, "", "", "")
	switch s.Do {
	case flush, restart, save:
	case wait:
		s.For, err = time.ParseDuration(words[1])
	case seed, recoveries:
		s.Seed, err = strconv.ParseUint(words[1], 10, 64)
	case leave, crowd, subscribe, publish, say:
		if s.Channel = words[2]; s.Channel == "" {
			return s, fmt.Errorf("it needs a channel")
		}
		s.Node, err = strconv.Atoi(words[1])
		switch {
		case s.Do == subscribe:
			s.User = words[3]
		case s.Do == publish && words[3] != "" && err == nil:
			s.Except, err = strconv.Atoi(words[3])
		}
	case back, hop:
		s.Node, err = strconv.Atoi(words[1])
		if err == nil {
			s.At, err = strconv.Atoi(words[2])
		}
	case end, drop, tear, uncrowd, kill, stop, hurry, move, stay, start, cut, heal, slow, fast, reload:
		s.Node, err = strconv.Atoi(words[1])
	default:
		return s, fmt.Errorf("no such step")
	}
	most := nodes
	if s.Do.ofConnection() {
		most = connections
	}
	if err == nil && (s.Node < 0 || s.Node >= most || s.At < 0 || s.At >= nodes || s.Except >= connections) {
		err = fmt.Errorf("numbers are below %d", most)
	}
	return s, err
}
