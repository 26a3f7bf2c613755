package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"belfry/channels/cluster"
	"belfry/channels/cluster/redis/redistest"
)

// commands is how many a server has executed, those of scripts included.
func commands(server *redistest.Server) (n int) {
	for line := range strings.Lines(server.CLI("info", "commandstats")) {
		name, stats, _ := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if name == "info" {
			continue
		}
		calls, _, _ := strings.Cut(stats, ",")
		count, _ := strconv.Atoi(calls)
		n += count
	}
	return n
}

// keeping is what the lease and the connection add to the commands of one call at most,
// as they are measured many at a time.
const keeping = 0.2

// What the documentation says of the cost of a publish, a join and a leave.
func TestCommands(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := startNode(t, Options{URL: "redis://" + server.Addr, Prefix: prefix()})
	const many = 100
	ctx := context.Background()
	topic := func(kind string, i int) cluster.Topic {
		return cluster.Topic{App: "1", Channel: fmt.Sprint(kind, i)}
	}
	measure := func(what string, most float64, f func(i int)) {
		t.Helper()
		f(-1) // scripts, and whatever is done once
		before := commands(server)
		for i := range many {
			f(i)
		}
		if each := float64(commands(server)-before) / many; each > most+keeping {
			t.Errorf("%s: %v commands", what, each)
		} else {
			t.Logf("%s: %v commands", what, each)
		}
	}
	until(t, "being ready", func() bool { return a.Ready() == nil })
	for b := range buckets { // so that registering is not counted
		a.must(a.register(ctx, current(a), a.keys.bucket("1", b)))
	}
	update := func(t cluster.Topic, s cluster.Share) {
		_, err := a.Update(ctx, t, s)
		a.must(err)
	}
	measure("publish", 1, func(i int) {
		a.must(a.Publish(ctx, cluster.Publication{Topic: topic("c", i), Payload: []byte("x")}))
	})
	keep := func(k cluster.Kept) {
		k.Publication = cluster.Publication{Topic: topic("kept-", 0), Payload: []byte("x")}
		a.must(a.Keep(ctx, k))
	}
	measure("publish to a cache channel", 6, func(int) { keep(cluster.Kept{Last: time.Hour}) })
	measure("publish to a channel with a history", 9, func(int) { keep(cluster.Kept{Events: 10, For: time.Hour}) })
	measure("listen", 1, func(i int) { a.must(a.Listen(ctx, topic("c", i))) })
	measure("first subscription", 5, func(i int) { update(topic("c", i), cluster.Share{Count: 1}) })
	measure("further ones", 5, func(i int) { update(topic("c", i), cluster.Share{Count: 10, Before: 1}) })
	measure("last leave", 5, func(i int) { update(topic("c", i), cluster.Share{Before: 10}) })
	measure("first subscription, with webhooks", 8, func(i int) { update(topic("c", i), cluster.Share{Count: 1, Record: true}) })
	measure("last leave, with webhooks", 9, func(i int) { update(topic("c", i), cluster.Share{Before: 1, Record: true, Grace: time.Hour}) })
	measure("first member", 13, func(i int) {
		update(topic("presence-", i), cluster.Share{Count: 1, Join: shareOf("a").Join, Load: true})
	})
	measure("last member", 11, func(i int) { update(topic("presence-", i), cluster.Share{Before: 1}) })
}
