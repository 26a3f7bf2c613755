// Package refusals logs what the server refuses: each refusal while there are
// few of its kind, and how many more there were when there are many, so that no
// stranger fills the log. It keeps the last refusals of each application, and tells
// each to those who watch.
package refusals

import (
	"context"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"belfry/protocol"
	"belfry/server/trace"
)

const (
	// Burst is how many refusals of one kind are logged at level info within a
	// [Window]. Further ones are logged at level debug.
	Burst = 10
	// Window begins with the first refusal of a kind. At its end, how many were
	// not logged at level info is.
	Window = 10 * time.Second

	// maxValue bounds, in bytes, what is logged of a value that may be a
	// stranger's.
	maxValue = 200
	// maxReason bounds the text that says why.
	maxReason = 1000
)

// Refusal is one refusal. Its kind is What, App and Code.
type Refusal struct {
	What string // the message of the log line, such as "connection refused"
	App  string // id; empty when unknown
	// Code is the protocol's, or the HTTP status; 0 for none. Like What, it is
	// the server's own choice, so that the number of kinds is bounded.
	Code   int
	Reason string // says what was given and what is accepted
}

// Log logs refusals. Its methods may be called concurrently.
type Log struct {
	log   *slog.Logger
	trace *trace.Trace // nil: nobody ever watches
	kept  kept

	mu    sync.Mutex // guards the following
	kinds map[kind]*window
}

type kind struct {
	what, app string
	code      int
}

// window counts the refusals of one kind.
type window struct {
	logged, more int
	last         string // reason of the last one that was not logged at info, clipped but not clean
}

// New returns a Log that writes to log.
func New(log *slog.Logger) *Log { return &Log{log: log, kinds: make(map[kind]*window)} }

// TraceTo also tells those who watch of each refusal. It is called before Add is.
func (l *Log) TraceTo(t *trace.Trace) { l.trace = t }

// Add logs a refusal. The attributes follow what and why; their texts are cut
// to a length that can be read.
func (l *Log) Add(r Refusal, attrs ...slog.Attr) {
	l.kept.add(r, attrs)
	l.tell(r, attrs)
	ctx := context.Background()
	level := slog.LevelInfo
	if !l.first(r) {
		level = slog.LevelDebug
	}
	if !l.log.Enabled(ctx, level) {
		return
	}
	all := append(make([]slog.Attr, 0, 3+len(attrs)),
		slog.String("app", r.App), slog.String("code", codeText(r.Code)), slog.String("reason", clean(r.Reason, maxReason)))
	for _, a := range attrs {
		if a.Value.Kind() == slog.KindString {
			a.Value = slog.StringValue(Clean(a.Value.String()))
		}
		all = append(all, a)
	}
	l.log.LogAttrs(ctx, level, r.What, all...)
}

// Clean is a stranger's text for the log: cut to a length that can be read, and
// without what could be a signature in the wrong place.
func Clean(s string) string { return clean(s, maxValue) }

func clean(s string, max int) string { return withoutDigests(protocol.Clip(s, max)) }

func withoutDigests(s string) string { return digestLike.ReplaceAllLiteralString(s, "[signature]") }

// digestLike matches longer runs of hexadecimal digits than any key has.
var digestLike = regexp.MustCompile(`[0-9A-Fa-f]{40,}`)

// first counts a refusal, and reports whether it is one of the first of its kind.
func (l *Log) first(r Refusal) bool {
	k := kind{r.What, r.App, r.Code}
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.kinds[k]
	if w == nil {
		w = new(window)
		l.kinds[k] = w
		time.AfterFunc(Window, func() { l.end(k) })
	}
	if w.logged < Burst {
		w.logged++
		return true
	}
	w.more++
	w.last = protocol.Clip(r.Reason, maxReason)
	return false
}

// Flush ends all windows, for a server that stops.
func (l *Log) Flush() {
	l.mu.Lock()
	kinds := slices.Collect(maps.Keys(l.kinds))
	l.mu.Unlock()
	for _, k := range kinds {
		l.end(k)
	}
}

// end is the end of a window.
func (l *Log) end(k kind) {
	l.mu.Lock()
	w := l.kinds[k]
	delete(l.kinds, k)
	l.mu.Unlock()
	if w != nil && w.more > 0 {
		l.log.Info(k.what, "app", k.app, "code", codeText(k.code), "more", w.more, "within", Window,
			"reason", "as before; the last: "+withoutDigests(w.last), "note", "each is logged at level debug")
	}
}

func codeText(code int) string {
	if code == 0 {
		return "none"
	}
	return strconv.Itoa(code)
}
