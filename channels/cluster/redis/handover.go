package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/rueidis"

	"belfry/channels/cluster"
)

// The cut between two processes that are one node (see [cluster.Movable]) is a message, the
// mark. Whoever subscribes on one connection gets the messages of one server in one order,
// so what comes ahead of the mark there is the process before's, for all topics. In a Redis
// Cluster the order is that of a slot: there, each bucket in which the node listens has a
// mark of its own, and how many there are is in each.
//
// Both processes renew the one lease of the node meanwhile.

// place is what the process before says of the node.
type place struct {
	Version int
	Node    string
	Mark    string // what this attempt's marks begin with
	Born    int64
}

const placeVersion = 1

var (
	errElsewhere = errors.New("the process before is not a node of this cluster: the new configuration has another Redis or prefix, or the node has lost its lease")
	errMissed    = errors.New("the connection was lost during the handover")
	errSettles   = errors.New("the cluster has lost its data, and not all nodes have told their shares again: ask again in a moment")
	errBusy      = errors.New("this node is removing the share of one that has died: ask again in a moment")
)

// move is a handover between two processes. The zero one is none.
type move struct {
	looks atomic.Bool   // admit has to look at what is received
	flush chan struct{} // has admit look when nothing is received

	mu      sync.Mutex // guards the following
	node    string     // that both are; empty: there is no handover
	behind  bool       // this is the process behind
	mark    string
	gated   bool // between the beginning and Resume
	seen    map[string]struct{}
	kept    []item // messages behind their mark
	late    []item // those of an attempt before, which was given up
	failed  error
	settled chan struct{} // closed when all marks have come, or failed is set
	over    bool          // settled is closed
	resumed chan struct{} // closed by Resume
}

// begin begins to look for marks.
func (m *move) begin() {
	m.late, m.kept = append(m.late, m.kept...), nil
	m.gated, m.seen = true, make(map[string]struct{})
	m.failed, m.over = nil, false
	m.settled, m.resumed = make(chan struct{}), make(chan struct{})
	m.looks.Store(true)
}

// settle ends that. mu is held.
func (m *move) settle(err error) {
	if !m.over {
		m.over, m.failed = true, err
		close(m.settled)
	}
}

// is reports whether the node goes on, or may, in another process.
func (m *move) is() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gated
}

// Place implements [cluster.Movable].
func (d *Driver) Place() ([]byte, error) {
	s, born := d.current()
	if s == nil {
		return nil, unavailable(errors.New("there is no connection"))
	}
	switch {
	case s.buries():
		return nil, unavailable(errBusy)
	case d.settles():
		return nil, unavailable(errSettles)
	}
	m := &d.move
	m.mu.Lock()
	defer m.mu.Unlock()
	m.node, m.mark = s.node, newID()
	return json.Marshal(place{placeVersion, s.node, m.mark, born})
}

func (d *Driver) current() (s *session, born int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.session, d.born
}

// buries reports whether this node is removing what dead ones had.
func (s *session) buries() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.claimed) > 0
}

// Inherit implements [cluster.Movable].
func (d *Driver) Inherit(text []byte) error {
	var p place
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	if p.Version != placeVersion || p.Node == "" || p.Mark == "" {
		return fmt.Errorf("redis: the place of a node has version %d, and this program knows %d", p.Version, placeVersion)
	}
	d.node, d.leased, d.born = p.Node, true, p.Born
	m := &d.move
	m.mu.Lock()
	defer m.mu.Unlock()
	m.node, m.mark, m.behind = p.Node, p.Mark, true
	m.begin()
	return nil
}

// markTag is the tag of a topic's mark.
func (d *Driver) markTag(s *session, t cluster.Topic) string {
	if s.cluster {
		return d.keys.tag(t)
	}
	return d.keys.whole()
}

// markName is the Pub/Sub channel of a mark: no channel of an application has a ! in it.
func (s *session) markName(tag string) string { return tag + "!" + s.node }

// listenForMark is for the process behind, whenever it begins to listen to a topic.
func (d *Driver) listenForMark(ctx context.Context, t cluster.Topic) error {
	d.move.mu.Lock()
	behind := d.move.behind
	d.move.mu.Unlock()
	if !behind {
		return nil
	}
	s, err := d.connected(ctx)
	if err != nil {
		return err
	}
	return d.listenTo(ctx, cluster.Topic{}, s.markName(d.markTag(s, t)))
}

