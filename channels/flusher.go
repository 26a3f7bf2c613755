package channels

import "runtime"

// flusher serves shards of many channels in turn. A shard that has something
// pending is pushed once: shard.active sees to that.
type flusher struct{ fifo[*shard] }

func newFlusher() *flusher {
	f := new(flusher)
	f.init()
	return f
}

func (f *flusher) run() {
	var r round
	for s, ok := f.next(); ok; s, ok = f.next() {
		if s.flush(&r) {
			f.push(s)
			// A flusher spends its time in system calls that do not yield:
			// without this, the network poller starves under load.
			runtime.Gosched()
		}
	}
}
