package redis

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"belfry/channels/cluster"
)

const (
	// maxClaimed is how many dead nodes one buries at a time.
	maxClaimed = 8
	// buriedAtOnce is how many channels of a dead node take one round trip.
	buriedAtOnce = 128
	// deadFor is for how long a bucket knows that a node is dead: longer than
	// any call of it may be on its way.
	deadFor = 10 * time.Minute
)

// lease begins or renews it, and looks for nodes that have died, unless this one
// was itself cut off from Redis a moment ago: the others' leases may then have
// ended because nobody could renew any.
func (d *Driver) lease(s *session, begin bool) error {
	ctx, cancel := d.timeout(d.ctx)
	defer cancel()
	s.mu.Lock()
	claim := 0
	if time.Since(s.since) >= d.options.Lease && len(s.claimed) == 0 && !d.move.is() {
		claim = maxClaimed
	}
	args := []string{"", s.node, itoa(d.options.Lease.Microseconds()), itoa(d.claimLife().Microseconds()), bool01(begin), itoa(claim)}
	for id := range s.claimed {
		args = append(args, id)
	}
	s.mu.Unlock()
	deadline, _ := ctx.Deadline()
	a, err := s.before(ctx, deadline, d.keys.clock(s, d.keys.whole()), call{leaseScript, []string{d.keys.leases(), d.keys.claims(), d.keys.born()}, args})
	switch {
	case err != nil:
		return err
	case a.status == "lost":
		return errLost
	case a.status != "done":
		return errAnswer
	}
	r := reader{rest: a.rest}
	dead, born := r.strings(), r.int()
	now, err := strconv.ParseInt(a.clock, 10, 64)
	if err != nil || r.err() != nil {
		return errAnswer
	}
	d.mu.Lock()
	if d.born != 0 && d.born != born {
		d.settled = time.Now().Add(time.Duration(born-now)*time.Microsecond + cluster.ToldAgain)
	}
	d.born = born
	d.mu.Unlock()
	if len(dead) > 0 {
		d.removeDead(s, dead)
	}
	return nil
}

// settles reports whether the others may not have told their shares since Redis has lost
// its data.
func (d *Driver) settles() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Now().Before(d.settled)
}

// claimLife is how long a claim is good for: as long as a lease, half of it at
// most if that leaves time for another.
func (d *Driver) claimLife() time.Duration { return d.options.Lease / 2 }

// removeDead takes the shares of dead nodes away, in the background. What is left when
// that fails is claimed again when the claims have run out, by whoever comes
// first.
func (d *Driver) removeDead(s *session, dead []string) {
	s.mu.Lock()
	for _, id := range dead {
		s.claimed[id] = struct{}{}
	}
	s.mu.Unlock()
	d.running.Go(func() {
		for _, id := range dead {
			if id == s.former {
				d.log.Info("what this node had before it lost its lease is taken away", "node", id)
			} else {
				d.log.Info("a node of the cluster has died: its share is taken away", "node", id)
			}
			_, err := d.removeShares(d.ctx, s, id)
			if err != nil && d.ctx.Err() == nil {
				d.log.Warn("the share of a dead node could not be taken away: it will be tried again", "node", id, "error", d.failed(s, err))
			}
			s.mu.Lock()
			delete(s.claimed, id)
			s.mu.Unlock()
		}
	})
}

// removeShares takes a node's whole share away, channel by channel: it may be repeated,
// and it may be begun by one node and finished by another. left: an outbox where
// the node had shares has transitions, of which the receiver is told.
func (d *Driver) removeShares(ctx context.Context, s *session, id string) (left bool, err error) {
	tags, err := s.strings(ctx, d, func(b rueidis.Builder) rueidis.Completed {
		return b.Smembers().Key(d.keys.bucketsOf(id)).Build()
	})
	if err != nil {
		return false, err
	}
	for _, tag := range tags {
		some, err := d.removeBucket(ctx, s, id, tag)
		if err != nil {
			return false, err
		}
		left = left || some
	}
	if left && id == s.node {
		return true, nil // a claim and the buckets are left for others to look at
	}
	ctx, cancel := d.timeout(ctx)
	defer cancel()
	for _, r := range s.doAll(ctx,
		s.client.B().Del().Key(d.keys.bucketsOf(id), d.keys.about(id)).Build(),
		s.client.B().Zrem().Key(d.keys.claims()).Member(id).Build()) {
		if err := r.Error(); err != nil {
			return left, err
		}
	}
	return left, nil
}

