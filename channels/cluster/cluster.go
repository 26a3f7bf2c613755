// Package cluster is how channels span machines. A [Driver] connects one node
// with the others. It has two parts: the [Bus] carries what is published to the
// nodes that listen, and the [Ledger] keeps what all nodes together have of a
// channel.
//
// A node listens to just the channels that its own clients are subscribed to, and
// tells the ledger its share of each: how many subscriptions, and which members.
// A share says what is, not what changed.
//
// # What may be concurrent
//
// All methods of a driver may be called concurrently, with one exception: the node
// calls [Ledger.Update] of one topic, and [Ledger.Take] or [Ledger.Return] of one bucket, only when
// the call before has returned. The methods of a [Receiver] are called by one
// goroutine at a time.
//
// Reaches, Ready and Ignore return at once: they make no call to the cluster, and call no
// Receiver. The node calls them while it holds locks.
//
// # What an error means
//
// Every error but [ErrForgotten] wraps [ErrUnavailable]. If it wraps [ErrUnknown]
// too, the call may have had its effect; else it had none. An Update has returned
// when it can have no effect any more, so it may be repeated until it succeeds; a
// message may still be sent later. A driver that knows the cluster to be away
// returns an error at once, and sends nothing.
//
// # Versions, loads and messages
//
// Changes of a channel's members and its kept events have a [Version] each. The
// number grows with each change, though not by one. The epoch is a new one when the
// ledger has lost its data, or, at the first Update of a node that knows newer data, when
// it has come back with older: versions of two epochs do not compare.
//
// Whoever listens to a topic, loads a [Snapshot] afterwards, and then applies the
// messages of the snapshot's epoch with a higher number in their order, has what
// the ledger has. Each message says which number the change before it had, so
// that a message that is missing shows. A message may arrive ahead of the answer
// that brings a snapshot in which it is, and behind it.
//
// # What else a driver promises
//
//   - Messages of one topic reach all listeners in one order, none twice.
//   - Of a node that has died, the others take away the share within
//     [DeadAfter], as if it had said that it has nothing.
//   - After the ledger has lost its data, the driver calls [Receiver.Restored] so soon
//     that each node which reaches the cluster can tell its shares within
//     [ToldAgain]. Until ToldAgain after the loss, the ledger keeps each arrival and
//     departure waiting, because another node may have the same channel or user and
//     not have told so yet. Whoever turns out to have been there all along makes no
//     transition. What a node tells later arrives anew. Transitions that lay in the
//     outbox are lost.
//   - Nothing is promised of messages that were published while the connection
//     was lost. [Receiver.Restored] says that it was.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"belfry/protocol"
)

const (
	// DeadAfter is how long after its death the share of a node is gone at the
	// latest.
	DeadAfter = 15 * time.Second
	// ToldAgain is how long after a loss of the ledger's data the nodes have told
	// their shares once more.
	ToldAgain = 5 * time.Second
	// OnceFor is for how long the key of a publication is remembered.
	OnceFor = 5 * time.Minute
	// NumberFor is for how long after the last event in a channel's history the ledger
	// remembers its number.
	NumberFor = 24 * time.Hour
)

var (
	// ErrUnavailable is the error of everything that the cluster cannot do now.
	ErrUnavailable = errors.New("cluster is not reachable")
	// ErrUnknown is the error of a call whose answer was lost, or of which only a part
	// was done: it may have had its effect.
	ErrUnknown = fmt.Errorf("%w: it is not known whether it was done", ErrUnavailable)
	// ErrForgotten is Update's error when the ledger has lost its data since the
	// share's epoch: nothing was done, and the whole share is to be told.
	ErrForgotten = errors.New("the ledger has lost what it knew")
)

// PartialError is the error of a call with several publications of which some were
// published. It wraps [ErrUnknown], as a part of the call was done.
type PartialError struct {
	Each []error // by publication; nil for one that was published
}

func (e *PartialError) Error() string {
	failed := e.failed()
	return fmt.Sprintf("%d of %d publications failed: %v", len(failed), len(e.Each), failed[0])
}

// Unwrap returns all errors, and [ErrUnknown].
func (e *PartialError) Unwrap() []error {
	return append(e.failed(), ErrUnknown)
}

func (e *PartialError) failed() []error {
	return slices.DeleteFunc(slices.Clone(e.Each), func(err error) bool { return err == nil })
}

// Topic is a channel of an application, or, with an empty Channel, what
// concerns the whole application.
type Topic struct{ App, Channel string }

// Watch is the topic on which a channel's occupancy is told.
func (t Topic) Watch() Topic { return Topic{t.App, "@" + t.Channel} }

