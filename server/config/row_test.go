package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func parseApp(t *testing.T, document string) (App, []string) {
	t.Helper()
	a, warnings, err := ParseApp(`app "7" of apps_from`, []byte(document), Default().Server)
	if err != nil {
		t.Fatalf("%s\n%v", document, err)
	}
	return a, warnings
}

// TestParseApp has documents, and what they change of an app of the defaults.
func TestParseApp(t *testing.T) {
	tests := []struct {
		name, document string
		change         func(*App)
	}{
		{"least", `{"id":"7","key":"k","secret":"s"}`, func(*App) {}},
		{"numbers for names", `{"id":7,"key":8,"secret":9}`, func(a *App) { a.Key, a.Secret = "8", "9" }},
		{"camel case", `{"id":"7","key":"k","secret":"s","maxConnections":5,"MaxPresenceMembers":6}`, func(a *App) { a.MaxConnections, a.MaxPresenceMembers = 5, 6 }},
		{"null and empty", `{"id":"7","key":"k","secret":"s","max_connections":null,"webhooks":"","allowed_origins":"","history":null,"enabled":null,"activity_timeout":"","secrets":null}`, func(*App) {}},
		{"truth", `{"id":"7","key":"k","secret":"s","enabled":0,"subscription_count":1,"terminate_presence_users":"t"}`, func(a *App) { a.Enabled, a.SubscriptionCount, a.TerminatePresenceUsers = false, true, true }},
		{"truth as text", `{"id":"7","key":"k","secret":"s","enabled":"false","subscription_count":"1"}`, func(a *App) { a.Enabled, a.SubscriptionCount = false, true }},
		{"numbers as text", `{"id":"7","key":"k","secret":"s","max_connections":"5","message_rate":"12.00","max_batch_events":3.0}`, func(a *App) { a.MaxConnections, a.MessageRate, a.MaxBatchEvents = 5, 12, 3 }},
		{"no limit", `{"id":"7","key":"k","secret":"s","max_connections":-1,"client_event_rate":"-1","require_signin":-1}`, func(a *App) { a.ClientEventRate = 0 }},
		{"durations", `{"id":"7","key":"k","secret":"s","activity_timeout":60,"pong_timeout":"20","cache_ttl":"1m30s","require_signin":0}`, func(a *App) {
			a.ActivityTimeout, a.PongTimeout, a.CacheTTL = time.Minute, 20*time.Second, 90*time.Second
		}},
		{"secrets", `{"id":"7","key":"k","secrets":["new","old"]}`, func(a *App) { a.Secret, a.Secrets = "", []string{"new", "old"} }},
		{"secrets as text", `{"id":"7","key":"k","secrets":" [\"new\",\"old\"] "}`, func(a *App) { a.Secret, a.Secrets = "", []string{"new", "old"} }},
		{"origins", `{"id":"7","key":"k","secret":"s","allowed_origins":["A.example","*.b.example"]}`, func(a *App) { a.AllowedOrigins = []string{"a.example", "*.b.example"} }},
		{"origins as JSON", `{"id":"7","key":"k","secret":"s","allowed_origins":"[\"a.example\"]"}`, func(a *App) { a.AllowedOrigins = []string{"a.example"} }},
		{"origins with commas", `{"id":"7","key":"k","secret":"s","allowed_origins":"a.example, b.example,"}`, func(a *App) { a.AllowedOrigins = []string{"a.example", "b.example"} }},
		{"no origins", `{"id":"7","key":"k","secret":"s","allowed_origins":[]}`, func(*App) {}},
		{"webhooks as text", `{"id":"7","key":"k","secret":"s","webhooks":"[{\"url\":\"https://a.example\",\"filter\":{\"channel_prefix\":\"c\"},\"headers\":\"{\\\"A\\\": 1}\"}]"}`, func(a *App) {
			w := DefaultWebhook()
			w.URL, w.Headers, w.Filter.ChannelPrefix = "https://a.example", map[string]string{"A": "1"}, "c"
			a.Webhooks = []Webhook{w}
		}},
		{"history", `{"id":"7","key":"k","secret":"s","history":[{"channels":"a*","age":60,"notes":1}]}`, func(a *App) {
			h := DefaultHistory()
			h.Channels, h.Age = "a*", time.Minute
			a.History = []History{h}
		}},
		{"null as text", `{"id":"7","key":"k","secret":"s","webhooks":"null","allowed_origins":" null ","history":"null","settings":"null"}`, func(*App) {}},
		{"nulls within", `{"id":"7","key":"k","secret":"s","webhooks":[{"url":"https://a.example","headers":"null","filter":"null"}]}`, func(a *App) {
			w := DefaultWebhook()
			w.URL = "https://a.example"
			a.Webhooks = []Webhook{w}
		}},
		{"settings", `{"id":"7","key":"k","secret":"s","max_connections":5,"message_rate":null,"settings":{"max_connections":6,"message_rate":7,"subscriptionCount":true}}`, func(a *App) { a.MaxConnections, a.MessageRate, a.SubscriptionCount = 5, 7, true }},
		{"options as text", `{"id":"7","key":"k","secret":"s","options":"{\"message_rate\":7}"}`, func(a *App) { a.MessageRate = 7 }},
		{"columns of its own", `{"id":"7","key":"k","secret":"s","name":"Shop","created_at":"2026-11-27 12:00:00","uid":3,"meta":{"a":1,"a":2},"notes":"\ud83d"}`, func(*App) {}},
		{"variables", `{"id":"7","key":"k","secret":"${HOME}","allowed_origins":null,"webhooks":[{"url":"https://a.example/${HOME}?$${A}"}]}`, func(a *App) {
			w := DefaultWebhook()
			w.URL = "https://a.example/${HOME}?$${A}"
			a.Secret, a.Webhooks = "${HOME}", []Webhook{w}
		}},
		{"escapes", `{"id":"7","key":"k","secret":"\u0073\ud83d\ude00"}`, func(a *App) { a.Secret = "s😀" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := DefaultApp()
			want.ID, want.Key, want.Secret = "7", "k", "s"
			tt.change(&want)
			got, warnings := parseApp(t, tt.document)
			type plain App // without the method that hides the secrets
			if d := cmp.Diff(plain(want), plain(got)); d != "" {
				t.Error(d)
			}
			if len(warnings) > 0 {
				t.Error(warnings)
			}
		})
	}
}

