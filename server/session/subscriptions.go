package session

import (
	"iter"
	"maps"
	"slices"

	"belfry/channels"
)

// subscriptions are one connection's. Most have a handful, for which a list
// takes a tenth of a map's memory; those with many have a map instead.
type subscriptions struct {
	list   []*channels.Subscription
	byName map[string]*channels.Subscription // nil while the list serves
}

// shortList is how many subscriptions are looked through one by one.
const shortList = 16

func (s *subscriptions) len() int { return len(s.list) + len(s.byName) }

func (s *subscriptions) all() iter.Seq[*channels.Subscription] {
	if s.byName != nil {
		return maps.Values(s.byName)
	}
	return slices.Values(s.list)
}

func (s *subscriptions) find(channel string) *channels.Subscription {
	if s.byName != nil {
		return s.byName[channel]
	}
	for _, sub := range s.list {
		if sub.Channel() == channel {
			return sub
		}
	}
	return nil
}

func (s *subscriptions) add(sub *channels.Subscription) {
	if s.byName == nil && len(s.list) < shortList {
		s.list = append(s.list, sub)
		return
	}
	if s.byName == nil {
		s.byName = make(map[string]*channels.Subscription, 2*shortList)
		for _, each := range s.list {
			s.byName[each.Channel()] = each
		}
		s.list = nil
	}
	s.byName[sub.Channel()] = sub
}

// remove returns what it removed, nil for nothing.
func (s *subscriptions) remove(channel string) *channels.Subscription {
	sub := s.find(channel)
	if sub == nil {
		return nil
	}
	delete(s.byName, channel)
	if i := slices.Index(s.list, sub); i >= 0 {
		s.list = slices.Delete(s.list, i, i+1)
	}
	return sub
}