// Driver connects a node with the others. Methods with a context return when it
// ends.
type Driver interface {
	Bus
	Ledger
	// Start connects in the background, as often as it takes, and delivers to r
	// until Close.
	Start(r Receiver)
	// Close says that this node has nothing any more, and disconnects.
	Close()
	// Ready is nil while the cluster can be reached, if not in all its parts.
	Ready() error
}

// Bus carries messages to those who listen.
type Bus interface {
	// Listen makes messages reach this node: all that are published once it has
	// returned.
	Listen(context.Context, Topic) error
	// Ignore ends that.
	Ignore(Topic)
	// Reaches is nil unless a topic is known to be in a part of the cluster that
	// cannot be reached.
	Reaches(Topic) error
	// Publish sends messages to all nodes that listen to their topics, this
	// node too if it does. If some were sent and others not, the error is a
	// [PartialError].
	Publish(context.Context, ...Publication) error
}

// Publication is a message to be sent.
type Publication struct {
	Topic   Topic
	Payload []byte
	// Key, if it is not empty, has the publication done once: nothing is done, without an
	// error, if one of the same topic with the same key was done within [OnceFor], on
	// whichever node. One that has failed, or may have, can be repeated so.
	Key string
}

// Ledger keeps what all nodes together have.
type Ledger interface {
	// Update says what this node has of a channel from now on. It is done as a
	// whole or not at all, and sends the messages that follow from it.
	Update(context.Context, Topic, Share) (Outcome, error)
	// Keep is Publish for messages that are kept: each is one step with its
	// sending.
	Keep(context.Context, ...Kept) error
	// Take returns the oldest transitions of a bucket, and lends the bucket to this
	// node: no other one is given any of its transitions until this one has
	// acknowledged all that there are, or has died or closed. It first removes
	// those that were taken with the receipt, which has to be that of the last Take; another
	// or an empty one removes none. Of a node that was taken for dead, others
	// deliver once more what it has not acknowledged before.
	Take(ctx context.Context, b Bucket, receipt string) (Taken, error)
	// Return removes the transitions that were taken with the receipt, as Take does, and
	// ends the lending of the bucket to this node. It does nothing to one that is lent to
	// another node.
	Return(ctx context.Context, b Bucket, receipt string) error

	// History returns what there is of a channel's history: as many of the last events at
	// most, none of them older than age.
	History(ctx context.Context, t Topic, events int, age time.Duration) (History, error)
	// State of one channel, zero for one that nobody is subscribed to.
	State(context.Context, Topic) (State, error)
	// States are those of all occupied channels of an application whose name
	// has the prefix, by name, without their last events.
	States(ctx context.Context, app, prefix string) (map[string]State, error)
	// Users are the ids of the members of a presence channel, in the order they
	// came.
	Users(context.Context, Topic) ([]string, error)
	// Occupied says of each channel of an application whether anybody is
	// subscribed to it.
	Occupied(ctx context.Context, app string, channels []string) ([]bool, error)

	// Introduce has Nodes return about for this node, on all nodes, for so long or until the
	// node dies.
	Introduce(ctx context.Context, about string, long time.Duration) error
	// Nodes returns the live nodes, this one among them, in the order of their ids.
	Nodes(context.Context) ([]Node, error)
}

// Node is a live node.
type Node struct {
	ID    string
	Self  bool
	About string // see [Ledger.Introduce]; empty if it has said nothing
}

// Share is what a node has of a channel.
type Share struct {
	Count int // subscriptions; 0: nothing, and no members either
	// Epoch is that of the node's last confirmed Update of the channel; empty if
	// there was none.
	Epoch string
	// Whole says that Join are all users of this node. Else, Join and Leave are
	// those that have come and gone since the last confirmed Update, in which the
	// count was Before.
	Whole  bool
	Before int
	// A user keeps the info of the node where it came first.
	Join  []protocol.Member
	Leave []string
	// Known is how many of Join, counted from the first, the ledger had confirmed
	// in Epoch. With Whole, Leave are the users that it had confirmed there and
	// that have left since, and Before is the count that it had confirmed. If the
	// ledger is in another epoch that began less than [ToldAgain] ago, the known
	// make no transition; if it began earlier, they arrive anew.
	Known int
	// MaxMembers is how many the whole cluster may have; 0: any number. It does
	// not concern the known.
	MaxMembers int
	// TellCount has the listeners told the subscription count of the whole
	// cluster when it has changed: a [Count] message.
	TellCount bool
	// Watched has the nodes that listen to [Topic.Watch] told there when the
	// channel becomes occupied or vacant: an [Occupancy] message.
	Watched bool
	// Record has transitions put into the outbox of the channel's bucket, of the
	// count only with TellCount too. A Vacated or Removed waits there for Grace,
	// and is gone if the channel or the member comes back meanwhile, which is
	// then no transition either.
	Record bool
	Grace  time.Duration
	// Load asks for a snapshot.
	Load bool
	// Since, with Load, has the snapshot contain the events of the history after this version.
	// Zero: none of them.
	Since Version
	// Remember, with Load, is for how long, at least, the ledger remembers the number of the
	// newest event in the history or, before the first one, an upper bound that is not above
	// the outcome's number. 0: the channel has no history.
	Remember time.Duration
}

