package api

import (
	"encoding/json"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/apps"
)

// done is the answer to what was done and has nothing to tell.
var done = json.RawMessage("{}")

// attributes are what info asks of one channel.
type attributes map[string]int

// publish is POST events.
func publish(r request) (any, error) {
	p, err := protocol.ParsePublish(r.body, r.key, r.app.Settings().PublishLimits())
	if err != nil {
		return nil, err
	}
	if p.Info == (protocol.Info{}) {
		return done, publishAll(r, p)
	}
	answer := make(map[string]attributes, len(p.Channels))
	for _, name := range p.Channels {
		if answer[name], err = describe(r.app, name, p.Info); err != nil {
			return nil, err // before anything is published: the backend may try again
		}
	}
	return map[string]any{"channels": answer}, publishAll(r, p)
}

// publishBatch is POST batch_events: all of it, or nothing.
func publishBatch(r request) (any, error) {
	batch, err := protocol.ParseBatch(r.body, r.key, r.app.Settings().PublishLimits())
	if err != nil {
		return nil, err
	}
	infos := make([]attributes, len(batch))
	asked := false
	for i, p := range batch {
		infos[i] = attributes{}
		if p.Info != (protocol.Info{}) {
			asked = true
			if infos[i], err = describe(r.app, p.Channels[0], p.Info); err != nil {
				return nil, err
			}
		}
	}
	if !asked {
		return done, publishAll(r, batch...)
	}
	return map[string]any{"batch": infos}, publishAll(r, batch...)
}

func publishAll(r request, ps ...protocol.Publication) error {
	var few [4]channels.Publication // mostly it is one
	events := few[:0]
	for _, p := range ps {
		for _, channel := range p.Channels {
			events = append(events, channels.Publication{
				Event:  protocol.Event{Name: p.Name, Channel: channel, Data: p.Data},
				Except: p.Except,
				Key:    p.Key,
			})
		}
	}
	if err := r.publish(events); err != nil {
		return err
	}
	r.app.Metrics.Published(len(events))
	r.logTraced(ps)
	return nil
}

// publish waits while channels have too much pending, or has the answer wait.
func (r request) publish(events []channels.Publication) error {
	if r.later == nil {
		return r.app.Channels.Publish(events...)
	}
	full, err := r.app.Channels.Offer(events...)
	for _, room := range full {
		r.later.Await(room)
	}
	return err
}

// describe answers info for one channel: subscriptions are counted on every
// channel, users on presence channels.
func describe(app *apps.App, channel string, info protocol.Info) (attributes, error) {
	a := attributes{}
	users := info.UserCount && protocol.KindOf(channel).IsPresence()
	if !users && !info.SubscriptionCount {
		return a, nil
	}
	state, err := app.Channels.State(channel)
	if err != nil {
		return nil, err
	}
	if users {
		a["user_count"] = state.Users
	}
	if info.SubscriptionCount {
		a["subscription_count"] = state.Subscriptions
	}
	return a, nil
}