// Cut implements [cluster.Movable].
func (d *Driver) Cut(ctx context.Context) error {
	s, _ := d.current()
	m := &d.move
	m.mu.Lock()
	node := m.node
	m.begin()
	m.mu.Unlock()
	switch {
	case s == nil || s.node != node:
		return unavailable(errMissed)
	case s.buries():
		return unavailable(errBusy)
	}
	lost := d.losses.count()
	if all, some := d.losses.are(); all || some {
		return unavailable(errMissed)
	}
	tags := d.markTags(s)
	listened := make(chan error, len(tags))
	for _, tag := range tags {
		d.running.Go(func() { listened <- d.listenTo(ctx, cluster.Topic{}, s.markName(tag)) })
	}
	for range tags {
		if err := <-listened; err != nil {
			return err
		}
	}
	m.mu.Lock()
	text := m.mark + " " + strconv.Itoa(len(tags))
	m.mu.Unlock()
	commands := make([]rueidis.Completed, len(tags))
	for i, tag := range tags {
		commands[i] = s.publication(s.markName(tag), text)
	}
	for _, r := range s.doAll(ctx, commands...) {
		if err := r.Error(); err != nil {
			return d.failed(s, err)
		}
	}
	if err := d.awaitMarks(ctx); err != nil {
		return err
	}
	if d.losses.count() != lost { // of which the receiver may not have been told
		return unavailable(errMissed)
	}
	return nil
}

// markTags are those of all that the node listens to.
func (d *Driver) markTags(s *session) []string {
	tags := map[string]struct{}{d.keys.whole(): {}}
	if s.cluster {
		clear(tags)
		d.listening.mu.Lock()
		for _, e := range d.listening.byName {
			if e.held && !isMark(e.name) {
				tags[d.keys.tag(e.topic)] = struct{}{}
			}
		}
		d.listening.mu.Unlock()
	}
	return slices.Collect(maps.Keys(tags))
}

// AwaitCut implements [cluster.Movable].
func (d *Driver) AwaitCut(ctx context.Context) error {
	if err := d.awaitMarks(ctx); err != nil {
		return err
	}
	s, _ := d.current()
	if s == nil {
		return unavailable(errMissed)
	}
	tags, err := s.strings(ctx, d, func(b rueidis.Builder) rueidis.Completed {
		return b.Smembers().Key(d.keys.bucketsOf(s.node)).Build()
	})
	if err != nil {
		return d.failed(s, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, tag := range tags {
		d.buckets[tag] = struct{}{}
	}
	return nil
}

func (d *Driver) awaitMarks(ctx context.Context) error {
	m := &d.move
	m.mu.Lock()
	settled := m.settled
	m.mu.Unlock()
	select {
	case <-settled:
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.failed != nil {
			return unavailable(m.failed)
		}
		return nil
	case <-ctx.Done():
		return unavailable(ctx.Err())
	case <-d.ctx.Done():
		return unavailable(errClosed)
	}
}

// Resume implements [cluster.Movable].
func (d *Driver) Resume() {
	m := &d.move
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.gated {
		return
	}
	m.gated, m.behind, m.node = false, false, ""
	close(m.resumed)
	select {
	case m.flush <- struct{}{}:
	default:
	}
	l := &d.listening
	l.mu.Lock()
	var marks []string
	for name := range l.byName {
		if isMark(name) {
			marks = append(marks, name)
		}
	}
	l.mu.Unlock()
	for _, name := range marks {
		d.ignore(name)
	}
}

// tagOf is the tag of a Pub/Sub channel.
func tagOf(name string) string { return name[:strings.IndexByte(name, '}')+1] }

// isMark tells marks from topics.
func isMark(name string) bool { return strings.HasPrefix(name[len(tagOf(name)):], "!") }

// admit calls f with what the receiver is to be called with, now that an item has come; a
// mark that is the zero one only has it look. When all marks have come, it waits for Resume,
// or for the end.
func (d *Driver) admit(i item, f func(item)) {
	m := &d.move
	m.mu.Lock()
	now, resumed := m.passes(i)
	m.mu.Unlock()
	for _, i := range now {
		f(i)
	}
	if resumed != nil {
		select {
		case <-resumed: // what is kept comes next, which Resume sees to
		case <-d.ctx.Done():
		}
	}
}

// passes returns what is for the receiver now, and what closes with Resume if there is
// nothing more until then. mu is held.
func (m *move) passes(i item) (now []item, resumed <-chan struct{}) {
	now, m.late = m.late, nil
	if !m.gated {
		m.looks.Store(false)
		now, m.kept = append(now, m.kept...), nil
		if i.kind != mark {
			now = append(now, i)
		}
		return now, nil
	}
	switch i.kind {
	case mark:
		id, number, _ := strings.Cut(i.mark, " ")
		if id == m.mark {
			m.seen[tagOf(i.from.name)] = struct{}{}
			if number == strconv.Itoa(len(m.seen)) {
				m.settle(nil)
			}
		}
	case received:
		if _, marked := m.seen[tagOf(i.from.name)]; marked {
			m.kept = append(m.kept, i)
		} else if !m.behind {
			now = append(now, i)
		}
	case due:
		m.kept = append(m.kept, i)
	default: // a connection was lost
		m.settle(errMissed)
		m.kept = append(m.kept, i)
	}
	if m.over {
		resumed = m.resumed
	}
	return now, resumed
}
