package console

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

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
	Where string `json:"where"` // file and line, the variable, or apps_from; empty for a default
}

// listRefusals is GET api/refusals: those of one app, of no known app (app=), or the
// last of all.
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
	answer.Refusals = cut(answer.Refusals, 0, maxLimit)
	return answer, nil
}

var (
	// quotedText matches what a reason repeats of a stranger's, which is always quoted: it
	// may have the name of a key in it.
	quotedText = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	// keyLike matches what a reason may call a key of the configuration.
	keyLike = regexp.MustCompile(`[a-z]+(?:_[a-z]+)+|\bsecret\b|\benabled is false\b|server\.tls`)
)

// settings finds the keys of the configuration that the reason of a refusal names, and
// where each of them is set, so that people know what to change.
func (c *Console) settings(app, reason string) []setting {
	cfg, found := c.latest.Load(), []setting{}
	reason = quotedText.ReplaceAllLiteralString(reason, "")
	for _, name := range slices.Compact(keyLike.FindAllString(reason, -1)) {
		name = strings.TrimSuffix(name, " is false")
		if a := appOf(cfg, app); name == "secret" && a >= 0 && len(cfg.Apps[a].Secrets) > 0 {
			name = "secrets"
		}
		if a := c.Apps.ByID(app); a != nil && c.Apps.LookedUp(a) && config.IsAppKey(name) {
			found = append(found, setting{name, "apps_from"})
			continue
		}
		for _, key := range []string{appKey(cfg, app, name), "server." + name, name} {
			if where, known := cfg.Where(key); known {
				found = append(found, setting{key, where})
				break
			}
		}
	}
	return found
}

// appOf is the index of an application in the configuration, -1 if it is not there.
func appOf(cfg *config.Config, id string) int {
	return slices.IndexFunc(cfg.Apps, func(a config.App) bool { return a.ID == id })
}

// appKey is the path of an application's key in the configuration.
func appKey(cfg *config.Config, app, name string) string {
	if i := appOf(cfg, app); i >= 0 {
		return fmt.Sprintf("apps[%d].%s", i, name)
	}
	return ""
}
