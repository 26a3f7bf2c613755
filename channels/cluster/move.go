package cluster

import "context"

// Movable is a driver whose node can go on in another process, so that no other node
// notices anything: the node keeps its shares and the buckets that are lent to it. Both
// processes have a driver, of the same options but perhaps another version of the program:
//
//	process before                 process behind
//	Place: which node this is
//	                               Inherit, then Start: it is the node, too
//	                               Listen: to all topics that the node listens to
//	Cut                            AwaitCut
//	Close                          Resume
//
// The cut is one place in the order of each topic's messages. What comes ahead of it is
// the process before's, and the receiver behind does not get it. What comes behind it is
// the process behind's: neither receiver gets any of it, nor any other call, before its
// Resume. So each message of a topic that both listen to reaches one of them.
//
// Ahead of Resume, the process behind calls of the [Ledger] nothing, and of the [Bus]
// only Listen, Ignore and Reaches. From the call of Cut until Resume, the process before
// calls neither.
//
// Any step may fail, and the process behind may end at any time: then the process before
// calls Resume and goes on. Its receiver gets what it was kept from, or is told of a loss.
// The process behind is not to call Resume afterwards.
type Movable interface {
	Driver
	// Place says which node this is, for Inherit in a process behind. It may be called
	// again for another one; only the last one finds the cut.
	Place() ([]byte, error)
	// Inherit makes the driver one of the process behind. It comes ahead of Start. The
	// error is that the place is of another version, or of another cluster if that is
	// known by now; else Listen fails.
	Inherit(place []byte) error
	// Cut makes the cut, and returns when the receiver has got all that comes ahead of
	// it. Close does not end the node from here on. With an error, Resume is due.
	Cut(context.Context) error
	// AwaitCut returns when the cut was found in all that this driver listens to. The
	// error is that it may have missed some of what comes behind the cut.
	AwaitCut(context.Context) error
	// Resume has the receiver be called again: in the process behind for the first time,
	// which from then on is the node alone, and in the process before if that goes on.
	Resume()
}
