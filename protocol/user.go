package protocol

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// Identity is who signed in on a connection.
type Identity struct {
	UserID string
	// UserInfo is the JSON text the application gave, nil for none. It becomes
	// a presence member's.
	UserInfo []byte
	// Watchlist are the ids of users whose coming and going is told, at most
	// [MaxWatchlist], each once.
	Watchlist []string
	// WatchlistCut says that the application gave more than that.
	WatchlistCut bool
}

// ParseIdentity reads the user_data of pusher:signin: {"id": string or number,
// "user_info": any JSON, optional, "watchlist": list of ids, optional}, and
// whatever else the application has for its client.
func ParseIdentity(userData string) (Identity, error) {
	var d struct {
		ID        jsontext.Value   `json:"id"`
		UserInfo  jsontext.Value   `json:"user_info"`
		Watchlist []jsontext.Value `json:"watchlist"`
	}
	if err := ReadJSON([]byte(userData), &d); err != nil {
		return Identity{}, fmt.Errorf("user_data is not a JSON object with an id, and a list as its watchlist if it has one: %w", err)
	}
	id, err := parseUserID(d.ID)
	if err != nil {
		return Identity{}, fmt.Errorf("user_data: %w", err)
	}
	i := Identity{UserID: id, UserInfo: d.UserInfo}
	seen := make(map[string]bool, len(d.Watchlist))
	for _, raw := range d.Watchlist {
		watched, err := parseUserID(raw)
		if err != nil {
			return Identity{}, fmt.Errorf("user_data: watchlist: %w", err)
		}
		if seen[watched] {
			continue
		}
		if len(i.Watchlist) == MaxWatchlist {
			i.WatchlistCut = true
			break
		}
		seen[watched] = true
		i.Watchlist = append(i.Watchlist, watched)
	}
	return i, nil
}

// SigninSuccessFrame answers pusher:signin with the user_data that was signed.
func SigninSuccessFrame(userData string) Frame {
	data := append(make([]byte, 0, 32+len(userData)+len(userData)/4), `{"user_data":`...)
	data = AppendString(data, userData)
	return dataFrame(EventSigninSuccess, "", append(data, '}'))
}

// WatchlistFrame tells which users came online and which went, at least one.
func WatchlistFrame(online, offline []string) Frame {
	data := []byte(`{"events":[`)
	add := func(name string, ids []string) {
		if len(ids) == 0 {
			return
		}
		if data[len(data)-1] == '}' {
			data = append(data, ',')
		}
		data = append(data, `{"name":"`...)
		data = append(data, name...)
		data = append(data, `","user_ids":[`...)
		for i, id := range ids {
			if i > 0 {
				data = append(data, ',')
			}
			data = AppendString(data, id)
		}
		data = append(data, "]}"...)
	}
	add("online", online)
	add("offline", offline)
	return dataFrame(EventWatchlist, "", append(data, "]}"...))
}
