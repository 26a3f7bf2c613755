package redis

import (
	"context"
	"crypto/rand"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"belfry/channels/cluster"
)

// Publish implements [cluster.Bus]: a command for each publication, all of one server
// in one round trip. One with a key is a script.
func (d *Driver) Publish(ctx context.Context, publications ...cluster.Publication) error {
	topics := make([]cluster.Topic, len(publications))
	for i, p := range publications {
		topics[i] = p.Topic
	}
	return d.send(ctx, topics, func(ctx context.Context, s *session) []rueidis.RedisResult {
		commands := make([]rueidis.Completed, len(publications))
		for i, p := range publications {
			message := make([]byte, 1, 1+len(p.Payload))
			message[0] = 'p'
			message = append(message, p.Payload...)
			name, text := d.keys.name(p.Topic), rueidis.BinaryString(message)
			if p.Key != "" {
				once := call{onceScript, []string{d.keys.once(p)}, []string{s.publish, name, text, itoa(cluster.OnceFor.Milliseconds())}}
				commands[i] = once.command(s.client.B(), true) // with its text: sent again, it would come behind the others
			} else {
				commands[i] = s.publication(name, text)
			}
		}
		return s.doAll(ctx, commands...)
	})
}

// publication is the command that publishes.
func (s *session) publication(name, text string) rueidis.Completed {
	if s.cluster {
		return s.client.B().Spublish().Channel(name).Message(text).Build()
	}
	return s.client.B().Publish().Channel(name).Message(text).Build()
}

// Keep implements [cluster.Ledger].
func (d *Driver) Keep(ctx context.Context, events ...cluster.Kept) error {
	topics := make([]cluster.Topic, len(events))
	for i, e := range events {
		topics[i] = e.Topic
	}
	return d.send(ctx, topics, func(ctx context.Context, s *session) []rueidis.RedisResult {
		calls := make([]call, len(events))
		for i, e := range events {
			tag, c := d.keys.tag(e.Topic), e.Topic.Channel
			seen := d.latest.of(tag)
			calls[i] = call{keepScript, []string{tag + "b", tag + "l:" + c, tag + "h:" + c, tag + "e:" + c},
				[]string{s.publish, d.keys.name(e.Topic), c, string(e.Payload), rand.Text(), itoa(cluster.OnceFor.Milliseconds()),
					milliseconds(e.Last), itoa(e.Events), milliseconds(e.For), itoa(cluster.NumberFor.Milliseconds()),
					seen.Epoch, strconv.FormatUint(seen.Number, 10)}}
			if e.Key != "" {
				calls[i].keys = append(calls[i].keys, d.keys.once(e.Publication))
			}
		}
		results := s.run(ctx, calls...)
		for i, result := range results {
			if now, err := result.AsStrSlice(); err == nil && len(now) == 2 {
				number, _ := strconv.ParseUint(now[1], 10, 64)
				d.latest.told(d.keys.tag(events[i].Topic), cluster.Version{Epoch: now[0], Number: number})
			}
		}
		return results
	})
}

// milliseconds rounds up, so that what is kept is kept for some time.
func milliseconds(d time.Duration) string {
	return itoa((d + time.Millisecond - 1).Milliseconds())
}

// send makes calls about topics, the answers to which say nothing but that they were
// done.
func (d *Driver) send(ctx context.Context, topics []cluster.Topic, calls func(context.Context, *session) []rueidis.RedisResult) error {
	if len(topics) == 0 {
		return nil
	}
	ctx, cancel := d.timeout(ctx)
	defer cancel()
	s, err := d.connected(ctx)
	if err != nil {
		return err
	}
	for _, t := range topics {
		if err := d.away(s, t); err != nil {
			return err
		}
	}
	each, failed := make([]error, len(topics)), 0
	for i, r := range calls(ctx, s) {
		if e := r.Error(); e != nil {
			each[i] = d.unknown(s, e)
			failed++
			if err == nil || unknown(e) {
				err = each[i]
			}
		}
	}
	if failed == 0 || failed == len(topics) {
		return err
	}
	return &cluster.PartialError{Each: each}
}
