package console

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"belfry/channels"
	"belfry/channels/cluster"
	"belfry/protocol"
	"belfry/server/apps"
	"belfry/server/config"
	"belfry/server/metrics"
	"belfry/server/refusals"
)

const (
	maxData    = 16 << 10 // bytes of an event's data that are shown
	maxHistory = 100      // events of a history that are shown
)

// channel is one that has subscribers on this node.
type channel struct {
	Name          string  `json:"name"`
	Kind          string  `json:"kind"`
	Subscriptions int     `json:"subscriptions"`
	Users         int     `json:"users"`
	Rate          float64 `json:"rate"`
	LastEvent     string  `json:"last_event"`
	LastAt        int64   `json:"last_at"`
}

func channelOf(o channels.Overview) channel {
	return channel{o.Name, o.Kind.String(), o.Subscriptions, o.Users, o.Rate, o.LastEvent, millisOf(o.LastAt)}
}

// channelOrders are what channels may be sorted by.
var channelOrders = map[string]channels.Order{
	"name": channels.ByName, "subscriptions": channels.BySubscriptions, "users": channels.ByUsers,
	"rate": channels.ByRate, "last": channels.ByLast,
}

// listChannels is GET api/channels.
func (c *Console) listChannels(r *http.Request) (any, error) {
	query := r.URL.Query()
	app, err := c.app(query.Get("app"))
	if err != nil {
		return nil, err
	}
	p, by, err := pageOf(query, channelOrders, "name")
	if err != nil {
		return nil, err
	}
	match := func(name string) bool { return p.query == "" || strings.Contains(strings.ToLower(name), p.query) }
	done, err := c.turn(r.Context())
	if err != nil {
		return nil, err
	}
	defer done()
	found, total := app.Channels.List(match, by, p.offset, p.limit)
	rows := []channel{}
	for _, o := range found {
		rows = append(rows, channelOf(o))
	}
	return map[string]any{"total": total, "channels": rows}, nil
}

// shownChannel is all that is known of one channel.
type shownChannel struct {
	channel
	TotalSubscriptions int          `json:"total_subscriptions"` // of all nodes
	TotalUsers         int          `json:"total_users"`
	Cached             *cachedEvent `json:"cached"`
	History            *history     `json:"history"`
	Subscribers        []subscriber `json:"subscribers"` // of this node
	SubscribersTotal   int          `json:"subscribers_total"`
	Error              string       `json:"error,omitempty"` // why what the cluster has is missing
}

type cachedEvent struct {
	Data  string `json:"data"`
	Bytes int    `json:"data_bytes"`
	TTL   int64  `json:"ttl_ms"`
}

type history struct {
	Complete bool        `json:"complete"`
	Events   []pastEvent `json:"events"` // the newest last
}

type pastEvent struct {
	Serial string `json:"serial"`
	Name   string `json:"name"`
	Data   string `json:"data"`
	Bytes  int    `json:"data_bytes"`
	Time   int64  `json:"time_ms"`
}

type subscriber struct {
	SocketID string `json:"socket_id"`
	UserID   string `json:"user_id"`
}

