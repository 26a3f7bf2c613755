package redis

import (
	"cmp"
	"errors"
	"net"
	"slices"
	"strconv"

	"github.com/redis/rueidis"
)

// slots are which servers of a Redis Cluster have which slots, in their order.
type slots []slotRange

// slotRange is from one slot to another, inclusive.
type slotRange struct {
	from, to uint16
	addr     string
}

// owner is the address of who has a slot, empty for nobody.
func (s slots) owner(slot uint16) string {
	for _, r := range s {
		if r.from <= slot && slot <= r.to {
			return r.addr
		}
	}
	return ""
}

// of are those of a server.
func (s slots) of(addr string) []slotRange {
	return slices.DeleteFunc(slices.Clone(s), func(r slotRange) bool { return r.addr != addr })
}

// loadSlots asks one of the servers.
func (d *Driver) loadSlots(s *session) error {
	ctx, cancel := d.timeout(d.ctx)
	defer cancel()
	type answer struct {
		list []rueidis.RedisMessage
		err  error
	}
	nodes := s.client.Nodes()
	answers := make(chan answer, len(nodes))
	for _, node := range nodes { // one of them may be away, or stand still
		d.running.Go(func() {
			list, err := node.Do(ctx, node.B().ClusterSlots().Build()).ToArray()
			answers <- answer{list, err}
		})
	}
	got := answer{err: errAnswer}
	for range nodes {
		if got = <-answers; got.err == nil {
			break
		}
	}
	if got.err != nil {
		return got.err
	}
	var loaded slots
	for _, entry := range got.list {
		fields, err := entry.ToArray() // from, to, server, replicas
		if err != nil || len(fields) < 3 {
			return errAnswer
		}
		server, err := fields[2].ToArray()
		if err != nil || len(server) < 2 {
			return errAnswer
		}
		from, err1 := fields[0].AsInt64()
		to, err2 := fields[1].AsInt64()
		host, _ := server[0].ToString() // null: the one that was asked
		port, err3 := server[1].AsInt64()
		if errors.Join(err1, err2, err3) != nil || from < 0 || from > to || to >= 1<<14 {
			return errAnswer
		}
		if host == "" {
			host, _, _ = net.SplitHostPort(d.client.InitAddress[0])
		}
		loaded = append(loaded, slotRange{uint16(from), uint16(to), net.JoinHostPort(host, strconv.FormatInt(port, 10))})
	}
	slices.SortFunc(loaded, func(a, b slotRange) int { return cmp.Compare(a.from, b.from) })
	s.slots.Store(&loaded)
	return nil
}