func (d *Driver) removeBucket(ctx context.Context, s *session, id, tag string) (left bool, err error) {
	bucket, ok := d.keys.parse(tag)
	if !ok {
		return false, nil
	}
	// From here on, nothing of the node counts any more in this bucket.
	one, cancel := d.timeout(ctx)
	err = s.run(one, call{deadScript, []string{tag + "b"}, []string{id, itoa(int64(deadFor.Seconds()))}})[0].Error()
	cancel()
	if err != nil {
		return false, err
	}
	for {
		fields, err := s.strings(ctx, d, func(b rueidis.Builder) rueidis.Completed {
			return b.Hrandfield().Key(tag + "n:" + id).Count(buriedAtOnce).Build()
		})
		if err != nil {
			return false, err
		}
		if len(fields) == 0 {
			return d.leftIn(ctx, s, id, tag, bucket)
		}
		calls := make([]call, len(fields))
		for i, channel := range fields {
			calls[i] = d.update(s, id, cluster.Topic{App: bucket.App, Channel: channel}, cluster.Share{}, flagForDead)
			calls[i].args[0] = never
		}
		one, cancel := d.timeout(ctx)
		results := s.run(one, calls...)
		cancel()
		for _, r := range results {
			if err := r.Error(); err != nil {
				return false, err
			}
			if a, err := parseAnswer(r); err == nil {
				if o, err := d.outcome(cluster.Topic{App: bucket.App}, a, false); err == nil && o.Lost > 0 {
					d.log.Warn("webhooks of a dead node are dropped: too many wait in the cluster", "app", bucket.App, "events", o.Lost)
				}
			}
		}
	}
}

// leftIn reports whether a bucket's outbox has anything, of which the receiver is told
// unless it is this node that goes.
func (d *Driver) leftIn(ctx context.Context, s *session, id, tag string, bucket cluster.Bucket) (left bool, err error) {
	ctx, cancel := d.timeout(ctx)
	defer cancel()
	for _, r := range s.doAll(ctx, s.client.B().Llen().Key(tag+"q").Build(), s.client.B().Zcard().Key(tag+"w").Build()) {
		n, err := r.AsInt64()
		if err != nil {
			return false, err
		}
		left = left || n > 0
	}
	if left && id != s.node {
		select {
		case d.queue <- item{kind: due, hint: cluster.Hint{Bucket: bucket}}:
		case <-d.ctx.Done():
			return left, d.ctx.Err()
		}
	}
	return left, nil
}

// never is a deadline that does not come.
const never = "9000000000000000"

// leave ends the node.
func (d *Driver) leave(s *session) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*d.options.Timeout)
	defer cancel()
	if err := d.resign(ctx, s); err != nil {
		d.log.Info("this node has left the cluster without its share: the others will take it away", "error", d.note(err))
	}
}

// resign takes this node's own share away: others may not, unless this fails.
func (d *Driver) resign(ctx context.Context, s *session) error {
	ends, err := s.in(ctx, d.claimLife()) // of a claim that is not renewed
	if err != nil {
		return err
	}
	for _, r := range s.doAll(ctx,
		s.client.B().Zadd().Key(d.keys.claims()).ScoreMember().ScoreMember(ends, s.node).Build(),
		s.client.B().Zrem().Key(d.keys.leases()).Member(s.node).Build()) {
		if err := r.Error(); err != nil {
			return err
		}
	}
	_, err = d.removeShares(ctx, s, s.node)
	return err
}