// Version is a state of a channel's members and kept events. It is zero before the
// first.
type Version struct {
	Epoch  string
	Number uint64
}

// Outcome is what an Update came to for the whole cluster.
type Outcome struct {
	Version  Version  // with this change
	Count    int      // subscriptions on all nodes
	Full     []string // users of Join that found no place, and are not members
	Snapshot *Snapshot
	Hint     *Hint // nil: the Update has put nothing into the outbox. It may come with [ErrUnknown] too
	Lost     int   // transitions for which the outbox had no room
}

// Snapshot is what the ledger has of a channel at the outcome's Version.
type Snapshot struct {
	Members []protocol.Member // in the order they came
	Last    *Event            // nil if there is none
	Events  []Event           // the history after Since, if that is of the same epoch; oldest first
	// After is the number of the event before Events, or an upper bound below the first of
	// them; without Events, that of the newest event, or an upper bound.
	After uint64
}

// History is what the ledger has of a channel's history.
type History struct {
	// Version is zero if the ledger has nothing. No event of the channel has a higher
	// number.
	Version Version
	Events  []Event // oldest first
	// After is the number of the event before these, whether it is still kept or not. If
	// the ledger does not know it, After is a higher number, below that of the first of
	// these.
	After uint64
	Now   time.Time // by the ledger's clock
}

// Event is a kept message.
type Event struct {
	Payload []byte
	Number  uint64
	TTL     time.Duration
	At      time.Time // when it was kept, by the ledger's clock
}

// Kept is a publication that the channel keeps: as its last event, in its history, or as
// both.
type Kept struct {
	Publication
	Last   time.Duration // how long it is the last event, unless another takes its place; 0: it is not
	Events int           // how many events the history keeps, this one included; 0: not even this one
	For    time.Duration // how long the history keeps this one
}

// Bucket is a part of an application's channels, which share an outbox.
type Bucket struct {
	App    string
	Number int
}

// Hint says that a bucket's outbox will have something to take.
type Hint struct {
	Bucket Bucket
	In     time.Duration
}

// Taken is what an outbox has.
type Taken struct {
	// Transitions are the oldest: those of one channel in their order.
	Transitions []Transition
	Receipt     string
	// Lent says that there are none because another node has been lent the bucket.
	Lent bool
	// Next is in which time the next one is final, if there are none; negative if
	// nothing is known of any.
	Next time.Duration
}

// Transition is what has happened to a channel, and is final.
type Transition struct {
	Kind    TransitionKind
	Channel string
	UserID  string // of Added and Removed
	Count   int    // of Counted
}

// TransitionKind is what has happened.
type TransitionKind byte

// The kinds of transitions.
const (
	Occupied TransitionKind = 'o'
	Vacated  TransitionKind = 'v'
	Added    TransitionKind = '+'
	Removed  TransitionKind = '-'
	Counted  TransitionKind = 'c'
)

// State is what the whole cluster has of a channel.
type State struct {
	Count int // subscriptions
	Users int // distinct, on presence channels
	Last  *Event
}

// Kind is what a message is about.
type Kind uint8

// The kinds of messages.
const (
	Published Kind = iota // Payload; with a Version and After if it is kept
	Members               // Left, then Joined, with a Version and After
	Count                 // Count
	Occupancy             // Occupied
)

// Message is what a node receives.
type Message struct {
	Topic   Topic
	Kind    Kind
	Version Version // zero if the message changes nothing that is kept
	After   uint64  // the number before
	Payload []byte  // not to be changed
	Left    []string
	Joined  []protocol.Member
	Count   int
	// Occupied is of the topic whose Watch the message's topic is.
	Occupied bool
}

// Receiver is a node. Its methods are called by one goroutine at a time.
type Receiver interface {
	// Receive takes the next message. It may wait, which holds back what comes
	// after.
	Receive(Message)
	// Restored says that messages were lost, with a connection or for another
	// reason, or that the ledger has lost its data, and that the cluster can be
	// reached again. Of the topics for which lost reports true, messages are missing
	// and what was told by Update may be. Listening goes on.
	Restored(lost func(Topic) bool)
	// Shares says of which topics the ledger has a share of this node after a connection
	// was lost: it may have come back with older data. Where the node has nothing any
	// more, it is to say so.
	Shares([]Topic)
	// Due says that the outbox of a bucket may have something that no node knows
	// of, as one has died.
	Due(Hint)
}

// Info makes a message's user_info of text that may be empty.
func Info(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}
