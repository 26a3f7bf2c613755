package webhooks

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"belfry/server/config"
)

// An endpoint whose user information or query changes goes on with its queue, at
// a reload as at a restart. Two with the same address are told apart.
func TestSpoolOfAnEndpointWhoseSecretChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, spool := range []string{"", t.TempDir()} {
			w := newWorld(t, spool)
			h := w.host("backend", status(500))
			a := w.application("1", to("http://backend/hook?token=1"))
			a.happens("cache_miss:c")
			pass(time.Second)
			a.Configure(credentials, []config.Webhook{to("http://user:pass@backend/hook?token=2")})
			a.happens("cache_miss:d")
			pass(time.Second)
			w.expect(t, `dropped_total{app="1",reason="removed"}`, "0", `queue_length{app="1"}`, "2")
			if spool == "" {
				h.answers(nil)
				pass(time.Minute)
				if all := h.events(t); !slices.Equal(all[len(all)-2:], []string{"cache_miss:c", "cache_miss:d"}) &&
					!slices.Equal(all[len(all)-2:], []string{"cache_miss:d", "cache_miss:c"}) || h.requests()[len(all)-1].url != "/hook?token=2" {
					t.Errorf("got %v", all)
				}
				continue
			}
			w.end()
			after := newWorld(t, spool)
			h = after.host("backend", nil)
			after.application("1", to("http://backend/hook?token=3"))
			after.CheckSpool()
			pass(time.Second)
			if got := h.events(t); !slices.Equal(got, []string{"cache_miss:c", "cache_miss:d"}) || after.log.lines("level=WARN") != 0 {
				t.Errorf("after a restart got %v; log:\n%s", got, after.log)
			}
		}
	})
}

func TestSuccessors(t *testing.T) {
	tests := []struct {
		name, before, after string
		want                string // which of before each of after is, - for none
	}{
		{"the same", "http://a http://b", "http://b http://a", "http://b http://a"},
		{"another query", "http://a?1 http://b", "http://a?2 http://b", "http://a?1 http://b"},
		{"another user", "http://u@a?1", "http://v@a?1", "http://u@a?1"},
		{"another path", "http://a/x", "http://a/y", "-"},
		{"one more", "http://a?1", "http://a?1 http://a?2", "http://a?1 -"},
		{"one less", "http://a?1 http://a?2", "http://a?2", "http://a?2"},
		{"one of two", "http://a?1 http://a?2", "http://a?1 http://a?3", "http://a?1 http://a?2"},
		{"both of two", "http://a?1 http://a?2", "http://a?3 http://a?4", "- -"},
		{"one for two", "http://a?1 http://a?2", "http://a?3", "-"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := make(map[string]*endpoint)
			names := map[*endpoint]string{nil: "-"}
			for url := range strings.FieldsSeq(tt.before) {
				before[url] = new(endpoint)
				names[before[url]] = url
			}
			var after []config.Webhook
			for url := range strings.FieldsSeq(tt.after) {
				after = append(after, to(url))
			}
			next := successors(before, after)
			var got []string
			for _, w := range after {
				got = append(got, names[next[w.URL]])
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("%v go on, want %s", got, tt.want)
			}
		})
	}
}
