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
//	{prefix}born            since when there are data, in µs
//	{prefix}b:NODE          set of the buckets where the node may have shares
//	{prefix}a:NODE          what the node says of itself
//	{prefix}s:NAME          a value of a [Store], or a lock: who has it
//
// and with the tag of a bucket, {prefix:app/number}:
//
//	b                       epoch: of the bucket's data, new when they were lost
//	                        born: when the epoch began, in s
//	                        number: of the last change of any channel
//	                        dead: nodes that are, and since when
//	                        r:NODE: the node may have shares here, and others will
//	                        take them away when it dies
//	                        owner: the node to which the outbox is lent
//	                        position: how many transitions were acknowledged
//	                        receipt: name of the one that was given last
//	                        c:CHANNEL: subscriptions, members, number of the last
//	                        change; of the occupied channels
//	n:NODE                  channel -> the node's count, and how it wants to be told
//	u:NODE:CHANNEL          set of the node's users
//	m:CHANNEL               user -> number of nodes, two numbers for the order, info
//	l:CHANNEL               the last event: number, end, when it was kept, number of the
//	                        event before, payload; times are in ms
//	h:CHANNEL               list of the events in the history, likewise
//	e:CHANNEL               number of the last event in the history
//	k:N:CHANNEL:KEY         a publication with that key was done; N is the length of
//	                        CHANNEL
//	q                       list of the transitions that are final
//	w                       those that are not, by when they will be
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
func (k keys) born() string               { return k.whole() + "born" }
func (k keys) bucketsOf(id string) string { return k.whole() + "b:" + id }
func (k keys) about(id string) string     { return k.whole() + "a:" + id }
func (k keys) stored(name string) string  { return k.whole() + "s:" + name }

// tag is that of the topic's bucket.
func (k keys) tag(t cluster.Topic) string {
	b := k.bucketOf(t)
	return k.bucket(b.App, b.Number)
}

// bucketOf is the topic's bucket.
func (k keys) bucketOf(t cluster.Topic) cluster.Bucket {
	h := fnv.New32a()
	_, _ = h.Write([]byte(strings.TrimPrefix(t.Channel, "@"))) // a channel and its watch topic are in one
	return cluster.Bucket{App: t.App, Number: int(h.Sum32() % buckets)}
}

func (k keys) bucket(app string, number int) string {
	return "{" + k.prefix + ":" + url.QueryEscape(app) + "/" + strconv.Itoa(number) + "}"
}

// parse is the reverse of bucket.
func (k keys) parse(tag string) (b cluster.Bucket, ok bool) {
	inner, ok := strings.CutPrefix(strings.TrimSuffix(tag, "}"), "{"+k.prefix+":")
	if !ok {
		return b, false
	}
	escaped, number, ok := strings.Cut(inner, "/")
	if !ok {
		return b, false
	}
	app, err1 := url.QueryUnescape(escaped)
	n, err2 := strconv.Atoi(number)
	return cluster.Bucket{App: app, Number: n}, err1 == nil && err2 == nil
}

// once is where a publication with a key is noted.
func (k keys) once(p cluster.Publication) string {
	return k.tag(p.Topic) + "k:" + strconv.Itoa(len(p.Topic.Channel)) + ":" + p.Topic.Channel + ":" + p.Key
}

// name is the Pub/Sub channel of a topic.
func (k keys) name(t cluster.Topic) string { return k.tag(t) + t.Channel }

// newID returns what no other node has: 26 characters.
func newID() string { return rand.Text() }
