package load

import (
	"strconv"
	"time"
)

// Topic is what is published to one channel. It belongs to the loop of the
// publishers that send it.
type Topic struct {
	// Sent is how many events there were, Sum the sum of their numbers.
	Sent, Sum uint64

	app   App
	host  string
	stamp int // where in body it begins
	body  []byte
	out   []byte // the last request
}

// NewTopic prepares events with so many bytes of data, at least 30.
func NewTopic(app App, host, channel string, size int) *Topic {
	t := &Topic{app: app, host: host}
	t.body = append(t.body, `{"name":"`+event+`","channels":["`+channel+`"],"data":"`...)
	t.stamp = len(t.body)
	t.body = append(t.body, data(size)...)
	t.body = append(t.body, `"}`...)
	return t
}

// Next is the request that publishes the next event, stamped with the time
// given. It is valid until the next call.
func (t *Topic) Next(at time.Duration) []byte {
	t.Sent++
	t.Sum += t.Sent
	appendStamp(t.body[:t.stamp], t.Sent, at)
	t.out = appendTrigger(t.out[:0], t.app, t.host, t.body)
	return t.out
}

// Reset begins again with the first event.
func (t *Topic) Reset() { t.Sent, t.Sum = 0, 0 }

// Trigger is a request that can be sent again and again, for some minutes: the
// time in its signature is when it was made.
func Trigger(app App, host, channel string, size int) []byte {
	return NewTopic(app, host, channel, size).Next(0)
}

// appendTrigger appends a signed POST of /apps/{id}/events.
func appendTrigger(b []byte, app App, host string, body []byte) []byte {
	path := "/apps/" + app.ID + "/events"
	query := app.SignRequest("POST", path, nil, body, time.Now())
	b = append(b, "POST "+path+"?"+query.Encode()+" HTTP/1.1\r\nHost: "+host+
		"\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, endOfHead...)
	return append(b, body...)
}
