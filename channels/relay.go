package channels

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// controlName is the channel of what concerns the whole application, on which
// nobody can be.
const controlName = ""

// What is published between nodes begins with a letter.
const (
	payloadEvent     = 'e' // who must not receive it, a space, the message
	payloadClient    = 'c' // likewise, of a client: it is never a channel's last event
	payloadTerminate = 't' // on a user's channel: its connections are to be closed; on the application's: those of the member that follows
	payloadOutbox    = 'o' // on the application's channel: the outbox of the bucket whose number follows has something
)

func eventPayload(kind byte, f protocol.Frame, except protocol.SocketID) []byte {
	message := f.JSON()
	b := append(make([]byte, 0, len(message)+24), kind)
	if except != (protocol.SocketID{}) {
		b = append(b, except.String()...)
	}
	b = append(b, ' ')
	return append(b, message...)
}

// relayed is what another node has published.
type relayed struct {
	except protocol.SocketID
	json   []byte
	client bool
}

var errNoEvent = errors.New("payload is not an event")

func parseEvent(payload []byte) (relayed, error) {
	if len(payload) == 0 || payload[0] != payloadEvent && payload[0] != payloadClient {
		return relayed{}, errNoEvent
	}
	id, message, ok := bytes.Cut(payload[1:], []byte{' '})
	if !ok || len(message) < 3 || message[0] != '{' || message[len(message)-1] != '}' {
		return relayed{}, errNoEvent
	}
	e := relayed{json: message, client: payload[0] == payloadClient}
	if len(id) > 0 {
		if e.except, ok = protocol.ParseSocketID(string(id)); !ok {
			return relayed{}, errNoEvent
		}
	}
	return e, nil
}

// data is the JSON text of the event's data.
func (e relayed) data() []byte {
	var m struct {
		Data json.RawMessage `json:"data"`
	}
	if json.Unmarshal(e.json, &m) != nil {
		return nil
	}
	return m.Data
}

// clientEvent is the publication of a client's event. It is kept if the channel has a
// history.
func (c *channel) clientEvent(p pending) cluster.Kept {
	r := c.app.retention(c.name)
	return cluster.Kept{
		Publication: cluster.Publication{Topic: c.topic(), Payload: eventPayload(payloadClient, p.frame, p.except)},
		Events:      r.Events,
		For:         r.Age,
	}
}

// frame is that of an event from the cluster, with its serial if the channel has a history.
// The version is zero if the event is not kept.
func (c *channel) frame(e relayed, v cluster.Version) protocol.Frame {
	if v.Epoch == "" || c.app.retention(c.name).Events == 0 {
		return protocol.TextFrame(e.json)
	}
	return protocol.SerialFrame(e.json, protocol.Serial(v))
}

// publishToCluster publishes events for all nodes.
func (a *App) publishToCluster(events []Publication) error {
	start := time.Now()
	if err := a.relay(events); err != nil {
		return err
	}
	for i := range events {
		a.followPublication(&events[i], start).relay()
	}
	return nil
}

// relay publishes what is not kept, and then what is.
func (a *App) relay(events []Publication) error {
	var plain []cluster.Publication
	var kept []cluster.Kept
	limits := a.limits.Load()
	for _, e := range events {
		p := cluster.Publication{Topic: cluster.Topic{App: a.id, Channel: e.Channel}, Payload: e.payload(), Key: e.Key}
		r := limits.retention(e.Channel)
		k := cluster.Kept{Publication: p, Events: r.Events, For: r.Age}
		if e.cached() {
			k.Last = limits.CacheTTL
		}
		if k.Last > 0 || k.Events > 0 {
			kept = append(kept, k)
		} else {
			plain = append(plain, p)
		}
	}
	ctx, cancel := a.broker.within(publishTimeout)
	defer cancel()
	if len(plain) > 0 {
		if err := a.broker.driver.Publish(ctx, plain...); err != nil || len(kept) == 0 {
			return err
		}
	}
	err := a.broker.driver.Keep(ctx, kept...)
	if err != nil && len(plain) > 0 && !errors.Is(err, cluster.ErrUnknown) {
		return errors.Join(cluster.ErrUnknown, err) // a part of the call was done
	}
	return err
}
