package redis

import (
	"context"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"belfry/channels/cluster"
)

const (
	// settlePause is between attempts to find out what became of a publication.
	settlePause = 50 * time.Millisecond
	// givenUp is the record of one that is not to be executed.
	givenUp = "0"
)

// Publish implements [cluster.Driver]. Publications of one call are one change,
// in a Redis Cluster one per bucket, all at the same time.
func (d *Driver) Publish(ctx context.Context, publications ...cluster.Publication) error {
	if len(publications) == 0 {
		return nil
	}
	ctx, cancel := d.timeout(ctx)
	defer cancel()
	s, err := d.connected(ctx)
	if err != nil {
		return err
	}
	if !s.cluster {
		return d.publish(ctx, s, d.keys.whole(), publications)
	}
	groups := make(map[string][]cluster.Publication)
	for _, p := range publications {
		tag := d.keys.tag(p.Topic)
		groups[tag] = append(groups[tag], p)
	}
	if len(groups) == 1 {
		for tag, group := range groups {
			return d.publish(ctx, s, tag, group)
		}
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	for tag, group := range groups {
		all.Go(func() {
			if e := d.publish(ctx, s, tag, group); e != nil {
				mu.Lock()
				err = e
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return err
}

// publish sends what goes to one server.
func (d *Driver) publish(ctx context.Context, s *session, tag string, publications []cluster.Publication) error {
	record := tag + "p:" + s.node + itoa(int64(d.numbers.Add(1)))
	keys := []string{record}
	args := make([]string, 0, 4+3*len(publications))
	args = append(args, "", itoa(d.recordLife().Milliseconds()), s.publish, itoa(versionsLinger.Milliseconds()))
	for _, p := range publications {
		keep := int64(0)
		if p.Keep > 0 {
			keep = max(p.Keep.Milliseconds(), 1)
			t := d.keys.tag(p.Topic)
			keys = append(keys, t+"l:"+p.Topic.Channel, t+"k:"+p.Topic.Channel)
		}
		args = append(args, d.keys.name(p.Topic), string(p.Payload), itoa(keep))
	}
	a, err := s.before(ctx, lastMoment(ctx), d.keys.clock(s, tag), call{publishScript, keys, args})
	if err == nil && a.status != "done" {
		return d.failed(s, errAnswer)
	}
	if err == nil {
		return nil
	}
	failed := d.failed(s, err)
	if unknown(err) && d.published(ctx, record) {
		return nil
	}
	return failed
}

// recordLife is how long it is known what became of a publication.
func (d *Driver) recordLife() time.Duration { return 2 * d.options.Timeout }

// published finds out what became of a call whose answer was lost. If it was not
// executed, it never will be.
func (d *Driver) published(ctx context.Context, record string) bool {
	for {
		d.mu.Lock()
		s := d.session
		d.mu.Unlock()
		if s != nil {
			was, err := s.do(ctx, s.client.B().Set().Key(record).Value(givenUp).Nx().Get().Px(d.recordLife()).Build()).ToString()
			if err == nil || rueidis.IsRedisNil(err) {
				return err == nil && was != givenUp
			}
		}
		if err := wait(ctx, settlePause); err != nil {
			return false
		}
	}
}
