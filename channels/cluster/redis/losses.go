package redis

import (
	"maps"
	"sync"

	"belfry/channels/cluster"
)

// losses are the topics of which messages, or what Redis has of shares, may be lost, and of
// which the receiver has not been told yet.
type losses struct {
	mu     sync.Mutex // guards the following
	all    bool       // all topics, whatever is in topics
	topics map[cluster.Topic]struct{}
	times  int // how often something was lost
}

func (l *losses) addAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = true
	l.times++
}

func (l *losses) add(topics []cluster.Topic) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.topics == nil {
		l.topics = make(map[cluster.Topic]struct{})
	}
	for _, t := range topics {
		l.topics[t] = struct{}{}
	}
	l.times++
}

// count is how often something was lost.
func (l *losses) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.times
}

// are reports whether all topics are lost, or some.
func (l *losses) are() (all, some bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all, len(l.topics) > 0
}

// due is what the receiver can be told now, nil for nothing. That all topics are lost, it is
// told when all are subscribed to again; of some, those that are not missing.
func (l *losses) due(subscribed bool, missing func() map[cluster.Topic]struct{}) func(cluster.Topic) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.all && subscribed:
		return func(cluster.Topic) bool { return true }
	case l.all || len(l.topics) == 0:
		return nil
	}
	found, left := maps.Clone(l.topics), missing()
	maps.DeleteFunc(found, func(t cluster.Topic, _ struct{}) bool {
		_, ok := left[t]
		return ok
	})
	if len(found) == 0 {
		return nil
	}
	return func(t cluster.Topic) bool {
		_, ok := found[t]
		return ok
	}
}

// remove takes out what the receiver has been told, as due returned it.
func (l *losses) remove(told func(cluster.Topic) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = false
	maps.DeleteFunc(l.topics, func(t cluster.Topic, _ struct{}) bool { return all || told(t) })
}
