// Package trace shows people what happens, as it happens. Those who make something happen
// ask [Trace.Watched] first, which is one atomic load: while nobody watches, that is all.
//
// Watching is bounded. A [Watcher] gets a limited number of records in each [Interval];
// what else matches its filter is counted, and is not even recorded.
package trace

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"belfry/channels"
	"belfry/protocol"
)

const (
	// Interval is how often a watcher is given what was recorded for it.
	Interval = 200 * time.Millisecond
	// MaxRecords is how many records a watcher is given at a time.
	MaxRecords = 200
	// MaxWatchers is how many may watch at a time.
	MaxWatchers = 16
	// maxText bounds, in bytes, each text of a record but its data.
	maxText = 1000
	// maxData bounds the data, in bytes.
	maxData = 2048
)

// ErrTooMany is the error of a watcher over [MaxWatchers].
var ErrTooMany = errors.New("too many are watching")

// Kind is what a record is about.
type Kind string

// The kinds.
const (
	Publish      Kind = "publish"  // the backend published an event
	Delivery     Kind = "delivery" // an event came from the cluster
	ClientEvent  Kind = "client_event"
	Subscribe    Kind = "subscribe"
	Unsubscribe  Kind = "unsubscribe"
	Connect      Kind = "connect"
	Disconnect   Kind = "disconnect"
	SignIn       Kind = "signin"
	Refusal      Kind = "refusal"
	Webhook      Kind = "webhook"
	SlowConsumer Kind = "slow_consumer"
)

// Record is something that happened. What does not apply is zero.
type Record struct {
	ID         uint64            `json:"id"` // grows
	At         Milliseconds      `json:"at"`
	Kind       Kind              `json:"kind"`
	App        string            `json:"app,omitempty"`
	Channel    string            `json:"channel,omitempty"`
	Event      string            `json:"event,omitempty"`
	Socket     protocol.SocketID `json:"-"`                   // the client that it is about
	SocketID   string            `json:"socket_id,omitempty"` // of Socket, if that has made it happen
	UserID     string            `json:"user_id,omitempty"`
	Recipients *int              `json:"recipients,omitempty"`
	DelayMS    float64           `json:"delay_ms,omitempty"`
	Except     string            `json:"except,omitempty"` // socket id of who must not receive the event
	Data       string            `json:"data,omitempty"`   // cut to maxData bytes
	DataBytes  int               `json:"data_bytes,omitempty"`
	Code       int               `json:"code,omitempty"`
	What       string            `json:"what,omitempty"` // is refused
	Reason     string            `json:"reason,omitempty"`
	Remote     string            `json:"remote,omitempty"`
	Client     string            `json:"client,omitempty"`
	Version    string            `json:"version,omitempty"`
	Origin     string            `json:"origin,omitempty"`
	Transport  string            `json:"transport,omitempty"`
	Endpoint   string            `json:"endpoint,omitempty"`
	Status     int               `json:"status,omitempty"`
	Events     int               `json:"events,omitempty"`
}

// Milliseconds is a time in milliseconds since 1970.
type Milliseconds float64

// At makes Milliseconds of a time.
func At(t time.Time) Milliseconds { return Milliseconds(float64(t.UnixMicro()) / 1000) }

