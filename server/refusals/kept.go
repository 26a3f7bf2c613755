package refusals

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"belfry/protocol"
	"belfry/server/trace"
)

const (
	// MaxKept is how many of the last refusals are kept of one application, and of none.
	MaxKept = 50
	// maxApps bounds the applications of which some are kept: of those beyond, the ones
	// that have been refused nothing for longest are forgotten.
	maxApps = 200
)

// Kept is a refusal that was kept.
type Kept struct {
	Refusal
	At         time.Time
	Attributes map[string]string // by the names that they have in the log
}

// kept are the last refusals, by application. Nothing is kept before keep is called.
type kept struct {
	mu   sync.Mutex // guards apps
	apps map[string]*ring
}

// ring has the last refusals of one application.
type ring struct {
	entries [MaxKept]entry
	n       int // that were ever added
}

// entry is a refusal as it came, but clipped, and with memory of its own.
type entry struct {
	Refusal
	at    time.Time
	attrs []slog.Attr
}

// Keep begins to keep the last refusals.
func (l *Log) Keep() {
	l.kept.mu.Lock()
	defer l.kept.mu.Unlock()
	l.kept.apps = make(map[string]*ring)
}

func (k *kept) add(r Refusal, attrs []slog.Attr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.apps == nil {
		return
	}
	of := k.apps[r.App]
	if of == nil {
		if len(k.apps) == maxApps {
			k.forgetOne()
		}
		of = new(ring)
		k.apps[r.App] = of
	}
	r.Reason = strings.Clone(protocol.Clip(r.Reason, maxReason))
	own := slices.Clone(attrs)
	for i, a := range own {
		if a.Value.Kind() == slog.KindString {
			own[i].Value = slog.StringValue(strings.Clone(protocol.Clip(a.Value.String(), maxValue)))
		}
	}
	of.entries[of.n%MaxKept] = entry{r, time.Now(), own}
	of.n++
}

// forgetOne forgets the application that has been refused nothing for longest. mu is held.
func (k *kept) forgetOne() {
	var oldest string
	var at time.Time
	for app, of := range k.apps {
		if last := of.entries[(of.n-1)%MaxKept].at; at.IsZero() || last.Before(at) {
			oldest, at = app, last
		}
	}
	delete(k.apps, oldest)
}

// Last returns the last refusals of an application, newest first, at most [MaxKept]. With
// "", it returns those that were about none.
func (l *Log) Last(app string) []Kept {
	l.kept.mu.Lock()
	var entries []entry
	if of := l.kept.apps[app]; of != nil {
		for i := of.n - 1; i >= max(0, of.n-MaxKept); i-- {
			entries = append(entries, of.entries[i%MaxKept])
		}
	}
	l.kept.mu.Unlock()
	last := make([]Kept, len(entries))
	for i, e := range entries {
		e.Reason = withoutDigests(e.Reason)
		last[i] = Kept{e.Refusal, e.at, texts(e.attrs)}
	}
	return last
}

// texts returns the attributes that are not empty, by name and cleaned.
func texts(attrs []slog.Attr) map[string]string {
	texts := make(map[string]string, len(attrs))
	for _, a := range attrs {
		if text := Clean(a.Value.String()); text != "" {
			texts[a.Key] = text
		}
	}
	return texts
}

// tell tells those who watch of a refusal.
func (l *Log) tell(r Refusal, attrs []slog.Attr) {
	if !l.trace.Watched() {
		return
	}
	t := texts(attrs)
	record := trace.Record{
		Kind: trace.Refusal, App: r.App, Code: r.Code, What: r.What, Reason: clean(r.Reason, maxReason),
		Channel: t["channel"], UserID: t["user"], Remote: t["remote"], Client: t["client"], Version: t["version"], Origin: t["origin"],
	}
	record.Socket, _ = protocol.ParseSocketID(t["socket_id"])
	l.trace.Add(record)
}
