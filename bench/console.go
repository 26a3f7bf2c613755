//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"slices"
	"sync"
	"time"

	"belfry/bench/load"
	"belfry/bench/report"
)

// The columns of the table of the console.
const (
	noConsole  = "without"
	unwatched  = "unwatched"
	watched    = "watched"
	consoleKey = "bench-password"
)

// What a delivery and a publish may cost, by the column: as much as without a console while
// nobody looks at it.
var (
	consoleDelivery = map[string]*report.Goal{unwatched: report.AtMost(1), watched: report.AtMost(1.1)}
	consolePublish  = map[string]*report.Goal{unwatched: report.AtMost(1), watched: report.AtMost(1.1)}
)

// consoleServer is Belfry with or without a console, at which somebody may look.
type consoleServer struct {
	server
	title   string
	watched bool
}

// consoles are the columns of the table of the console: none if Belfry is not measured.
func consoles(o *options, dir string) (all []server, err error) {
	if !slices.Contains(o.columns, belfryName) {
		return nil, nil
	}
	for _, title := range []string{noConsole, unwatched, watched} {
		further := ""
		if title != noConsole {
			further = "console:\n  enabled: true\n  password: " + consoleKey + "\n"
		}
		s, err := newBelfry(o.belfry, dir, further)
		if err != nil {
			return nil, err
		}
		all = append(all, consoleServer{s, title, title == watched})
	}
	return all, nil
}

func (c consoleServer) name() string { return c.title }

func (c consoleServer) start(w workload) (*instance, error) {
	i, err := c.server.start(w)
	if err != nil || !c.watched {
		return i, err
	}
	v, err := look("http://" + i.target.Host + "/console/")
	if err != nil {
		i.stop()
		return nil, i.explain(err)
	}
	stop := i.stop
	i.stop = func() {
		v.close()
		stop()
	}
	return i, nil
}

// onlooker is a page of the console: it is streamed all that happens, and asks as often as
// the page does for the list of connections.
type onlooker struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// asksEvery is how often a page that lists something asks for it.
const asksEvery = 5 * time.Second

func look(console string) (*onlooker, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Jar: jar}
	answer, err := client.Post(console+"api/session", "application/json", bytes.NewReader(fmt.Appendf(nil, `{"user":"admin","password":%q}`, consoleKey)))
	if err != nil {
		return nil, err
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("signing in to the console: %s", answer.Status)
	}
	ctx, cancel := context.WithCancel(context.Background())
	v := &onlooker{cancel: cancel}
	read := func(path string) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, console+path, nil)
		if err != nil {
			return
		}
		if answer, err := client.Do(request); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body) // until the context ends
			answer.Body.Close()
		}
	}
	v.done.Go(func() { read("api/live?app=" + ownApp.ID) })
	v.done.Go(func() {
		for sleep(ctx, asksEvery) == nil {
			read("api/connections?app=" + ownApp.ID)
		}
	})
	return v, nil
}

func (v *onlooker) close() {
	v.cancel()
	v.done.Wait()
}

// consolePace is how many events a second go to small channels while the console is
// measured: with all connections, some 50,000 deliveries.
const consolePace = 2500

// consoleCost measures what a console adds to a delivery and to a publish.
func consoleCost(ctx context.Context, r *run) error {
	s, err := newStage(r)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.burst(ctx, warmUpEvents, small); err != nil {
		return err
	}
	audiences := make([]*load.Audience, manyChannels)
	topics := make([]*load.Topic, manyChannels)
	for i := range audiences {
		audiences[i] = s.audience(fmt.Sprintf("small-%d", i))
		topics[i] = s.topic(audiences[i], small)
	}
	connections := make([]*load.Audience, r.connections)
	for i := range connections {
		connections[i] = audiences[i%manyChannels]
	}
	if err := s.crowd.Open(ctx, connections); err != nil {
		return err
	}
	const interval = time.Second / consolePace
	u, err := r.measureWarm(func(long time.Duration) error {
		return s.paced(ctx, interval, events(long, interval), audiences, topics)
	})
	if err != nil {
		return err
	}
	workload := fmt.Sprintf("%d connections, %d channels, %d events/s of %d B", len(connections), manyChannels, consolePace, small)
	r.recordCPU(workload, "CPU µs per delivery", consoleDelivery[r.column], u, s.tally.Deliveries)
	r.recordLatency(workload, "", s.tally.Latency, nil)
	if err := s.silence(ctx); err != nil {
		return err
	}
	request := load.Trigger(r.target.App, r.target.Host, "nobody", small)
	return triggerSaturated(ctx, r, s.publishing, request, false, consolePublish[r.column])
}

var consoleNote = fmt.Sprintf("%s: there is no console. %s: nobody looks at it. %s: a page shows all that happens live, without a filter, and the list of connections.", noConsole, unwatched, watched)