// in is the time there after a while, in µs.
func (s *session) in(ctx context.Context, d time.Duration) (float64, error) {
	now, err := s.do(ctx, s.client.B().Time().Build()).AsIntSlice()
	if err != nil || len(now) != 2 {
		return 0, errors.Join(err, errAnswer)
	}
	return float64(now[0])*1e6 + float64(now[1]) + float64(d.Microseconds()), nil
}

// strings runs a command that returns some.
func (s *session) strings(ctx context.Context, d *Driver, command func(rueidis.Builder) rueidis.Completed) ([]string, error) {
	ctx, cancel := d.timeout(ctx)
	defer cancel()
	return s.do(ctx, command(s.client.B())).AsStrSlice()
}

// register has Redis know that the node will have shares in a bucket, before it
// has: by what is in the bucket, an update knows that nothing of this was lost. The
// lease is looked at again at the end, as all that was there at the beginning may have
// been lost before the bucket knew the node.
func (d *Driver) register(ctx context.Context, s *session, tag string) error {
	s.mu.Lock()
	_, ok := s.registered[tag]
	s.mu.Unlock()
	if ok {
		return nil
	}
	if err := d.noteBucket(ctx, s, tag); err != nil {
		return err
	}
	d.mu.Lock()
	d.buckets[tag] = struct{}{}
	d.mu.Unlock()
	if err := s.do(ctx, s.client.B().Hset().Key(tag+"b").FieldValue().FieldValue("r:"+s.node, "1").Build()).Error(); err != nil {
		return err
	}
	if err := d.noteBucket(ctx, s, tag); err != nil {
		return err
	}
	s.mu.Lock()
	s.registered[tag] = struct{}{}
	s.mu.Unlock()
	return nil
}

// noteBucket puts a bucket among those of the node, if that has its lease.
func (d *Driver) noteBucket(ctx context.Context, s *session, tag string) error {
	known, err := s.run(ctx, call{registerScript, []string{d.keys.leases(), d.keys.bucketsOf(s.node)}, []string{s.node, tag}})[0].AsBool()
	if err == nil && !known {
		return errLost
	}
	return err
}

// bequeath has what this node has taken away under the name that has lost its lease: with
// the lease, it may have got lost in which buckets there are shares. The node does so
// itself once it has told them under its new name; should it fail, the others do.
func (d *Driver) bequeath(s *session) error {
	d.mu.Lock()
	tags := slices.Collect(maps.Keys(d.buckets))
	d.mu.Unlock()
	if len(tags) == 0 {
		return nil
	}
	ctx, cancel := d.timeout(d.ctx)
	defer cancel()
	if err := d.claim(ctx, s, s.node, tags); err != nil {
		return err
	}
	d.mu.Lock()
	clear(d.buckets)
	d.mu.Unlock()
	return nil
}

// unregistered is the error of a node that a bucket does not know, or not any more. If
// the node has its lease all the same, it is the bucket's server that has lost its data.
func (d *Driver) unregistered(s *session, tag string) error {
	s.emptyAt(s.address(tag))
	return d.failed(s, errLost)
}

// lookForEmptied looks for servers of a Redis Cluster that have lost their data, while
// the one with the leases has not: by one bucket of each.
func (d *Driver) lookForEmptied(s *session) {
	tags := make(map[string]string) // by address
	s.mu.Lock()
	for tag := range s.registered {
		tags[s.address(tag)] = tag
	}
	s.mu.Unlock()
	for addr, tag := range tags {
		d.running.Go(func() {
			ctx, cancel := d.timeout(d.ctx)
			defer cancel()
			known, err := s.do(ctx, s.client.B().Hexists().Key(tag+"b").Field("r:"+s.node).Build()).AsBool()
			if err == nil && !known {
				s.emptyAt(addr)
				d.look()
			}
		})
	}
}

// address is that of a tag's server, empty but in a Redis Cluster.
func (s *session) address(tag string) string {
	if !s.cluster {
		return ""
	}
	return s.slots.Load().owner(s.slot(tag))
}

// emptyAt notes that a server has lost its data. Its buckets have to be told everything
// again.
func (s *session) emptyAt(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for tag := range s.registered {
		if s.address(tag) == addr {
			delete(s.registered, tag)
		}
	}
	s.emptied[addr] = struct{}{}
}

