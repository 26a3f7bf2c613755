package channels

import (
	"strings"
	"sync"
	"time"

	"belfry/channels/cluster"
)

// maxOnce is how many keys of events an application remembers at most. If there are
// more, it forgets the oldest.
const maxOnce = 100_000

// once has the keys of the events that were published on a single node. In a cluster, the
// driver has them.
type once struct {
	mu    sync.Mutex // guards the following
	keys  map[onceKey]struct{}
	queue []onceUntil // in the order in which they end
}

// onceKey is what an event is known by.
type onceKey struct{ channel, key string }

type onceUntil struct {
	onceKey
	end time.Time
}

// first reports whether an event is to be published, and remembers its key.
func (o *once) first(p Publication, now time.Time) bool {
	if p.Key == "" {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.forget(now)
	k := onceKey{p.Channel, p.Key}
	if _, known := o.keys[k]; known {
		return false
	}
	o.add(onceUntil{onceKey{strings.Clone(p.Channel), strings.Clone(p.Key)}, now.Add(cluster.OnceFor)}) // not parts of a request's body
	return true
}

// add remembers a key. mu is held.
func (o *once) add(k onceUntil) {
	if len(o.queue) >= maxOnce {
		o.drop(1)
	}
	if o.keys == nil {
		o.keys = make(map[onceKey]struct{})
	}
	o.keys[k.onceKey] = struct{}{}
	o.queue = append(o.queue, k)
}

// none reports whether no key is remembered.
func (o *once) none(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.forget(now)
	return len(o.queue) == 0
}

// forget drops the keys that have ended. mu is held.
func (o *once) forget(now time.Time) {
	n := 0
	for n < len(o.queue) && !o.queue[n].end.After(now) {
		n++
	}
	o.drop(n)
}

// drop forgets the oldest keys. mu is held.
func (o *once) drop(n int) {
	for _, k := range o.queue[:n] {
		delete(o.keys, k.onceKey)
	}
	clear(o.queue[:n])
	if o.queue = o.queue[n:]; len(o.queue) == 0 {
		o.queue, o.keys = nil, nil // and their memory
	}
}

// ExportedKey is the key of an event that was published, and until when it is remembered.
type ExportedKey struct {
	Channel string    `json:"channel"`
	Key     string    `json:"key"`
	End     time.Time `json:"end"`
}

// ExportKeys are those of a single node, in the order in which they end.
func (a *App) ExportKeys() []ExportedKey {
	o := &a.once
	o.mu.Lock()
	defer o.mu.Unlock()
	exported := make([]ExportedKey, len(o.queue))
	for i, k := range o.queue {
		exported[i] = ExportedKey{k.channel, k.key, k.end}
	}
	return exported
}

// RestoreKeys remembers keys of another process.
func (a *App) RestoreKeys(exported []ExportedKey) {
	o := &a.once
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range exported {
		o.add(onceUntil{onceKey{k.Channel, k.Key}, k.End})
	}
}
