package api

import (
	"encoding/json"
	"math"
	"net/http"
	"strings"

	"belfry/protocol"
)

// listChannels is GET channels: the occupied ones.
func listChannels(r request) (any, error) {
	info, err := protocol.ParseInfo(r.query.Get("info"))
	if err != nil {
		return nil, err
	}
	prefix := r.query.Get("filter_by_prefix")
	if info.UserCount && !strings.HasPrefix(prefix, "presence-") {
		return nil, fail(http.StatusBadRequest, "info=user_count is for presence channels: add filter_by_prefix=presence-")
	}
	channels := make(map[string]attributes)
	states, err := r.app.Channels.States(prefix)
	if err != nil {
		return nil, err
	}
	for name, state := range states {
		a := attributes{}
		if info.UserCount {
			a["user_count"] = state.Users
		}
		if info.SubscriptionCount {
			a["subscription_count"] = state.Subscriptions
		}
		channels[name] = a
	}
	return map[string]any{"channels": channels}, nil
}

// showChannel is GET channels/{c}.
func showChannel(r request) (any, error) {
	if err := protocol.CheckChannel(r.name, r.app.Settings().MaxChannelName); err != nil {
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	info, err := protocol.ParseInfo(r.query.Get("info"))
	if err != nil {
		return nil, err
	}
	presence := protocol.KindOf(r.name).IsPresence()
	if info.UserCount && !presence {
		return nil, fail(http.StatusBadRequest, "info=user_count is for presence channels, which %q is not", r.name)
	}
	state, err := r.app.Channels.State(r.name)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"occupied": state.Occupied()}
	if info.UserCount {
		answer["user_count"] = state.Users
	}
	if info.SubscriptionCount {
		answer["subscription_count"] = state.Subscriptions
	}
	if info.Cache {
		answer["cache"] = nil
		if state.LastData != nil {
			answer["cache"] = map[string]any{
				"data": json.RawMessage(state.LastData),
				"ttl":  int(math.Ceil(state.LastTTL.Seconds())),
			}
		}
	}
	return answer, nil
}

// user is an entry of GET channels/{c}/users.
type user struct {
	ID string `json:"id"`
}

// listUsers is GET channels/{c}/users.
func listUsers(r request) (any, error) {
	if err := protocol.CheckChannel(r.name, r.app.Settings().MaxChannelName); err != nil {
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	if !protocol.KindOf(r.name).IsPresence() {
		return nil, fail(http.StatusBadRequest, "only presence channels have users; %q is not one", r.name)
	}
	ids, err := r.app.Channels.Users(r.name)
	if err != nil {
		return nil, err
	}
	users := []user{}
	for _, id := range ids {
		users = append(users, user{id})
	}
	return map[string]any{"users": users}, nil
}

// countConnections is GET connections, which Laravel Pulse asks for.
func countConnections(r request) (any, error) {
	return map[string]int{"connections": r.app.Connections()}, nil
}
