package console

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"belfry/protocol"
	"belfry/server/trace"
)

const (
	// streamLife is how long a stream lasts. The browser opens the next one by itself, and
	// has to be signed in for it.
	streamLife = 15 * time.Minute
	// keepAlive is how long nothing is sent before a comment is, as proxies end silent
	// streams.
	keepAlive = 15 * time.Second
	// streamWrite is how long a browser may take to read a message.
	streamWrite = 10 * time.Second
)

// batch is a message of the stream.
type batch struct {
	Run     string         `json:"run"` // of the process: in another one, other records have the same ids
	Records []trace.Record `json:"records"`
	Skipped int            `json:"skipped"` // records that matched too, left out as there were too many
}

// live streams what happens as server-sent events (HTML standard, "Server-sent events").
func (c *Console) live(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		return
	}
	filter, err := liveFilter(r.URL.Query())
	if err != nil {
		c.refuse(w, err)
		return
	}
	watcher, err := c.Trace.Watch(filter)
	if err != nil {
		c.refuse(w, fail(http.StatusServiceUnavailable, "%d pages show what happens live, the most that may: close one", trace.MaxWatchers))
		return
	}
	defer watcher.Close()
	ctx, cancel := context.WithTimeout(r.Context(), streamLife)
	defer cancel()
	defer context.AfterFunc(c.open, cancel)()

	stream := stream{w, http.NewResponseController(w)}
	_ = stream.control.SetReadDeadline(time.Time{}) // where it is not supported, there is none
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep the stream back
	var last time.Time                        // when something was sent; zero: the first comment opens the stream
	for {
		records, skipped, err := watcher.Next(ctx)
		switch {
		case err != nil:
			return
		case len(records) > 0 || skipped > 0:
			err = stream.message(batch{c.run, records, skipped})
		case last.IsZero() || time.Since(last) >= keepAlive:
			err = stream.send(": \n\n")
		default:
			continue
		}
		if err != nil {
			return // the browser has gone
		}
		last = time.Now()
	}
}

func liveFilter(q url.Values) (trace.Filter, error) {
	f := trace.Filter{App: q.Get("app"), Channel: q.Get("channel"), Exact: q.Get("exact") != "", Event: q.Get("event"), UserID: q.Get("user")}
	for _, kind := range q["kind"] {
		f.Kinds = append(f.Kinds, trace.Kind(kind))
	}
	if id := q.Get("socket"); id != "" {
		var ok bool
		if f.Socket, ok = protocol.ParseSocketID(id); !ok {
			return f, fail(http.StatusBadRequest, "socket %q is no socket id: it has the form 1234.5678", protocol.Clip(id, 60))
		}
	}
	return f, nil
}

// stream writes server-sent events.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (s stream) message(b batch) error {
	if b.Records == nil {
		b.Records = []trace.Record{}
	}
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return s.send("data: " + string(data) + "\n\n")
}

func (s stream) send(text string) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(streamWrite)) // where it is not supported, there is none
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}