// MS is a duration in milliseconds.
func MS(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Filter says what a watcher wants to know. Each part that is not empty has to match.
type Filter struct {
	App     string
	Kinds   []Kind
	Channel string // how the channel's name begins or, with Exact, the name
	Exact   bool
	Event   string // how the event's name begins
	Socket  protocol.SocketID
	UserID  string
}

func (f *Filter) matches(r *Record) bool {
	return (f.App == "" || f.App == r.App) &&
		(len(f.Kinds) == 0 || slices.Contains(f.Kinds, r.Kind)) &&
		(f.Exact && r.Channel == f.Channel || !f.Exact && strings.HasPrefix(r.Channel, f.Channel)) &&
		strings.HasPrefix(r.Event, f.Event) &&
		(f.UserID == "" || f.UserID == r.UserID) &&
		(f.Socket == protocol.SocketID{} || f.Socket == r.Socket)
}

// Trace passes records to watchers. Its methods may be called concurrently; nobody watches
// a nil one.
type Trace struct {
	last     atomic.Uint64 // id of a record
	watchers atomic.Pointer[[]*Watcher]
	changing sync.Mutex // held while watchers is replaced
}

// Watched reports whether anybody watches. If not, nothing has to be added.
func (t *Trace) Watched() bool { return t != nil && t.watchers.Load() != nil }

// Add gives a record to those who want it. It sets the id and, if that is zero, the time.
func (t *Trace) Add(r Record) {
	watchers := t.list()
	if len(watchers) == 0 {
		return
	}
	complete := false
	for _, w := range watchers {
		if !w.filter.matches(&r) || !w.takes() {
			continue
		}
		if !complete {
			r.ID = t.last.Add(1)
			r.finish()
			complete = true
		}
		w.add(r)
	}
}

// finish bounds what the record keeps.
func (r *Record) finish() {
	if r.At == 0 {
		r.At = At(time.Now())
	}
	if r.Socket != (protocol.SocketID{}) && r.Except == "" {
		r.SocketID = r.Socket.String()
	}
	for _, text := range []*string{&r.Channel, &r.Event, &r.UserID, &r.What, &r.Reason, &r.Remote, &r.Client, &r.Version, &r.Origin} {
		*text = protocol.Clip(*text, maxText)
	}
}

func (t *Trace) list() []*Watcher {
	if t == nil {
		return nil
	}
	if all := t.watchers.Load(); all != nil {
		return *all
	}
	return nil
}

// Watch begins to record what matches the filter, until Close. The error is [ErrTooMany].
func (t *Trace) Watch(f Filter) (*Watcher, error) {
	t.changing.Lock()
	defer t.changing.Unlock()
	all := t.list()
	if len(all) == MaxWatchers {
		return nil, ErrTooMany
	}
	w := &Watcher{trace: t, filter: f}
	w.left.Store(MaxRecords)
	all = append(slices.Clone(all), w)
	t.watchers.Store(&all)
	return w, nil
}

// Watcher is somebody who watches.
type Watcher struct {
	trace  *Trace
	filter Filter

	left    atomic.Int64 // records that may come before Next
	skipped atomic.Int64 // since then

	mu      sync.Mutex // guards records
	records []Record
}

// takes reports whether another record may come, and counts one that may not.
func (w *Watcher) takes() bool {
	if w.left.Add(-1) >= 0 {
		return true
	}
	w.skipped.Add(1)
	return false
}

func (w *Watcher) add(r Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = append(w.records, r)
}

// Next returns, at the end of an [Interval], what was recorded in it, and how many more
// records matched. The error is that of the context.
func (w *Watcher) Next(ctx context.Context) (records []Record, skipped int, err error) {
	select {
	case <-time.After(Interval):
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	w.mu.Lock()
	records, w.records = w.records, nil
	w.mu.Unlock()
	w.left.Store(MaxRecords)
	return records, int(w.skipped.Swap(0)), nil
}

// Close ends watching.
func (w *Watcher) Close() {
	t := w.trace
	t.changing.Lock()
	defer t.changing.Unlock()
	left := slices.DeleteFunc(slices.Clone(t.list()), func(other *Watcher) bool { return other == w })
	if len(left) == 0 {
		t.watchers.Store(nil)
		return
	}
	t.watchers.Store(&left)
}

// Follows implements channels.Tracer. An event that every watcher who wants it would skip
// is counted as skipped, and not followed.
func (t *Trace) Follows(p channels.Passage) bool {
	r := record(&p)
	for _, w := range t.list() {
		if w.filter.matches(&r) && w.left.Load() > 0 {
			return true
		}
	}
	for _, w := range t.list() {
		if w.filter.matches(&r) {
			w.skipped.Add(1)
		}
	}
	return false
}

// Passed implements channels.Tracer.
func (t *Trace) Passed(p channels.Passage) {
	r := record(&p)
	r.At = At(time.Now().Add(-p.Delay))
	r.DelayMS = MS(p.Delay)
	if !p.Relayed && !p.Repeated {
		r.Recipients = &p.Recipients
	}
	if p.Repeated {
		r.Reason = "published before with the same idempotency key: nobody is sent it again"
	}
	if p.From != channels.Client && p.Except != (protocol.SocketID{}) {
		r.Except = p.Except.String()
	}
	data := string(p.Data)
	if unquoted := ""; json.Unmarshal(p.Data, &unquoted) == nil {
		data = unquoted
	}
	r.Data, r.DataBytes = strings.Clone(protocol.Clip(data, maxData)), len(data)
	t.Add(r)
}

// record has what is known of an event before anything has become of it.
func record(p *channels.Passage) Record {
	r := Record{App: p.App, Channel: p.Channel, Event: p.Event, UserID: p.UserID, Socket: p.Except}
	switch p.From {
	case channels.Backend:
		r.Kind = Publish
	case channels.Client:
		r.Kind = ClientEvent
	case channels.Cluster:
		r.Kind = Delivery
	}
	return r
}
