package channels

import (
	"bytes"
	"encoding/json"
	"errors"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// controlName is the channel of what concerns the whole application, on which
// nobody can be.
const controlName = ""

// What is published between nodes begins with a letter.
const (
	payloadEvent     = 'e' // who must not receive it, a space, the message
	payloadTerminate = 't' // on a user's channel: its connections are to be closed; on the application's: those of the member that follows
	payloadOutbox    = 'o' // on the application's channel: the outbox of the bucket whose number follows has something
)

func eventPayload(f protocol.Frame, except protocol.SocketID) []byte {
	message := f.JSON()
	b := append(make([]byte, 0, len(message)+24), payloadEvent)
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
}

var errNoEvent = errors.New("payload is not an event")

func parseEvent(payload []byte) (relayed, error) {
	if len(payload) == 0 || payload[0] != payloadEvent {
		return relayed{}, errNoEvent
	}
	id, message, ok := bytes.Cut(payload[1:], []byte{' '})
	if !ok || len(message) == 0 || message[0] != '{' {
		return relayed{}, errNoEvent
	}
	e := relayed{json: message}
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

func (c *channel) publication(p pending) cluster.Publication {
	return cluster.Publication{Topic: c.topic(), Payload: eventPayload(p.frame, p.except)}
}

// publishToCluster publishes what is not kept, and then what is.
func (a *App) publishToCluster(events []Publication) error {
	var plain []cluster.Publication
	var kept []cluster.Kept
	ttl := a.limits.Load().CacheTTL
	for _, e := range events {
		p := cluster.Publication{Topic: cluster.Topic{App: a.id, Channel: e.Channel}, Payload: eventPayload(e.Event.Frame(), e.Except), Key: e.Key}
		if protocol.KindOf(e.Channel).IsCache() {
			kept = append(kept, cluster.Kept{Publication: p, Events: 1, For: ttl})
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
