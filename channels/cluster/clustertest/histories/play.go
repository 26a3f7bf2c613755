package histories

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"belfry/channels/cluster"
)

// play plays a history, and returns what was not as it should be.
func play(h History, store Store, o Options, check checks) error {
	w := &world{store: store, times: o.Times, check: check, moves: o.Moves, begun: time.Now(),
		gone: make(map[subject][]time.Time), counted: make(map[string]counted), first: make(map[place]time.Time), epochs: make(map[epochOf]time.Time)}
	w.mu.Lock()
	for i := range w.nodes {
		w.start(i)
	}
	w.mu.Unlock()
	w.connect()
	for _, s := range h {
		w.step(s)
	}
	w.finish()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.faults) == 0 {
		return nil
	}
	return errors.New(strings.Join(w.faults, "\n"))
}

// connect waits until all nodes reach the store.
func (w *world) connect() {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(w.times.Pause) {
		w.mu.Lock()
		ready := true
		for _, n := range w.nodes {
			ready = ready && n.steady(time.Now(), time.Now().Add(1))
		}
		w.mu.Unlock()
		if ready {
			return
		}
	}
}

// patience is how long anything may take that is no step.
const patience = 30 * time.Second

// step does one step.
func (w *world) step(s Step) {
	switch s.Do {
	case wait:
		<-time.After(s.For)
		return
	case flush:
		w.flush()
		return
	case restart:
		w.restart()
		return
	case save:
		if s, saves := w.store.(Saver); saves {
			w.beginFaults() // it answers nobody meanwhile
			s.Save()
			w.calmAll()
			w.saved = true
		}
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch s.Do {
	case drop:
		for i := range connections {
			if c := w.clients[(s.Node+i)%connections]; c != nil {
				w.breakOff(c)
				break
			}
		}
		return
	case hop:
		if c := w.clients[s.Node]; c != nil && w.nodes[s.At].state == running {
			w.breakOff(c)
			w.back(s.Node, w.nodes[s.At])
		}
		return
	case back:
		for i := range connections {
			if i = (s.Node + i) % connections; w.broken[i] != nil && w.nodes[s.At].state == running {
				w.back(i, w.nodes[s.At])
				break
			}
		}
		return
	}
	n := w.nodes[s.Node%nodes]
	if n.state != running && s.Do != start {
		return
	}
	switch s.Do {
	case subscribe:
		c := w.clients[s.Node]
		if c == nil {
			c = w.client(n, newPage())
			w.clients[s.Node] = c
			if p := w.broken[s.Node]; p != nil {
				p.closeAll()
				w.broken[s.Node] = nil
			}
		}
		c.do(func() { c.subscribe(s.Channel, s.User) })
	case leave:
		if c := w.clients[s.Node]; c != nil {
			c.do(func() { c.leave(s.Channel) })
		}
	case say:
		if c := w.clients[s.Node]; c != nil {
			c.do(func() { c.say(s.Channel) })
		}
	case end:
		if c := w.clients[s.Node]; c != nil {
			c.page.closeAll()
			c.end()
			w.clients[s.Node] = nil
		}
	case tear:
		if c := w.clients[s.Node]; c != nil {
			c.torn = true
		}
	case crowd:
		if len(n.crowd) == 0 {
			for range crowdSize {
				c := w.client(n, newPage())
				n.crowd = append(n.crowd, c)
				c.do(func() { c.subscribe(s.Channel, "") })
			}
		}
	case uncrowd:
		for _, c := range n.crowd {
			c.end()
		}
		n.crowd = nil
	case publish:
		var except *client
		if s.Except >= 0 {
			except = w.connection(s.Except)
		}
		w.publish(n, s.Channel, except)
	case kill:
		w.kill(n)
	case stop, hurry:
		w.stop(n, s.Do == hurry)
	case start:
		w.again(n)
	case cut:
		w.cut(n)
	case heal:
		w.heal(n)
	case move, stay:
		w.move(n, s.Do == stay)
	case slow, fast:
		n.way.Slow(s.Do == slow)
	case reload:
		w.disconnect(n)
		n.app.Close()
		n.app = n.broker.NewApp(app, n.limits(), observer{}, n.hooks)
	}
}

// disconnect ends all connections of a node, whose application is closed then. The
// world's lock is held.
func (w *world) disconnect(n *node) {
	w.closed = append(w.closed, time.Now())
	for _, c := range w.clients {
		if c != nil && c.node == n {
			w.breakOff(c)
		}
	}
	for _, c := range n.crowd {
		c.end()
	}
	n.crowd = nil
}

// kill has a node die. The world's lock is held.
func (w *world) kill(n *node) {
	n.state = dead
	w.kills = append(w.kills, time.Now())
	n.way.Kill()
	for i, c := range w.clients {
		if c != nil && c.node == n {
			w.clients[i], w.broken[i] = nil, c.page
		}
	}
	n.crowd = nil
	for _, s := range w.seats {
		if s.client.node == n && s.left.IsZero() {
			s.left = time.Now()
			w.departed(s)
		}
	}
	orphans := w.clientsOf(n)
	w.busy.Go(func() {
		n.hooks.die()
		n.calls.Wait()
		w.idle(orphans)
		n.broker.Close()
		close(n.closed)
	})
}

// clientsOf are all that ever were a node's. The world's lock is held.
func (w *world) clientsOf(n *node) (all []*client) {
	for _, s := range w.seats {
		if s.client.node == n {
			all = append(all, s.client)
		}
	}
	return all
}

// stop ends a node, once its clients have left or, in a hurry, while they do. The
// world's lock is held.
func (w *world) stop(n *node, hurried bool) {
	n.state = ending
	if n.cut {
		w.kills = append(w.kills, time.Now())
	}
	w.disconnect(n)
	var leaving []*client
	if !hurried {
		leaving = w.clientsOf(n)
	}
	w.busy.Go(func() {
		n.calls.Wait()
		w.idle(leaving)
		drain(n.broker, n.hooks)
		w.mu.Lock()
		n.state = ended
		w.mu.Unlock()
		close(n.closed)
	})
}

// idle waits until clients have nothing to do.
func (w *world) idle(clients []*client) {
	for {
		idle := true
		w.mu.Lock()
		for _, c := range clients {
			idle = idle && !c.running
		}
		w.mu.Unlock()
		if idle {
			return
		}
		<-time.After(w.times.Pause)
	}
}

// again starts a node in place of one that has ended. The world's lock is held,
// but not while that one is waited for.
func (w *world) again(n *node) {
	if n.state == running {
		return
	}
	w.mu.Unlock()
	<-n.closed
	w.mu.Lock()
	w.start(n.number)
}

// cut cuts a node off. The world's lock is held.
func (w *world) cut(n *node) {
	if n.cut {
		return
	}
	n.cut = true
	n.beginFault()
	n.way.Cut()
	w.missedAfter(n, w.times.Buried) // the others may have taken it for dead a little earlier
	if w.lostBetween(time.Now().Add(-cluster.ToldAgain-w.times.InFlight), time.Now()) {
		w.missedAfter(n, 0) // it may not have told its shares once more
	}
}

// missedAfter notes, unless a node is heard of before, that the others may have taken it
// for dead. The world's lock is held.
func (w *world) missedAfter(n *node, d time.Duration) {
	cuts := len(n.spans)
	time.AfterFunc(d, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if n.cut && len(n.spans) == cuts && n.state == running {
			w.takenForDead(n)
		}
	})
}

