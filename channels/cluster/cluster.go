// Package cluster is how channels span machines. A [Driver] connects one node
// with the others: it carries what is published to the nodes that listen, and
// keeps what all nodes together have of a channel.
//
// A node listens to just the channels that its own clients are subscribed to.
// It tells the driver its share of each: how many subscriptions, and which
// members. What follows from a change of a share for the whole cluster (the
// channel is occupied now, the member is new) is decided in one place and told
// to the node that made the change, and to nobody else: so webhooks are sent
// once.
//
// # What a driver promises
//
//   - Messages of one topic reach all listeners in one order, none twice.
//   - A call that returns an error has had no effect, and will have none later,
//     except Update, which may be repeated until it succeeds: it says what is,
//     not what changed.
//   - Of a node that has died, the others take away the share within
//     [DeadAfter], as if it had said that it has nothing.
//   - Nothing is promised of messages that were published while the connection
//     was lost. [Receiver.Restored] says that it was.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"belfry/protocol"
)

// DeadAfter is how long after its death the share of a node is gone at the
// latest.
const DeadAfter = 15 * time.Second

// ErrUnavailable is the error of everything that the cluster cannot do now.
// Errors of a driver wrap it.
var ErrUnavailable = errors.New("cluster is not reachable")

// Topic is a channel of an application, or, with an empty Channel, what
// concerns the whole application.
type Topic struct{ App, Channel string }

// Driver connects a node with the others. All methods may be called
// concurrently. Those with a context return when it ends.
type Driver interface {
	// Start connects in the background, as often as it takes, and delivers to r
	// until Close.
	Start(r Receiver)
	// Close says that this node has nothing any more, and disconnects.
	Close()
	// Ready is nil while the cluster can be reached.
	Ready() error

	// Listen makes messages reach this node: all that are published once it has
	// returned.
	Listen(context.Context, Topic) error
	// Ignore ends that.
	Ignore(Topic)
	// Publish sends messages to all nodes that listen to their topics, this
	// node too if it does.
	Publish(context.Context, ...Publication) error
	// Update says what this node has of a channel from now on.
	Update(context.Context, Topic, Share) (Outcome, error)
	// Settle says of each departure whether nobody has come back since, and
	// makes it final. It is asked once the Grace is over, by the node that was
	// told of the departure.
	Settle(context.Context, ...Departure) ([]bool, error)

	// State of one channel, zero for one that nobody is subscribed to.
	State(context.Context, Topic) (State, error)
	// States are those of all occupied channels of an application whose name
	// has the prefix, by name, without their last events.
	States(ctx context.Context, app, prefix string) (map[string]State, error)
	// Users are the ids of the members of a presence channel.
	Users(context.Context, Topic) ([]string, error)
	// Occupied says of each channel of an application whether anybody is
	// subscribed to it.
	Occupied(ctx context.Context, app string, channels []string) ([]bool, error)
}

// Publication is a message to be sent.
type Publication struct {
	Topic   Topic
	Payload []byte
	// Keep is how long the message is the channel's last event: 0 for not at
	// all.
	Keep time.Duration
}

// Share is what a node has of a channel.
type Share struct {
	Count int // subscriptions; 0: nothing, and no members either
	// Join and Leave are the users that have come to this node, and gone from
	// it, since its last Update. With Reset, Join are all there are. A user
	// keeps the info of the node where it came first.
	Join  []protocol.Member
	Leave []string
	Reset bool
	// MaxMembers is how many the whole cluster may have; 0: any number.
	MaxMembers int
	// TellCount has the subscription count of the whole cluster sent to the
	// listeners when it has changed, as [Count] has it.
	TellCount bool
	// Watched has the nodes that listen to [Topic.Watch] told there when the
	// channel becomes occupied or vacant, this one too: an [Occupancy] message.
	Watched bool
	// Grace is how long a departure may be taken back: a channel that is
	// occupied again within it is not Occupied, a member that is back not Added,
	// and [Driver.Settle] says of the departure that it has not lasted. 0: not
	// at all.
	Grace time.Duration
	// Load asks for Roster and Last of the outcome.
	Load bool
}

// Departure is a Vacated or Removed that an Update or a Departed with a Grace
// has told.
type Departure struct {
	Topic  Topic
	UserID string // empty: of the channel
}

// SettleWithin is how long after its Grace a departure can be settled. Later,
// it counts as taken back.
const SettleWithin = time.Minute

// Watch is the topic on which a channel's occupancy is told.
func (t Topic) Watch() Topic { return Topic{t.App, "@" + t.Channel} }

// How often the subscription count is told: with each change up to
// CountedAlways subscriptions, at most once in CountInterval above. Pusher's
// figures.
const (
	CountedAlways = 100
	CountInterval = 5 * time.Second
)

// Outcome is what an Update came to for the whole cluster.
type Outcome struct {
	Count             int // subscriptions on all nodes
	Occupied, Vacated bool
	Added, Removed    []string // users
	Full              []string // users of Join that found no place, and are not members
	CountTold         bool     // the count has changed, and was told
	CountLater        bool     // it has changed, and is to be told by an Update a CountInterval later

	Version uint64 // of the roster, with this change
	Roster  []protocol.Member
	Last    Last
}

// Last is a cache channel's last event.
type Last struct {
	Payload []byte // nil for none
	Version uint64 // counts the kept messages of a channel; 0 when it had none, or none for long
	TTL     time.Duration
}

// State is what the whole cluster has of a channel.
type State struct {
	Count int // subscriptions
	Users int // distinct, on presence channels
	Last  Last
}

// Kind is what a message is about.
type Kind uint8

// The kinds.
const (
	Published     Kind = iota // Payload, and Version if it was kept
	MemberAdded               // Member, Version
	MemberRemoved             // Member.UserID, Version
	Count                     // Count
	Occupancy                 // Occupied
)

// Message is what a node receives.
type Message struct {
	Topic   Topic
	Kind    Kind
	Payload []byte // not to be changed
	Member  protocol.Member
	// Version of the roster after the change, each one more than the one
	// before; or of the kept message.
	Version  uint64
	Count    int
	Occupied bool
}

// Receiver is a node. Its methods are called by one goroutine at a time.
type Receiver interface {
	// Receive takes the next message. It may wait, which holds back what comes
	// after.
	Receive(Message)
	// Restored says that the connection was lost and is there again: messages
	// are missing, and what was told by Update may be. Listening goes on.
	Restored()
	// Departed says what it came to that this node took away the share of one
	// that has died.
	Departed(Topic, Outcome)
}

// Info makes a message's user_info of text that may be empty.
func Info(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}