// showChannel is GET api/channel. On a node of a cluster it waits for the cluster's answer.
func (c *Console) showChannel(r *http.Request) (any, error) {
	query := r.URL.Query()
	app, err := c.app(query.Get("app"))
	if err != nil {
		return nil, err
	}
	name := query.Get("name")
	if err := protocol.CheckChannel(name, app.Settings().MaxChannelName); err != nil {
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	offset, limit, err := rangeOf(query)
	if err != nil {
		return nil, err
	}
	here, subscribers := app.Channels.Look(name, offset, limit)
	answer := shownChannel{
		channel: channelOf(here), TotalSubscriptions: here.Subscriptions, TotalUsers: here.Users,
		Subscribers: []subscriber{}, SubscribersTotal: here.Subscriptions,
	}
	for _, s := range subscribers {
		answer.Subscribers = append(answer.Subscribers, subscriber{s.ID.String(), s.UserID})
	}
	if err := answer.ask(app); err != nil {
		answer.Error = public(err).Error()
	}
	return answer, nil
}

// ask adds what all nodes have together, if there are others, and what is kept of events.
func (s *shownChannel) ask(app *apps.App) error {
	state, err := app.Channels.State(s.Name)
	if err != nil {
		return err
	}
	s.TotalSubscriptions, s.TotalUsers = state.Subscriptions, state.Users
	if state.LastData != nil {
		data, size := shown(state.LastData)
		s.Cached = &cachedEvent{data, size, state.LastTTL.Milliseconds()}
	}
	past, err := app.Channels.History(s.Name, nil, maxHistory)
	if errors.Is(err, channels.ErrNoHistory) {
		return nil
	}
	if err != nil {
		return err
	}
	s.History = &history{past.Complete, []pastEvent{}}
	for _, e := range past.Events {
		name, _ := shown(e.Name)
		data, size := shown(e.Data)
		s.History.Events = append(s.History.Events, pastEvent{e.Serial.String(), name, data, size, e.At.UnixMilli()})
	}
	return nil
}

// shown returns the beginning of the string that a JSON text encodes, or of the text if it
// encodes none, and the size of the whole in bytes.
func shown(text []byte) (data string, size int) {
	if json.Unmarshal(text, &data) != nil {
		data = string(text)
	}
	return protocol.Clip(data, maxData), len(data)
}

// public returns what a browser is told of an error. Only the log says where the cluster is.
func public(err error) error {
	for _, known := range []error{cluster.ErrUnknown, cluster.ErrUnavailable} {
		if errors.Is(err, known) {
			return known
		}
	}
	return err
}

// sendEvent is POST api/events. It publishes as the HTTP API does, or as if a client had.
func (c *Console) sendEvent(r *http.Request) (any, error) {
	var asked struct {
		App     string `json:"app"`
		Channel string `json:"channel"`
		Event   string `json:"event"`
		Data    string `json:"data"`
		As      string `json:"as"`
	}
	if err := readJSON(r, &asked); err != nil {
		return nil, err
	}
	app, err := c.app(asked.App)
	if err != nil {
		return nil, err
	}
	settings := app.Settings()
	if !settings.Enabled {
		return nil, fail(http.StatusForbidden, "app %s is disabled: enabled is false", app.ID)
	}
	body := protocol.AppendString([]byte(`{"name":`), asked.Event)
	body = protocol.AppendString(append(body, `,"channel":`...), asked.Channel)
	body = protocol.AppendString(append(body, `,"data":`...), asked.Data)
	body = append(body, '}')
	p, err := protocol.ParsePublish(body, "", settings.PublishLimits())
	if invalid := new(protocol.RequestError); errors.As(err, &invalid) {
		if invalid.Status == http.StatusRequestEntityTooLarge {
			app.Metrics.LimitMet(metrics.MaxEventBytes)
		}
		return nil, fail(http.StatusBadRequest, "%s", invalid.Message)
	}
	if err != nil {
		return nil, err
	}
	client, count := false, func() { app.Metrics.Published(1) }
	switch asked.As {
	case "server":
	case "client":
		if why := refuseClientEvent(settings, asked.Channel, asked.Event); why != "" {
			return nil, fail(http.StatusBadRequest, "%s", why)
		}
		client, count = true, app.Metrics.ClientEvent
	default:
		return nil, fail(http.StatusBadRequest, "as %q is not one of server and client", protocol.Clip(asked.As, 60))
	}
	return c.change(func() (any, error) {
		state, err := app.Channels.State(asked.Channel)
		if err == nil {
			err = app.Channels.Publish(channels.Publication{
				Event:  protocol.Event{Name: p.Name, Channel: p.Channels[0], Data: p.Data},
				Client: client,
			})
		}
		if err != nil {
			return nil, fail(http.StatusServiceUnavailable, "%v", public(err))
		}
		count()
		c.Log.Info("event sent from the console", "app", app.ID, "channel", p.Channels[0], "event", refusals.Clean(p.Name), "as", asked.As, "user", userOf(r), "remote", r.RemoteAddr)
		return map[string]int{"recipients": state.Subscriptions}, nil
	})
}

// refuseClientEvent says why no client could send an event; empty if one could.
func refuseClientEvent(s *apps.Settings, channel, event string) string {
	switch {
	case s.ClientEvents == config.ClientEventsNone:
		return "client events are not enabled for this app: see client_events"
	case !strings.HasPrefix(event, protocol.PrefixClient):
		return "the name of a client event begins with client-"
	case !protocol.KindOf(channel).ClientEvents():
		return "client events are for private and presence channels only, which are not encrypted"
	}
	return ""
}