// heal ends that. The world's lock is held.
func (w *world) heal(n *node) {
	if n.cut {
		n.cut = false
		if n.buried {
			n.buried, n.retold = false, time.Now().Add(w.times.InFlight)
		}
		n.way.Heal()
		n.calm()
	}
}

// flush has the store lose its data.
func (w *world) flush() {
	if w.times.FlushCuts > 0 {
		w.beginFaults()
		w.busy.Go(func() {
			<-time.After(w.times.FlushCuts)
			w.calmAll()
		})
	}
	w.lose(w.store.Flush)
}

// restart has the store begin anew, without data.
func (w *world) restart() {
	w.beginFaults()
	w.older = w.older || w.saved
	w.lose(w.store.Restart)
	w.calmAll()
}

// lose notes that data is lost while f runs.
func (w *world) lose(f func()) {
	for _, f := range []func(){func() {}, f} {
		f()
		w.mu.Lock()
		w.lost = append(w.lost, time.Now())
		for _, n := range w.nodes {
			if n.cut && n.state == running {
				w.missedAfter(n, cluster.ToldAgain-w.times.InFlight)
			}
		}
		w.mu.Unlock()
	}
}

func (w *world) beginFaults() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		n.beginFault()
	}
}

func (w *world) calmAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		if n.state == running && !n.cut {
			n.calm()
		}
	}
}

// finish heals all faults, looks once things are quiet, ends everything, and
// looks again.
func (w *world) finish() {
	w.mu.Lock()
	alive := 0
	for _, n := range w.nodes {
		if n.state == running {
			alive++
			w.heal(n)
			n.way.Slow(false)
		}
	}
	if alive == 0 { // somebody has to take the shares of the dead away
		w.again(w.nodes[0])
	}
	w.publishKept()
	w.mu.Unlock()
	w.busy.Wait()
	w.allBack()
	<-time.After(w.times.Quiet)
	w.probe()
	w.eventually(w.examine)
	w.newcomers()

	w.mu.Lock()
	for _, n := range w.nodes {
		if n.state == running {
			w.stop(n, false)
		}
	}
	w.mu.Unlock()
	w.busy.Wait()
	w.eventually(w.nothingLeft)
}

// eventually notes what a look finds, or in real time goes on finding until the
// patience is over.
func (w *world) eventually(look func() []finding) {
	looked := look
	look = func() []finding {
		return slices.DeleteFunc(looked(), func(f finding) bool { return !w.check.on(f.check) })
	}
	found := look()
	for deadline := time.Now().Add(w.times.Patience); len(found) > 0 && time.Now().Before(deadline); found = look() {
		<-time.After(w.times.Pause)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, f := range found {
		if !slices.Contains(found[:i], f) { // a crowd has the same to say
			w.fault(f.check, "%s", f.text)
		}
	}
}

type finding struct{ check, text string }

func found(check, format string, args ...any) finding {
	return finding{check, fmt.Sprintf(format, args...)}
}
