// Package protocol is the wire format of Pusher Channels, protocol versions 5
// to 7: bytes in, values out, and back. It starts no goroutine, holds no lock
// and reads no clock.
//
// # One connection
//
// A client opens ws://host/app/KEY?protocol=7 and the two sides exchange JSON
// text frames, each an object with a string "event":
//
//	server  pusher:connection_established          {socket_id, activity_timeout}
//	client  pusher:subscribe                       {channel, auth?, channel_data?}
//	server  pusher_internal:subscription_succeeded  or pusher:subscription_error
//	server  pusher_internal:member_added/_removed   on presence channels
//	server  pusher:cache_miss                       on cache channels without a last event
//	server  pusher_internal:subscription_count      how many subscribers a channel has
//	client  pusher:signin                           {auth, user_data}
//	server  pusher:signin_success                   or pusher:error
//	server  pusher_internal:watchlist_events        who of the user's watchlist came and went
//	client  client-anything                         relayed to the channel's other subscribers
//	client  pusher:unsubscribe                      no answer
//	client  pusher:recover                          {channels, socket_ids?}; see [Recover]
//	client  pusher:ping                             answered by pusher:pong
//	server  pusher:error                            {code, message}; see [Error]
//
// # data is a string
//
// "data" is always present, and always a JSON-encoded string, except in
// pusher:error where it is an object: the official Swift client reads it so
// and drops anything else, and the Java client throws when it is missing.
//
// # Frames
//
// Every server message is built once as a [Frame], a complete unmasked
// WebSocket text frame (RFC 6455 section 5.2). Server frames are not masked,
// so the same bytes serve every subscriber of a channel.
package protocol

// Event names of the protocol itself. Everything an application publishes has
// a name of its own.
const (
	EventConnectionEstablished = "pusher:connection_established"
	EventError                 = "pusher:error"
	EventPing                  = "pusher:ping"
	EventPong                  = "pusher:pong"
	EventSubscribe             = "pusher:subscribe"
	EventUnsubscribe           = "pusher:unsubscribe"
	EventSubscriptionError     = "pusher:subscription_error"
	EventCacheMiss             = "pusher:cache_miss"
	EventSignin                = "pusher:signin"
	EventSigninSuccess         = "pusher:signin_success"
	EventRecover               = "pusher:recover"

	EventSubscriptionSucceeded = "pusher_internal:subscription_succeeded"
	EventMemberAdded           = "pusher_internal:member_added"
	EventMemberRemoved         = "pusher_internal:member_removed"
	EventSubscriptionCount     = "pusher_internal:subscription_count"
	EventWatchlist             = "pusher_internal:watchlist_events"
)

// Prefixes that decide what an event name means.
const (
	PrefixClient   = "client-"          // sent by a client, relayed to the others
	PrefixReserved = "pusher:"          // protocol events
	PrefixInternal = "pusher_internal:" // protocol events only a server may send
)

// Oldest and newest protocol version that clients may ask for. Versions 1 to
// 3 are refused by Pusher too; no maintained client speaks 4.
const (
	MinVersion = 5
	MaxVersion = 7
)

// PrefixUser and a user id are the name of the channel on which the
// application reaches all connections of that signed-in user.
const PrefixUser = "#server-to-user-"

// MaxUserID is the longest user id of a presence member or of a signed-in
// user, in characters. Pusher documents 128.
const MaxUserID = 128

// MaxWatchlist is how many users one user may watch. Pusher documents 100.
const MaxWatchlist = 100
