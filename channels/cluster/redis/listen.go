package redis

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"belfry/channels/cluster"
)

// topics are what this node listens to, and where it is subscribed. What is to
// be and what is are brought together by the loop, in rounds.
type topics struct {
	mu       sync.Mutex // guards the following, and the fields of topics
	byName   map[string]*topic
	dirty    map[*topic]struct{} // where the two may differ
	failures map[string]error    // why connections are missing, by address; "" but in a Redis Cluster
}

// topic is one that is listened to, or was until the next round.
type topic struct {
	topic   cluster.Topic
	name    string
	held    bool          // Listen has succeeded, and Ignore was not called
	waiting int           // calls of Listen
	ignored int           // calls of Ignore: what was received before is for nobody
	on      *subscriber   // where Redis has confirmed it; nil: nowhere
	was     *subscriber   // where it was before Ignore, and may still be
	live    *subscriber   // whose messages count: from the confirmation on
	round   chan struct{} // closed when a round has tried
	err     error         // of that
}

func (t *topic) wanted() bool { return t.held || t.waiting > 0 }

func (l *topics) init() {
	l.byName = make(map[string]*topic)
	l.dirty = make(map[*topic]struct{})
	l.failures = make(map[string]error)
}

// Listen implements [cluster.Bus].
func (d *Driver) Listen(ctx context.Context, t cluster.Topic) error {
	ctx, cancel := d.timeout(ctx)
	defer cancel()
	if err := d.listenTo(ctx, t, d.keys.name(t)); err != nil {
		return err
	}
	return d.listenForMark(ctx, t)
}

// listenTo is Listen for a Pub/Sub channel.
func (d *Driver) listenTo(ctx context.Context, t cluster.Topic, name string) error {
	if _, err := d.connected(ctx); err != nil {
		return err
	}
	l := &d.listening
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.byName[name]
	if e == nil {
		e = &topic{topic: t, name: name}
		l.byName[name] = e
	}
	if e.on != nil {
		e.held = true
		return nil
	}
	if e.round == nil {
		e.round = make(chan struct{})
	}
	round := e.round
	e.waiting++
	l.dirty[e] = struct{}{}
	d.look()
	l.mu.Unlock()
	var err error
	select {
	case <-round:
	case <-ctx.Done():
		err = ctx.Err()
	case <-d.ctx.Done():
		err = errClosed
	}
	away := d.isAway()
	l.mu.Lock()
	e.waiting--
	if e.on != nil {
		e.held = true
		return nil
	}
	if away && !e.wanted() { // there is no round before there is a connection
		delete(l.byName, name)
		delete(l.dirty, e)
	} else {
		l.dirty[e] = struct{}{}
		d.look()
	}
	if err == nil {
		err = e.err
	}
	if err == nil {
		err = errors.New("the connection was lost")
	}
	return d.note(err)
}

// Ignore implements [cluster.Bus].
func (d *Driver) Ignore(t cluster.Topic) { d.ignore(d.keys.name(t)) }

func (d *Driver) ignore(name string) {
	l := &d.listening
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.byName[name]; e != nil {
		e.held = false
		e.ignored++
		if e.on != nil {
			e.was, e.on, e.live = e.on, nil, nil
		}
		l.dirty[e] = struct{}{}
		d.look()
	}
}

// wants says whether a message that was received is for the receiver.
func (l *topics) wants(i item) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return i.from.wanted() && i.from.ignored == i.ignored
}

// find returns who listens by a Pub/Sub channel on a connection, nil for nobody.
func (l *topics) find(name string, c *subscriber) (t *topic, ignored int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.byName[name]; e != nil && e.live == c {
		return e, e.ignored
	}
	return nil, 0
}

// confirmed notes that the messages which follow on a connection are for who
// listens.
func (l *topics) confirmed(name string, c *subscriber) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.byName[name]; e != nil {
		e.live = c
	}
}

// broken is why the connection to a server is missing, nil if it is not.
func (l *topics) broken(addr string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failures[addr]
}

