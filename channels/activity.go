package channels

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
)

// window is the time over which events are counted.
const window = 10 * time.Second

// activity is what has been published on a channel lately, for an operator to see.
// Events of the protocol itself do not count. The channel's lock guards it.
type activity struct {
	last   time.Duration // when the last event was, since the broker was made; 0 for none
	events uint32        // within the window that has last
	before uint32        // within the window before that one
	name   string        // of the last event; on a node of a cluster as it is in JSON, without the quotes
}

// note counts an event. mu is held.
func (c *channel) note(name string, at time.Time) {
	c.activity.count(at.Sub(c.app.broker.began))
	if c.activity.name != name {
		c.activity.name = strings.Clone(name) // not a part of a request's body
	}
}

// noteRelayed is note for an event of the cluster. mu is held.
func (c *channel) noteRelayed(e relayed, at time.Time) {
	c.activity.count(at.Sub(c.app.broker.began))
	if name := e.name(); c.activity.name != string(name) {
		c.activity.name = string(name)
	}
}

func (a *activity) count(at time.Duration) {
	at = max(at, a.last) // publishers look at the clock before they have the lock
	switch at/window - a.last/window {
	case 0:
	case 1:
		a.before, a.events = a.events, 0
	default:
		a.before, a.events = 0, 0
	}
	a.events++
	a.last = at
}

// rate is about how many events a second there were in the last window's time: those of a
// window that is partly over count for the rest of it.
func (a *activity) rate(now time.Duration) float64 {
	now = max(now, a.last)
	left := 1 - float64(now%window)/float64(window)
	var events float64
	switch now/window - a.last/window {
	case 0:
		events = float64(a.events) + float64(a.before)*left
	case 1:
		events = float64(a.events) * left
	}
	return events / window.Seconds()
}

const beforeName = `{"event":"`

// name is that of the event as it is in JSON, without the quotes; empty if the message
// is not of our own encoding.
func (e relayed) name() []byte {
	rest, ok := bytes.CutPrefix(e.json, []byte(beforeName))
	if !ok {
		return nil
	}
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case '"':
			return rest[:i]
		}
	}
	return nil
}

// unquoted is the text that is so in JSON.
func unquoted(raw string) string {
	if !strings.Contains(raw, `\`) {
		return raw
	}
	var text string
	if json.Unmarshal([]byte(`"`+raw+`"`), &text) != nil {
		return raw
	}
	return text
}
