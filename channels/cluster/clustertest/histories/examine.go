package histories

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"belfry/protocol"
)

// checks are the names of those that are on.
type checks map[string]bool

func (c checks) on(name string) bool { return c[name] }

// standard are the checks, but those that are off.
func standard(off []string) checks {
	c := checks{
		"refused":    true, // a subscription or an event that is refused without a fault
		"counts":     true, // of subscriptions, users and channels, as the queries tell them
		"told":       true, // counts, as subscribers are told them
		"rosters":    true, // as members are told them
		"deliveries": true, // what is missing, doubled, out of order, or not theirs
		"losses":     true, // events that a node has missed, and nobody is told
		"newcomers":  true, // the last event of a cache channel
		"recovery":   true, // events of channels with a history that a page has missed over all its connections, and was not told in time
		"excuses":    true, // losses that a page is told of without need
		"webhooks":   true, // in turn, in truth, of nobody who stayed
		"young":      true, // arrivals that are told once more just after the store lost its data
		"forgotten":  true, // webhooks that got lost with the store's data
		"left":       true, // of a cluster that has ended
	}
	for _, name := range off {
		delete(c, name)
	}
	return c
}

// failing are the checks that channels does not stand, and why.
var failing = []string{
	"forgotten", // what lies in a store that loses its data is lost, and the share of a node that has died with it
}

// unrelated are the checks that do not concern histories of channels.
var unrelated = []string{"told", "rosters", "webhooks", "young"}

// truth is who is there: of each channel its subscriptions, and of each member.
// The world's lock is held.
func (w *world) truth() map[subject]int {
	there := make(map[subject]int)
	for _, s := range w.seats {
		if s.present() {
			for _, of := range s.subjects() {
				there[of]++
			}
		}
	}
	return there
}

// probe publishes on each channel, once all is quiet.
func (w *world) probe() {
	w.mu.Lock()
	for _, n := range w.nodes {
		if n.state != running {
			continue
		}
		for _, channel := range names {
			w.publish(n, channel, nil)
		}
		break
	}
	w.mu.Unlock()
	w.busy.Wait()
	<-time.After(w.times.Pause)
}