// missing are the topics that are wanted and not subscribed to.
func (l *topics) missing() map[cluster.Topic]struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	missing := make(map[cluster.Topic]struct{})
	for _, e := range l.byName {
		if e.wanted() && e.on == nil {
			missing[e.topic] = struct{}{}
		}
	}
	return missing
}

// dirtyAll has the next round look at all topics.
func (l *topics) dirtyAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.byName {
		l.dirty[e] = struct{}{}
	}
}

// fail tells those who wait that there is no connection.
func (l *topics) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := range l.dirty {
		e.tried(err)
	}
}

// tried ends a round for those who wait. mu is held.
func (t *topic) tried(err error) {
	if t.round != nil {
		t.err = err
		close(t.round)
		t.round = nil
	}
}

// drop ends a connection: what was subscribed there is nowhere now. When it
// returns, no message of it comes any more.
func (l *topics) drop(c *subscriber) (lost []cluster.Topic) {
	c.end()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.byName {
		if e.on == c || e.was == c || e.live == c {
			e.on, e.was, e.live = nil, nil, nil
			l.dirty[e] = struct{}{}
			lost = append(lost, e.topic)
		}
	}
	return lost
}

// due takes what differs: what is to be subscribed, be it again, and the names to
// be unsubscribed by where they are.
func (l *topics) due() (subscribe []*topic, unsubscribe map[*subscriber][]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	unsubscribe = make(map[*subscriber][]string)
	for e := range l.dirty {
		delete(l.dirty, e)
		switch {
		case e.wanted() && e.on == nil:
			subscribe = append(subscribe, e)
		case !e.wanted():
			for _, c := range []*subscriber{e.on, e.was} {
				if c != nil {
					unsubscribe[c] = append(unsubscribe[c], e.name)
				}
			}
			e.tried(nil)
			delete(l.byName, e.name)
		}
	}
	return subscribe, unsubscribe
}

// waits leaves topics to the next round.
func (l *topics) waits(groups [][]*topic) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, topics := range groups {
		for _, e := range topics {
			l.dirty[e] = struct{}{}
		}
	}
}

// settled notes what became of an attempt to subscribe.
func (l *topics) settled(list []*topic, on *subscriber, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range list {
		if err == nil {
			e.on, e.was = on, nil
		} else if e.wanted() {
			l.dirty[e] = struct{}{}
		}
		if !e.wanted() {
			l.dirty[e] = struct{}{} // given up meanwhile
		}
		e.tried(err)
	}
}

// listen is a round. It returns when to try again what has failed, nil for
// nothing.
func (d *Driver) listen(s *session) <-chan time.Time {
	l := &d.listening
	for addr, c := range s.servers {
		if c.over() {
			d.losses.add(l.drop(c))
			delete(s.servers, addr)
		}
	}
	subscribe, unsubscribe := l.due()
	failures, dialing := make(map[string]error), false
	for c, names := range unsubscribe {
		if err := d.unsubscribe(s, c, names); err != nil {
			failures[c.addr] = err
			c.end()
			d.look()
		}
	}
	for addr, groups := range s.groups(subscribe) {
		c, err := d.server(s, addr)
		if errors.Is(err, errDialing) {
			l.waits(groups)
			dialing = true
			continue
		}
		for group := range slices.Chunk(groups, groupsAtOnce) {
			if err == nil {
				if err = d.subscribe(s, c, group); err != nil {
					c.end() // some may be subscribed
					d.look()
				}
			}
			for _, topics := range group {
				l.settled(topics, c, err)
			}
		}
		if err != nil {
			failures[addr] = err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for addr, err := range failures {
		failures[addr] = d.note(err)
		if l.failures[addr] == nil {
			d.log.Warn("channels of the cluster cannot be subscribed to", "server", addr, "error", failures[addr])
		}
	}
	l.failures = failures
	if len(failures) == 0 && !dialing {
		return nil
	}
	return time.After(s.nextRetry())
}
