//go:build linux

package main

import (
	"context"
	"fmt"
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

// What a delivery and a publish may cost, by the column.
var (
	historyDelivery = map[string]*report.Goal{unmatched: report.AtMost(1.05), kept: report.AtMost(1.1)}
	historyPublish  = map[string]*report.Goal{unmatched: report.AtMost(1.05)}
)

// rules is Belfry with some configuration of histories.
type rules struct {
	server
	title   string
	serials bool // all channels have a history
}

// histories are the columns of the table of histories.
func histories(binary, dir string) (all []server, err error) {
	var others strings.Builder
	for i := range mostRules {
		fmt.Fprintf(&others, "      - {channels: \"h%02d*\"}\n", i)
	}
	for _, column := range []struct{ title, entries string }{
		{noRules, ""},
		{unmatched, others.String()},
		{kept, "      - {channels: \"*\", events: 100, age: 2m}\n"},
	} {
		further := ""
		if column.entries != "" {
			further = "    history:\n" + column.entries
		}
		s, err := newBelfry(binary, dir, further)
		if err != nil {
			return nil, err
		}
		all = append(all, rules{s, column.title, column.title == kept})
	}
	return all, nil
}

func (r rules) name() string { return r.title }

func (r rules) start(w workload) (*instance, error) {
	i, err := r.server.start(w)
	if err != nil {
		return nil, err
	}
	i.target.Serials = r.serials
	return i, nil
}

// historyCost measures what a history adds to a delivery and to a publish.
func historyCost(ctx context.Context, r *run) error {
	const members, pace = 1000, 20
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
	if err := pacedFanout(ctx, s, pace, a, goal, nil); err != nil {
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

const historyNote = noRules + ": no app has a history. " + unmatched + ": 50 entries of history, none of which matches a channel. " +
	kept + ": each channel keeps 100 events, for 2 minutes; messages are 27 bytes longer by their serials."