// examine compares everything with the truth.
func (w *world) examine() (all []finding) {
	w.mu.Lock()
	there := w.truth()
	live := slices.DeleteFunc(slices.Clone(w.nodes[:]), func(n *node) bool { return n.state != running })
	w.mu.Unlock()
	for _, n := range live {
		all = append(all, n.queries(there)...)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	all = append(all, w.examineSeats(there)...)
	all = append(all, w.examineDeliveries()...)
	all = append(all, w.examineBookmarks()...)
	return append(all, w.examineHooks(there)...)
}

// usersOf are the members of a channel, sorted.
func usersOf(there map[subject]int, channel string) (ids []string) {
	for of := range there {
		if of.channel == channel && of.user != "" {
			ids = append(ids, of.user)
		}
	}
	slices.Sort(ids)
	return ids
}

// queries compares what a node answers.
func (n *node) queries(there map[subject]int) (all []finding) {
	states, err := n.app.States("")
	if err != nil {
		return []finding{found("counts", "node %d: %v", n.number, err)}
	}
	for _, name := range slices.Sorted(maps.Keys(states)) {
		if there[subject{name, ""}] == 0 {
			all = append(all, found("counts", "node %d lists %s, where nobody is", n.number, name))
		}
	}
	for _, name := range names {
		count, members := there[subject{name, ""}], usersOf(there, name)
		state, err := n.app.State(name)
		ids, err2 := n.app.Users(name)
		slices.Sort(ids)
		listed := states[name]
		if err != nil || err2 != nil || state.Subscriptions != count || listed.Subscriptions != count ||
			state.Users != len(members) || listed.Users != len(members) || !slices.Equal(ids, members) {
			all = append(all, found("counts", "node %d says of %s %d subscriptions (in its list %d) and members %v (in its list %d), true are %d and %v; errors %v, %v",
				n.number, name, state.Subscriptions, listed.Subscriptions, ids, listed.Users, count, members, err, err2))
		}
	}
	return all
}

// examineSeats compares what subscribers know. The world's lock is held.
func (w *world) examineSeats(there map[subject]int) (all []finding) {
	for _, s := range w.seats {
		if !s.present() {
			continue
		}
		if s.user != "" {
			if known, members := slices.Sorted(maps.Keys(s.roster)), usersOf(there, s.channel); !slices.Equal(known, members) {
				all = append(all, found("rosters", "%s on node %d believes that %v are on %s, true are %v", s.user, s.client.node.number, known, s.channel, members))
			}
		} else if count := there[subject{s.channel, ""}]; s.count != count {
			all = append(all, found("told", "a subscriber of %s on node %d believes that there are %d, true are %d", s.channel, s.client.node.number, s.count, count))
		}
	}
	return all
}

// examineHooks looks at webhooks: those of a subject begin with a coming,
// alternate, and end in the truth; and nobody is told to have left more often
// than may be. The world's lock is held.
func (w *world) examineHooks(there map[subject]int) (all []finding) {
	told := make(map[subject][]hook)
	for _, h := range w.hooks {
		told[h.subject] = append(told[h.subject], h)
	}
	for of := range there {
		if told[of] == nil {
			told[of] = []hook{}
		}
	}
	for _, of := range slices.SortedFunc(maps.Keys(told), func(a, b subject) int {
		return strings.Compare(a.channel+" "+a.user, b.channel+" "+b.user)
	}) {
		// What lies in a store that loses its data is lost, and nobody is left to say it again.
		if c, ok := w.counted[of.channel]; ok && of.user == "" && c.count != there[of] && !(there[of] == 0 && w.lostBetween(c.at.Add(-w.times.InFlight), time.Now())) {
			all = append(all, found("webhooks", "%s: told a count of %d, true are %d", of.channel, c.count, there[of]))
		}
		if check, text := w.examineSubject(of, told[of], there[of] > 0); text != "" {
			all = append(all, found(check, "%s: %s: %s", name(of), text, w.list(told[of])))
		}
	}
	return all
}

func name(of subject) string {
	if of.user == "" {
		return of.channel
	}
	return of.user + " on " + of.channel
}

// examineSubject is examineHooks for one subject. It returns what is wrong, and
// which check says so.
func (w *world) examineSubject(of subject, told []hook, there bool) (check, text string) {
	come, left := false, 0
	before := w.begun
	for _, h := range told {
		switch {
		case h.come != come:
		case w.missing(of, come, left, before, h.at):
			check, text = "forgotten", "one between two that are the same was not told"
		case !before.Equal(w.begun) && w.killedBetween(before.Add(-w.times.InFlight), h.at):
			continue // delivered, and not acknowledged, maybe by a node that was on its way out
		case w.apart:
			// What a node that was cut off when the data were lost has, arrives anew when it
			// comes back, and what has gone from it meanwhile may have been told by others.
		case h.come && w.lostBetween(before.Add(-w.times.InFlight), h.at): // told late, too
			check, text = "young", "told once more to have come"
		default:
			return "webhooks", "told the same twice"
		}
		if !h.come {
			left++
			if may := w.goneBy(of, h.at) + w.repeated(told, h.at); left > may {
				return "webhooks", fmt.Sprintf("told to have left %d times, but may have left %d times", left, may)
			}
			if !w.graced(of, h.at) {
				return "webhooks", "told to have left before the grace was over"
			}
		}
		come, before = h.come, h.at
	}
	switch {
	case come == there:
		return check, text
	case w.missing(of, come, left, before, time.Now()):
		return "forgotten", fmt.Sprintf("there: %t, but told otherwise", there)
	}
	return "webhooks", fmt.Sprintf("there: %t, but told otherwise", there)
}

// missing reports that what a subject was not told may have got lost with the
// store's data: an arrival, or one more departure than the number that was told.
func (w *world) missing(of subject, come bool, left int, from, to time.Time) bool {
	from = from.Add(-w.times.InFlight) // it may have been told late
	return w.lostBetween(from, to) && (!come || w.goneBy(of, to) > left)
}

func (w *world) goneBy(of subject, at time.Time) (n int) {
	for _, t := range w.gone[of] {
		if !t.After(at) {
			n++
		}
	}
	return n
}

// graced reports whether a departure that is told had its grace, or an application was
// closed meanwhile.
func (w *world) graced(of subject, told time.Time) bool {
	return slices.ContainsFunc(w.gone[of], func(left time.Time) bool {
		return told.Sub(left) >= w.times.Grace || !left.After(told) && between(w.closed, left.Add(-w.times.InFlight), told)
	})
}

// repeated is how many departures may have been told once more by then: those that a
// node had told shortly before it died.
func (w *world) repeated(told []hook, by time.Time) (n int) {
	for _, h := range told {
		if !h.come && h.at.Before(by) && w.killedBetween(h.at, h.at.Add(acknowledgedWithin)) {
			n++
		}
	}
	return n
}

// acknowledgedWithin is how long a node takes at most to acknowledge what it has told.
const acknowledgedWithin = 15 * time.Second

func (w *world) lostBetween(from, to time.Time) bool { return between(w.lost, from, to) }

func (w *world) killedBetween(from, to time.Time) bool { return between(w.kills, from, to) }

func between(times []time.Time, from, to time.Time) bool {
	return slices.ContainsFunc(times, func(t time.Time) bool { return !t.Before(from) && !t.After(to) })
}

// list is webhooks as text.
func (w *world) list(told []hook) string {
	words := make([]string, len(told))
	for i, h := range told {
		what := "left"
		if h.come {
			what = "came"
		}
		words[i] = fmt.Sprintf("%s after %s (node %d)", what, h.at.Sub(w.begun).Round(time.Millisecond), h.by)
	}
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, ", ")
}

// newcomers subscribes to all cache channels at all nodes: each is given what was
// published last.
func (w *world) newcomers() {
	w.mu.Lock()
	var arrived []*seat
	var clients []*client
	last := make(map[string]int)
	for i, e := range w.events {
		last[e.channel] = i // those of the probe
	}
	before := len(w.seats)
	for _, n := range w.nodes {
		if n.state != running {
			continue
		}
		c := w.client(n, newPage())
		clients = append(clients, c)
		for _, channel := range names {
			if !protocol.KindOf(channel).IsCache() {
				continue
			}
			user := ""
			if protocol.KindOf(channel).IsPresence() {
				user = "probe"
			}
			c.do(func() { c.subscribe(channel, user) })
		}
	}
	w.mu.Unlock()
	w.busy.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	arrived = w.seats[before:]
	for _, s := range arrived {
		if s.present() && (len(s.got) == 0 || s.got[0].how != asLast || s.got[0].event != last[s.channel]) {
			w.fault("newcomers", "a newcomer to %s on node %d got %s instead of event %d", s.channel, s.client.node.number, events(s.got), last[s.channel])
		}
	}
	for _, c := range clients {
		c.end()
	}
}

// nothingLeft looks at what is left of a cluster that has ended.
func (w *world) nothingLeft() (all []finding) {
	for _, left := range w.store.Left() {
		all = append(all, found("left", "%s", left))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		if n.state == ended && n.app.Subscriptions() != 0 {
			all = append(all, found("left", "%d subscriptions of node %d", n.app.Subscriptions(), n.number))
		}
	}
	return append(all, w.examineHooks(nil)...)
}
