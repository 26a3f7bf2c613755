package console

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"

	"belfry/server/apps"
	"belfry/server/config"
	"belfry/server/refusals"
)

type refusalsAnswer struct {
	Refusals []refusal `json:"refusals"` // newest first
	Kept     int       `json:"kept"`     // of each application at most
}

type refusal struct {
	At         int64             `json:"at"` // milliseconds since 1970
	What       string            `json:"what"`
	App        string            `json:"app"`
	Code       int               `json:"code"`
	Reason     string            `json:"reason"`
	Attributes map[string]string `json:"attributes"`
	Settings   []setting         `json:"settings"`
}

// setting is a key of the configuration that a reason names.
type setting struct {
	Key   string `json:"key"`
	Where string `json:"where"` // file and line, or the variable; empty for a default
}

// listRefusals is GET api/refusals: those of one app, of no known app (app=), or all.
func (c *Console) listRefusals(r *http.Request) (any, error) {
	var ids []string
	if q := r.URL.Query(); q.Has("app") {
		ids = []string{q.Get("app")}
	} else {
		ids = []string{""}
		c.Apps.All(func(a *apps.App) { ids = append(ids, a.ID) })
	}
	answer := refusalsAnswer{Refusals: []refusal{}, Kept: refusals.MaxKept}
	for _, id := range ids {
		for _, k := range c.Refusals.Last(id) {
			answer.Refusals = append(answer.Refusals, refusal{
				At: k.At.UnixMilli(), What: k.What, App: k.App, Code: k.Code, Reason: k.Reason,
				Attributes: k.Attributes, Settings: c.settings(k.App, k.Reason),
			})
		}
	}
	slices.SortStableFunc(answer.Refusals, func(a, b refusal) int { return int(b.At - a.At) })
	return answer, nil
}

// keyLike matches what a reason may call a key of the configuration.
var keyLike = regexp.MustCompile(`[a-z]+(_[a-z]+)+|\bsecret\b|server\.tls`)

// settings finds the keys of the configuration that the reason of a refusal names, and
// where each of them is set, so that people know what to change.
func (c *Console) settings(app, reason string) []setting {
	cfg, found := c.latest.Load(), []setting{}
	for _, name := range slices.Compact(keyLike.FindAllString(reason, -1)) {
		for _, key := range []string{appKey(cfg, app, name), "server." + name, name} {
			if where, known := cfg.Where(key); known {
				found = append(found, setting{key, where})
				break
			}
		}
	}
	return found
}

// appKey is the path of an application's key in the configuration.
func appKey(cfg *config.Config, app, name string) string {
	for i := range cfg.Apps {
		if cfg.Apps[i].ID == app {
			return fmt.Sprintf("apps[%d].%s", i, name)
		}
	}
	return ""
}
