//go:build linux

package main

import (
	"belfry/bench/report"
	"belfry/protocol"
)

// table is what is measured side by side, and the results.
type table struct {
	servers []server
	result  *report.Report
}

// tables are the five that there are.
type tables struct{ servers, transports, histories, consoles, layouts table }

func newTables(servers, histories, consoles, layouts []server) *tables {
	t := &tables{
		servers:    table{servers, &report.Report{Reference: bunName}},
		transports: table{overTransports(servers[0]), &report.Report{Base: transportNames[protocol.WebSocket]}},
		histories:  table{histories, &report.Report{Base: noRules}},
		consoles:   table{consoles, &report.Report{Base: noConsole}},
		layouts:    table{layouts, &report.Report{Base: layouts[0].name()}},
	}
	for _, table := range t.all() {
		for _, s := range table.servers {
			table.result.Servers = append(table.result.Servers, s.name())
		}
	}
	return t
}

func (t *tables) all() []*table {
	return []*table{&t.servers, &t.transports, &t.histories, &t.consoles, &t.layouts}
}

func (t *tables) of(w workload) *table {
	switch {
	case w.transports:
		return &t.transports
	case w.history:
		return &t.histories
	case w.console:
		return &t.consoles
	case w.cluster:
		return &t.layouts
	default:
		return &t.servers
	}
}

// results are those tables that have any. The notes are below the last one.
func (t *tables) results(notes []string) (results []*report.Report) {
	for _, table := range t.all() {
		if !table.result.Empty() {
			results = append(results, table.result)
		}
	}
	if len(results) > 0 {
		results[len(results)-1].Notes = notes
	}
	return results
}

// transportNames are the columns of the table of transports.
var transportNames = [protocol.NumTransports]string{
	protocol.WebSocket:    "websocket",
	protocol.XHRStreaming: "streaming",
	protocol.XHRPolling:   "polling",
}

// overTransport is a server whose subscribers connect by one transport.
type overTransport struct {
	server
	transport protocol.Transport
}

// overTransports are a server's transports, but for the reference, which has no
// other than WebSocket.
func overTransports(s server) (all []server) {
	if s.name() == bunName {
		return nil
	}
	for t := range protocol.NumTransports {
		all = append(all, overTransport{s, t})
	}
	return all
}

func (o overTransport) name() string { return transportNames[o.transport] }

func (o overTransport) start(w workload) (*instance, error) {
	i, err := o.server.start(w)
	if err != nil {
		return nil, err
	}
	over := *i
	target := *i.target
	target.Transport = o.transport
	over.target = &target
	return &over, nil
}