// TestParseAppOfOthers reads what the tables of Soketi and Sockudo have in a row, and what
// Reverb has in its configuration.
func TestParseAppOfOthers(t *testing.T) {
	tests := []struct {
		name, document string
		change         func(*App)
		warnings       []string // a piece of each
	}{
		{"Soketi, MySQL", `{"id":"7","key":"k","secret":"s","max_connections":-1,"enable_client_messages":1,"enabled":1,
			"max_backend_events_per_sec":-1,"max_client_events_per_sec":-1,"max_read_req_per_sec":100,"webhooks":
			[{"url":"https://a.example/hook","event_types":["channel_occupied","client_event"],"headers":{"X-A":"b"},
			"filter":{"channel_name_starts_with":"private-","channel_name_ends_with":"-x"}}]}`, func(a *App) {
			a.ClientEventRate = 0
			a.Webhooks = []Webhook{{URL: "https://a.example/hook", Events: []string{"channel_occupied", "client_event"}, Headers: map[string]string{"X-A": "b"},
				Filter: WebhookFilter{ChannelPrefix: "private-", ChannelSuffix: "-x"}}}
		}, nil},
		{"Soketi, limited", `{"id":"7","key":"k","secret":"s","max_connections":200,"enable_client_messages":0,"enabled":0,
			"max_backend_events_per_sec":100,"max_client_events_per_sec":20,"max_read_req_per_sec":50,"webhooks":"[]",
			"max_presence_members_per_channel":50,"max_presence_member_size_in_kb":2.5,"max_channel_name_length":100,"max_event_name_length":150,
			"max_event_channels_at_once":5,"max_event_payload_in_kb":20,"max_event_batch_size":6}`, func(a *App) {
			a.MaxConnections, a.ClientEvents, a.Enabled, a.APIRequestRate, a.ClientEventRate = 200, ClientEventsNone, false, 150, 20
			a.MaxPresenceMembers, a.MaxPresenceUserBytes, a.MaxChannelName = 50, 2560, 150
			a.MaxChannelsPerEvent, a.MaxEventBytes, a.MaxBatchEvents = 5, 20<<10, 6
			a.Webhooks = []Webhook{}
		}, nil},
		{"Soketi, DynamoDB", `{"AppId":"7","AppKey":"k","AppSecret":"s","MaxConnections":"-1","EnableClientMessages":"false","Enabled":"true",
			"MaxBackendEventsPerSecond":"-1","MaxClientEventsPerSecond":"30","MaxReadRequestsPerSecond":"-1","Webhooks":"[]"}`, func(a *App) {
			a.ClientEvents, a.ClientEventRate, a.Webhooks = ClientEventsNone, 30, []Webhook{}
		}, nil},
		{"Sockudo", `{"id":"7","key":"k","secret":"s","enabled":true,"max_connections":1000,"max_client_events_per_second":100,
			"max_read_requests_per_second":100,"max_backend_events_per_second":100,"max_channel_name_length":200,"max_event_name_length":200,
			"max_event_payload_in_kb":100,"max_event_channels_at_once":100,"max_event_batch_size":10,"max_presence_members_per_channel":100,
			"max_presence_member_size_in_kb":2,"enable_client_messages":false,"enable_user_authentication":true,"enable_watchlist_events":false,
			"webhooks":null,"allowed_origins":["https://*.a.example","http://b.example:3000","any"],"channel_delta_compression":null,
			"idempotency":{"enabled":true},"connection_recovery":null,"created_at":"2026-11-27 12:00:00","updated_at":"2026-11-27 12:00:00"}`, func(a *App) {
			a.MaxConnections, a.ClientEvents, a.ClientEventRate, a.APIRequestRate = 1000, ClientEventsNone, 100, 200
			a.MaxEventBytes, a.MaxPresenceUserBytes, a.RequireSignin = 100<<10, 2048, 30*time.Second
			a.AllowedOrigins = []string{"*.a.example", "b.example", "*"}
		}, []string{`allowed_origins: "https://*.a.example" is compared by its host alone`, `allowed_origins: "http://b.example:3000" is compared`}},
		{"Sockudo's policy", `{"id":"7","key":"k","secret":"s","enabled":true,"max_connections":1,"enable_client_messages":true,"webhooks":[{}],
			"policy":{"limits":{"max_connections":9,"max_client_events_per_second":0},"features":{"enable_client_messages":false},
			"channels":{"allowed_origins":["a.example"]},"history":{"enabled":true},"webhooks":[]}}`, func(a *App) {
			a.MaxConnections, a.ClientEvents, a.ClientEventRate, a.AllowedOrigins, a.Webhooks = 9, ClientEventsNone, 0, []string{"a.example"}, []Webhook{}
		}, nil},
		{"Sockudo's time of a rate", `{"id":"7","key":"k","secret":"s","policy":{"limits":{"max_client_events_per_second":100,"decay_seconds":60}}}`, func(a *App) {
			a.ClientEventRate = 2
		}, nil},
		{"a rate of our own beside it", `{"id":"7","key":"k","secret":"s","client_event_rate":100,"decay_seconds":60}`, func(a *App) {
			a.ClientEventRate = 100
		}, nil},
		{"functions and events of others", `{"id":"7","key":"k","secret":"s","webhooks":[
			{"lambda_function":"f","lambda":{"region":"x"},"event_types":["member_added"]},
			{"url":"https://a.example","event_types":["elephants","member_added"],"filter":{"channel_pattern":"^a"},"retry":{"enabled":true}},
			{"url":"https://b.example","event_types":["elephants"]},
			{"url":"https://c.example","event_types":[]}]}`, func(a *App) {
			a.Webhooks = []Webhook{{URL: "https://a.example", Events: []string{"member_added"}}}
		}, []string{"webhooks[0]: is a function of AWS", `webhooks[0].filter: channel_pattern is not offered`, `webhooks[0]: "elephants" is no event`, `webhooks[1]: "elephants" is no event`}},
		{"Reverb", `{"key":"k","secret":"s","app_id":"7","options":{"host":"a.example","port":443,"scheme":"https","useTLS":true},
			"allowed_origins":["*"],"ping_interval":60,"activity_timeout":30,"max_connections":null,"max_message_size":10000,
			"accept_client_events_from":"members","rate_limiting":{"enabled":false}}`, func(a *App) {
			a.PingInterval, a.ActivityTimeout, a.MaxMessageBytes = time.Minute, 30*time.Second, 10000
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := DefaultApp()
			want.ID, want.Key, want.Secret = "7", "k", "s"
			tt.change(&want)
			got, warnings := parseApp(t, tt.document)
			type plain App // without the method that hides the secrets
			if d := cmp.Diff(plain(want), plain(got)); d != "" {
				t.Error(d)
			}
			checkPieces(t, "warnings", warnings, tt.warnings)
		})
	}
}

