// Bench measures what Belfry costs and compares it with a reference server, or
// with any other server of the Pusher Channels protocol:
//
//	go run ./bench                   all workloads, some fifteen minutes
//	go run ./bench -only fanout,idle some of them
//	go run ./bench -target 127.0.0.1:6001 -pid 4711 -app-id 1 -key k -secret s
//
// A target is a server that runs already, such as Reverb or Soketi, on an address
// of 127.0.0.0/8: no traffic leaves the machine. With -target-tls it also has a
// column in the part tls.
//
// It starts each server in turn on a free loopback port, several rounds of it,
// so that whatever else the machine does falls on all of them, and prints the
// medians and their ratios. It pins nothing to processors. It needs bin/belfry
// (make build), Bun (npm ci in bench), and Linux.
//
// The server's time is what the kernel counts for its process, user and system,
// and its memory is its share of the pages. Every published event must reach
// every subscriber exactly once, or the benchmark fails.
//
// The part storm cuts 10,000 clients off at once, and has them back: 500 at a time,
// then all at once. The part tls gives Belfry and Bun the same certificate, made for the run; clients
// connect like a browser that meets the server for the first time. The part
// presence, which Bun does not have, joins a channel of 10,000 members, and says
// what of the time is for sending the answer, which lists them all: as much as a
// bare thread needs to send as many bytes.
//
// The part fallback compares the transports of the first server with each other:
// the HTTP fallback beside WebSocket. Its sessions restart their streams and ask
// again as pusher-js does.
//
// The part restart, which Bun does not have, replaces the server by a new process again
// and again, and tells how long the longest delay of an event is.
//
// The part history has Belfry alone, in three configurations: without histories, with
// entries of history of which none matches a channel, and with a history of each channel.
// Its clients check that the serials of a channel's messages ascend.
//
// The part console has Belfry alone as well: without a console, with one that nobody looks
// at, and with a page of it that shows all that happens.
//
// The part cluster, which runs only if it is named, has one server alone beside
// clusters of one to three nodes on a Redis of its own (apt-get install
// redis-server), and counts what goes through that. All of it shares the cores:
// it shows what a cluster adds, not what more machines bring.
//
// Package load has the clients, process the servers, redis the Redis, report the
// table; each workload has a file here. The goals are printed again below all
// tables.
package main
