package redis

import (
	"crypto/rand"
	"hash/fnv"
	"net/url"
	"strconv"
	"strings"

	"belfry/channels/cluster"
)

// buckets is into how many parts the channels of an application are divided.
const buckets = 64

// keys are the names of what is in Redis:
//
//	{prefix}leases          nodes by when their leases end
//	{prefix}claims          dead nodes by when the claim of who takes their shares away ends
//	{prefix}b:NODE          set of the buckets where the node may have shares
//	{prefix}p:NUMBER        a call to publish was done, or given up
//
// and with the tag of a bucket, {prefix:app/number}:
//
//	counts                  channel -> subscriptions: the occupied channels
//	users                   channel -> members
//	n:NODE                  set of channels of which the node has a share
//	d:NODE                  the node is dead
//	s:CHANNEL               node -> its count, and how it wants to be told
//	m:CHANNEL               user -> number of nodes, info
//	o:CHANNEL               users in the order they came
//	v:CHANNEL               version of the roster
//	l:CHANNEL, k:CHANNEL    last event, its version
//	t:CHANNEL               the count that was told, and when
//	g:CHANNEL               user, or empty for the channel -> until when its departure may be taken back
//	u:NODE:CHANNEL          set of the node's users
//	a:NODE:CHANNEL          what the node's last updates came to
//	p:NUMBER                as above
//
// The Pub/Sub channel of a topic is the tag and the topic's channel. As the
// numbers of databases do not keep these apart, a number other than 0 is a part
// of the prefix.
type keys struct{ prefix string }

func newKeys(prefix string, database int) keys {
	if database != 0 {
		prefix += "@" + strconv.Itoa(database)
	}
	return keys{prefix}
}

// whole is the tag of what concerns the cluster.
func (k keys) whole() string { return "{" + k.prefix + "}" }

func (k keys) leases() string             { return k.whole() + "leases" }
func (k keys) claims() string             { return k.whole() + "claims" }
func (k keys) bucketsOf(id string) string { return k.whole() + "b:" + id }

// tag is that of the topic's bucket.
func (k keys) tag(t cluster.Topic) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(strings.TrimPrefix(t.Channel, "@"))) // a channel and its watch topic are in one
	return k.bucket(t.App, int(h.Sum32()%buckets))
}

func (k keys) bucket(app string, number int) string {
	return "{" + k.prefix + ":" + url.QueryEscape(app) + "/" + strconv.Itoa(number) + "}"
}

// app is that of a bucket's tag.
func (k keys) app(tag string) (app string, ok bool) {
	inner, ok := strings.CutPrefix(tag, "{"+k.prefix+":")
	if !ok {
		return "", false
	}
	escaped, _, ok := strings.Cut(inner, "/")
	if !ok {
		return "", false
	}
	app, err := url.QueryUnescape(escaped)
	return app, err == nil
}

// name is the Pub/Sub channel of a topic.
func (k keys) name(t cluster.Topic) string { return k.tag(t) + t.Channel }

// newID returns what no other node has: 26 characters.
func newID() string { return rand.Text() }