func checkPieces(t *testing.T, what string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %q, want %q", what, got, want)
		return
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("%s: %q, want %q", what, got[i], want[i])
		}
	}
}

func TestParseAppWarnings(t *testing.T) {
	_, warnings := parseApp(t, `{"id":"7","key":"k","secret":"s","max_conections":5,"enable_client_mesages":1,"uid":1,"secret_hint":"x",
		"settings":{"clientEvent":"none"},"webhooks":[{"url":"https://a.example","headrs":{"A":"hunter2"},"filter":{"chanel_prefix":"a"}}]}`)
	checkPieces(t, "warnings", warnings, []string{
		`app "7" of apps_from: unknown key "max_conections", did you mean max_connections? it is left out`,
		`unknown key "enable_client_mesages", did you mean enable_client_messages?`,
		`unknown key "clientEvent", did you mean client_events?`,
		`webhooks[0]: unknown key "headrs", did you mean headers?`,
		`webhooks[0].filter: unknown key "chanel_prefix", did you mean channel_prefix?`,
	})
}

// wide is n members.
func wide(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"a%d":1,`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// TestParseAppProblems has documents that are refused, none with what is secret in them.
func TestParseAppProblems(t *testing.T) {
	tests := []struct {
		name, document string
		want           []string // a piece of each line
	}{
		{"nothing", ``, []string{`app "7" of apps_from: it is not a JSON object`}},
		{"list", `[]`, []string{"it is not a JSON object"}},
		{"commas alone", `{"id":"7","key":"k","secret":"s","allowed_origins":" , "}`, []string{"allowed_origins"}},
		{"another negative number", `{"id":"7","key":"k","secret":"s","max_connections":-5}`, []string{"max_connections: \"-5\""}},
		{"an escaped slash", `{"id":"7","key":"k\u002f2","secret":"s"}`, []string{"key: \"k/2\" has a character"}},
		{"cut", `{"id":"hunter2"`, []string{"it is not a JSON object"}},
		{"two", `{} {}`, []string{"it is not a JSON object"}},
		{"not UTF-8", "{\"id\":\"\xff\"}", []string{"it is not UTF-8 text"}},
		{"large", `{"id":"` + strings.Repeat("x", maxRowBytes) + `"}`, []string{"it has more than 1048576 bytes"}},
		{"wide", `{` + wide(maxMembers+1) + `}`, []string{"the value has more than 2000 members", "id: the value is missing", "key: the value", "secret: the value"}},
		{"long", `{"id":"7","key":"k","secret":"s","allowed_origins":"a` + strings.Repeat(",a", maxMembers) + `"}`, []string{"allowed_origins: the value has more than 2000 entries"}},
		{"deep", `{"webhooks":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, []string{"it is not a JSON object"}},
		{"empty", `{}`, []string{"id: the value is missing or empty: give the app's id", "key: the value is missing", "secret: the value is missing"}},
		{"twice", `{"id":"7","key":"k","secret":"s","secret":"hunter2"}`, []string{`has the member "secret" twice: keep one`}},
		{"twice within", `{"id":"7","key":"k","secret":"s","webhooks":[{"url":"http://a","headers":{"A":"hunter2","A":"hunter2"}}]}`, []string{`webhooks[0].headers: has the member "A" twice`}},
		{"names", `{"id":"a/b","key":"a:b","secret":"hunter2 hunter2"}`, []string{"id: \"a/b\" has a character", "key: \"a:b\" has a character", "secret: the value has a space"}},
		{"both secrets", `{"id":"7","key":"k","secret":"hunter2","secrets":["hunter2"]}`, []string{"secrets: the value is given beside secret"}},
		{"types", `{"id":["7"],"key":{"a":1},"secret":true,"secrets":null,"max_connections":"many","enabled":"maybe","activity_timeout":"long","webhooks":"hunter2","history":{},"allowed_origins":7}`, []string{
			"id: the value is a list: give text", "key: the value is a mapping: give text", `enabled: "maybe" is neither true nor false`,
			"allowed_origins: the value is just text: give a list", `activity_timeout: "long" is not a duration`, `max_connections: "many" is not a whole number`,
			"history: the value is a mapping: give a list", "webhooks: the value is just text: give a list"}},
		{"ranges", `{"id":"7","key":"k","secret":"s","max_presence_members":-1,"activity_timeout":0.5,"max_batch_events":1.5,"secrets":[]}`, []string{
			`max_batch_events: "1.5" is not a whole number`, "secrets: the value is given beside", `activity_timeout: "0.5s" is out of range`, `max_presence_members: "-1" is out of range`}},
		{"theirs", `{"id":"7","key":"k","secret":"s","enable_client_messages":"perhaps","max_event_payload_in_kb":4000,"maxPresenceMemberSizeInKb":"big","webhooks":[{"url":"https://a.example","event_types":"hunter2"}]}`, []string{
			"enable_client_messages: the value is neither true nor false", "maxPresenceMemberSizeInKb: the value is not a number", "webhooks[0].event_types: the value is just text: give a list",
			`max_event_payload_in_kb: "4096000" does not fit a request: give at most server.max_request_bytes, 1048576`, "server.max_outbox_bytes: the value is too small: give at least twice max_event_bytes of this app, 8192000"}},
		{"settings", `{"id":"7","key":"k","secret":"s","settings":"hunter2"}`, []string{"settings: the value is not a JSON object"}},
		{"webhooks", `{"id":"7","key":"k","secret":"s","webhooks":[{"url":"ftp://hunter2"},{"url":"https://hunter2@a.example","headers":{"A":" hunter2"}},7,null]}`, []string{
			"webhooks[2]: the value is just text: give a mapping", "webhooks[0].url: the value is not an absolute", "webhooks[1].headers.A: the value begins or ends with a space", "webhooks[3].url: the value is missing"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, warnings, err := ParseApp(`app "7" of apps_from`, []byte(tt.document), Default().Server)
			if err == nil {
				t.Fatalf("accepted: %v", a)
			}
			if strings.Contains(err.Error()+strings.Join(warnings, ""), "hunter2") {
				t.Errorf("a secret: %v", err)
			}
			checkPieces(t, "problems", strings.Split(err.Error(), "\n"), tt.want)
		})
	}
}