// endEmptied ends the connections to servers that have lost their data, so that the
// receiver is told of a loss. The loop calls it.
func (s *session) endEmptied() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for addr := range s.emptied {
		if c := s.servers[addr]; c != nil {
			c.end()
		}
	}
	clear(s.emptied)
}

// recall asks Redis which shares it has of this node, after a connection was lost, and of
// which nodes besides: it may have come back with older data. It goes on until all buckets
// have answered, or the session is over.
func (d *Driver) recall(ctx context.Context, s *session) {
	d.mu.Lock()
	tags := slices.Collect(maps.Keys(d.buckets))
	d.mu.Unlock()
	for {
		failed, err := d.recallFrom(ctx, s, tags)
		if err != nil {
			_ = d.failed(s, err)
		}
		if tags = failed; len(tags) == 0 || wait(ctx, d.options.Renew) != nil {
			return
		}
	}
}

// recallFrom is recall for some buckets. It returns those that could not be asked.
func (d *Driver) recallFrom(ctx context.Context, s *session, tags []string) (failed []string, err error) {
	commands := make([]rueidis.Completed, 0, 2*len(tags))
	for _, tag := range tags {
		commands = append(commands,
			s.client.B().Hkeys().Key(tag+"n:"+s.node).Build(),
			s.client.B().Hkeys().Key(tag+"b").Build())
	}
	ctx, cancel := d.timeout(ctx)
	defer cancel()
	results := s.doAll(ctx, commands...)
	others := make(map[string][]string) // tags of buckets, by node
	for i, tag := range tags {
		channels, err1 := results[2*i].AsStrSlice()
		fields, err2 := results[2*i+1].AsStrSlice()
		if err1 != nil || err2 != nil {
			failed = append(failed, tag)
			continue
		}
		for _, field := range fields {
			if id, ok := strings.CutPrefix(field, "r:"); ok && id != s.node {
				others[id] = append(others[id], tag)
			}
		}
		bucket, _ := d.keys.parse(tag)
		one := item{kind: shares}
		for _, c := range channels {
			one.shares = append(one.shares, cluster.Topic{App: bucket.App, Channel: c})
		}
		select {
		case d.queue <- one:
		case <-ctx.Done():
			return tags, ctx.Err()
		}
	}
	if err := d.claimUnknown(ctx, s, others); err != nil {
		return tags, err
	}
	return failed, nil
}

// claimUnknown has the shares taken away of those nodes that have neither a lease nor a
// claim, once all nodes have told what they have. Nodes begin a lease before a bucket
// knows them.
func (d *Driver) claimUnknown(ctx context.Context, s *session, nodes map[string][]string) error {
	for _, key := range []string{d.keys.leases(), d.keys.claims()} {
		known, err := s.do(ctx, s.client.B().Zrange().Key(key).Min("0").Max("-1").Build()).AsStrSlice()
		if err != nil {
			return err
		}
		for _, id := range known {
			delete(nodes, id)
		}
	}
	for id, tags := range nodes {
		if err := d.claim(ctx, s, id, tags); err != nil {
			return err
		}
	}
	return nil
}

// claim has what a node has in some buckets taken away, by whoever comes to it once all
// nodes have told what they have.
func (d *Driver) claim(ctx context.Context, s *session, id string, tags []string) error {
	ends, err := s.in(ctx, cluster.ToldAgain)
	if err != nil {
		return err
	}
	for _, r := range s.doAll(ctx,
		s.client.B().Sadd().Key(d.keys.bucketsOf(id)).Member(tags...).Build(),
		s.client.B().Zadd().Key(d.keys.claims()).ScoreMember().ScoreMember(ends, id).Build()) {
		if err := r.Error(); err != nil {
			return err
		}
	}
	return nil
}

// clock is whose time a tag goes by: there is one for all but in a Redis Cluster.
func (keys) clock(s *session, tag string) string {
	if s.cluster {
		return tag
	}
	return ""
}
