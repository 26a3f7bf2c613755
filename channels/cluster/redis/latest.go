package redis

import (
	"sync"

	"belfry/channels/cluster"
)

// latest has the last change of each bucket that this node knows of. Each Update and Keep
// sends it, so that Redis notices when it has come back with older data: after a failover to a
// replica that was behind, or from a file.
type latest struct {
	mu    sync.Mutex // guards the following
	byTag map[string]cluster.Version
}

// of is the last change of a bucket, zero if none is known.
func (l *latest) of(tag string) cluster.Version {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byTag[tag]
}

// told notes a version that an Update or Keep was answered with.
func (l *latest) told(tag string, v cluster.Version) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := l.byTag[tag]; last.Epoch == v.Epoch && last.Number >= v.Number {
		return
	}
	if l.byTag == nil {
		l.byTag = make(map[string]cluster.Version)
	}
	l.byTag[tag] = v
}

// heard notes the version of a message. It begins no epoch, as it may be of one that is
// over.
func (l *latest) heard(tag string, v cluster.Version) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, ok := l.byTag[tag]; ok && last.Epoch == v.Epoch && last.Number < v.Number {
		l.byTag[tag] = v
	}
}
