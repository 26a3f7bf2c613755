package api

import (
	"encoding/json"

	"belfry/protocol"
	"belfry/server/apps"
)

// done is the answer to what was done and has nothing to tell.
var done = json.RawMessage("{}")

// attributes are what info asks of one channel.
type attributes map[string]int

// publish is POST events.
func publish(r request) (any, error) {
	p, err := protocol.ParsePublish(r.body, r.app.Settings().PublishLimits())
	if err != nil {
		return nil, err
	}
	deliver(r.app, p)
	if p.Info == (protocol.Info{}) {
		return done, nil
	}
	channels := make(map[string]attributes, len(p.Channels))
	for _, name := range p.Channels {
		channels[name] = describe(r.app, name, p.Info)
	}
	return map[string]any{"channels": channels}, nil
}

// publishBatch is POST batch_events: all of it, or nothing.
func publishBatch(r request) (any, error) {
	batch, err := protocol.ParseBatch(r.body, r.app.Settings().PublishLimits())
	if err != nil {
		return nil, err
	}
	infos := make([]attributes, len(batch))
	asked := false
	for i, p := range batch {
		deliver(r.app, p)
		infos[i] = attributes{}
		if p.Info != (protocol.Info{}) {
			asked = true
			infos[i] = describe(r.app, p.Channels[0], p.Info)
		}
	}
	if !asked {
		return done, nil
	}
	return map[string]any{"batch": infos}, nil
}

func deliver(app *apps.App, p protocol.Publication) {
	for _, channel := range p.Channels {
		app.Channels.Publish(protocol.Event{Name: p.Name, Channel: channel, Data: p.Data}, p.Except)
	}
	app.Metrics.EventsHTTP.Add(float64(len(p.Channels)))
}

// describe answers info for one channel: users are counted on presence
// channels, subscriptions on all others.
func describe(app *apps.App, channel string, info protocol.Info) attributes {
	a := attributes{}
	presence := protocol.KindOf(channel).IsPresence()
	if info.UserCount && presence {
		a["user_count"] = app.Channels.State(channel).Users
	}
	if info.SubscriptionCount && !presence {
		a["subscription_count"] = app.Channels.State(channel).Subscriptions
	}
	return a
}
