package histories

import (
	"slices"
	"time"

	"belfry/channels"
	"belfry/protocol"
)

// kept is how much the channels keep that have a history: so much that nothing is dropped
// while a history is played, but for those that keep few events.
var kept = map[string]channels.Retention{
	"kept":          {Events: 1000, Age: time.Hour},
	"private-kept":  {Events: 1000, Age: time.Hour, Rewind: 5 * time.Second},
	"presence-kept": {Events: 1000, Age: time.Hour},
	"cache-kept":    {Events: 1000, Age: time.Hour},
	"private-few":   {Events: 3, Age: 10 * time.Second},
}

// rules are those of the channels with a history.
func rules() (all []channels.HistoryRule) {
	for _, name := range names {
		if keeps(name) {
			all = append(all, channels.HistoryRule{Channels: name, Retention: kept[name]})
		}
	}
	return all
}

// keeps reports whether a channel has a history.
func keeps(channel string) bool { return kept[channel].Events > 0 }

// page is a client over all its connections, of which it has one at a time. The world's
// lock guards it.
type page struct {
	clients   []*client            // its connections, the oldest first
	wants     map[string]string    // the channels that it subscribes to, and as which user
	bookmarks map[string]*bookmark // of the channels with a history that have been answered
}

// bookmark is what a page has of a channel with a history, from the first answer until it
// leaves the channel.
type bookmark struct {
	page    *page
	channel string
	serial  protocol.Serial // from which the page would resume: of the last event that it has handled
	log     []entry
	closed  bool // the page has left
}

// entry is something that a page is told of a channel with a history.
type entry struct {
	what   what
	at     time.Time
	asked  time.Time // of an answer
	node   *node
	before protocol.Serial // of the bookmark
	serial protocol.Serial // of an event, or behind which the events that follow begin
	event  int
}

type what uint8

const (
	answered  what = iota // the first answer
	recovered             // another one: what was missed follows
	missed                // another one: some of it may not
	warned                // while it was subscribed: events may have been missed
	delivered             // an event
)

func newPage() *page {
	return &page{wants: make(map[string]string), bookmarks: make(map[string]*bookmark)}
}

// had reports whether a connection is, or was, one of the page's.
func (p *page) had(c *client) bool { return c != nil && slices.Contains(p.clients, c) }

// close ends what the page has of a channel. The world's lock is held.
func (p *page) close(channel string) {
	delete(p.wants, channel)
	if b := p.bookmarks[channel]; b != nil {
		b.closed = true
		delete(p.bookmarks, channel)
	}
}

// closeAll is for a page that does not come back. The world's lock is held.
func (p *page) closeAll() {
	for _, channel := range names {
		p.close(channel)
	}
}

// resume is what the page says of a channel when it subscribes to it on another connection:
// nil if it has no bookmark. The world's lock is held.
func (c *client) resume(channel string) *channels.Resume {
	b := c.page.bookmarks[channel]
	if b == nil {
		return nil
	}
	r := &channels.Resume{Since: b.serial}
	for _, before := range c.page.clients {
		if before != c {
			r.Sockets = append(r.Sockets, before.id)
		}
	}
	return r
}

// note has the page of a seat note what it is told of a channel with a history, and move its
// bookmark. What comes on a connection that has broken does not reach the page. The world's
// lock is held.
func (s *seat) note(e entry) {
	p, w := s.client.page, s.client.world
	if !keeps(s.channel) || s.client.gone {
		return
	}
	b := p.bookmarks[s.channel]
	if b == nil {
		if e.what != answered {
			w.fault("recovery", "the first that a page is told of %s is %+v", s.channel, e)
		}
		b = &bookmark{page: p, channel: s.channel}
		p.bookmarks[s.channel] = b
		w.bookmarks = append(w.bookmarks, b)
	}
	e.at, e.node, e.before = time.Now(), s.client.node, b.serial
	if (e.what == missed || e.what == warned) && !w.excused(b, e) {
		w.fault("excuses", "a page is told of a loss of %s at %v without need: %s", s.channel, e.serial, b.text())
	}
	b.log = append(b.log, e)
	if e.what != recovered { // then what follows begins where the page is
		b.serial = e.serial
	}
}

// heard notes that an epoch of a channel had begun by then. The world's lock is held.
func (w *world) heard(channel string, serial protocol.Serial, by time.Time) {
	if at := (epochOf{channel, serial.Epoch}); w.epochs[at].IsZero() || by.Before(w.epochs[at]) {
		w.epochs[at] = by
	}
}

// connection returns the one with a number, or that of the broken page; nil if there is none.
// The world's lock is held.
func (w *world) connection(i int) *client {
	if p := w.broken[i]; p != nil {
		return p.clients[len(p.clients)-1]
	}
	return w.clients[i]
}

// breakOff ends a client's connection, and only that: the page may come back. The world's
// lock is held.
func (w *world) breakOff(c *client) {
	for i, current := range w.clients {
		if current == c {
			w.clients[i] = nil
			w.broken[i] = c.page
		}
	}
	if !c.gone {
		c.end()
	}
}

// back has a page connect to a node, and subscribe to all that it was subscribed to. The
// world's lock is held.
func (w *world) back(i int, n *node) {
	p := w.broken[i]
	w.broken[i] = nil
	c := w.client(n, p)
	w.clients[i] = c
	for _, channel := range names {
		if user, wanted := p.wants[channel]; wanted {
			c.do(func() { c.subscribe(channel, user) })
		}
	}
}

// allBack has the pages come back that have a bookmark, once things are quiet, as often as it
// takes.
func (w *world) allBack() {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(w.times.Pause) {
		all := true
		w.mu.Lock()
		for i, p := range w.broken {
			if p == nil || len(p.bookmarks) == 0 {
				continue
			}
			all = false
			for j := range nodes {
				if n := w.nodes[(i+j)%nodes]; n.state == running {
					w.back(i, n)
					break
				}
			}
		}
		w.mu.Unlock()
		if all {
			return
		}
		w.busy.Wait()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault("refused", "a page does not come back")
}
