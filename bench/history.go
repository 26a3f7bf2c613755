//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"belfry/bench/load"
	"belfry/bench/report"
)

// The columns of the table of histories.
const (
	noRules   = "without"
	unmatched = "unmatched"
	kept      = "history"
)

// mostRules is how many entries a history may have in the configuration.
const mostRules = 50

// What a delivery and a publish may cost, by the column: without a match as much as
// without histories.
var (
	historyDelivery = map[string]*report.Goal{unmatched: report.AtMost(1), kept: report.AtMost(1.1)}
	historyPublish  = map[string]*report.Goal{unmatched: report.AtMost(1)}
)

// rules is Belfry with some configuration of histories.
type rules struct {
	title       string
	binary, dir string
	entries     string // of the app's history, in YAML; empty: it has none
}

// histories are the columns of the table of histories: none if Belfry is not measured.
func histories(o *options, dir string) (all []server) {
	if !slices.Contains(o.columns, belfryName) {
		return nil
	}
	var others strings.Builder
	for i := range mostRules {
		fmt.Fprintf(&others, "      - {channels: \"h%02d*\"}\n", i)
	}
	return []server{
		rules{noRules, o.belfry, dir, ""},
		rules{unmatched, o.belfry, dir, others.String()},
		rules{kept, o.belfry, dir, "      - {channels: \"*\", events: 100, age: 2m}\n"},
	}
}

func (r rules) name() string { return r.title }

func (r rules) can(workload) bool { return true }

func (r rules) start(w workload) (*instance, error) {
	further := ""
	if r.entries != "" {
		further = "    history:\n" + r.entries
	}
	s, err := newBelfry(r.binary, r.dir, further)
	if err != nil {
		return nil, err
	}
	i, err := s.start(w)
	if err != nil {
		return nil, err
	}
	i.target.Serials = r.title == kept
	return i, nil
}

// historyCost measures what a history adds to a delivery and to a publish.
func historyCost(ctx context.Context, r *run) error {
	const members, pace = 1000, 20 // as in the fan-out
	s, err := newStage(r)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.burst(ctx, warmUpEvents, small); err != nil {
		return err
	}
	a := s.audience("fan-1000")
	if err := s.crowd.Open(ctx, repeat(a, members)); err != nil {
		return err
	}
	goal := historyDelivery[r.column]
	e := s.even(a, small, pace)
	if err := e.publish(ctx, r.window/5); err != nil {
		return err
	}
	workload := fmt.Sprintf("paced fan-out, %s, %d B", subscribers(members), small)
	if err := e.measure(ctx, workload, goal, nil); err != nil {
		return err
	}
	if err := saturatedFanout(ctx, s, a, goal, nil); err != nil {
		return err
	}
	if err := s.silence(ctx); err != nil {
		return err
	}
	request := load.Trigger(r.target.App, r.target.Host, "nobody", small)
	return triggerSaturated(ctx, r, s.publishing, request, false, historyPublish[r.column])
}

var historyNote = fmt.Sprintf("%s: the app has no history. %s: its history has %d entries, as many as it may, and none matches a channel. "+
	"%s: each channel keeps 100 events for 2 minutes, and a serial makes its messages some 28 bytes longer.", noRules, unmatched, mostRules, kept)
