package config

import (
	"strconv"
	"strings"
	"time"
)

// variable is a variable of the environment that sets one key. Of several that
// set the same, the first counts.
type variable struct {
	name    string
	key     string                               // apps[]. begins those of the app from the environment
	convert func(string) (value, problem string) // to what the file would have; nil: that is the same
	raise   bool                                 // the key becomes no smaller by it
}

// variables are Belfry's own for one key, and those of Laravel Reverb and of Soketi that have an equal. Names
// that begin with a family's prefix only count for the app of that family.
var variables = []variable{
	{name: "BELFRY_APPS_FROM_URL", key: "apps_from.url"},
	{name: "REVERB_SERVER_PATH", key: "server.path"},
	{name: "REVERB_MAX_REQUEST_SIZE", key: "server.max_request_bytes", raise: true},
	{name: "REVERB_MAX_REQUEST_SIZE", key: "apps[].max_event_bytes", raise: true},
	{name: "REVERB_SCALING_CHANNEL", key: "cluster.redis.prefix"},
	{name: "REVERB_APP_PING_INTERVAL", key: "apps[].ping_interval", convert: fromSeconds},
	{name: "REVERB_APP_ACTIVITY_TIMEOUT", key: "apps[].activity_timeout", convert: fromSeconds},
	{name: "REVERB_APP_MAX_CONNECTIONS", key: "apps[].max_connections", convert: fromLimit},
	{name: "REVERB_APP_MAX_MESSAGE_SIZE", key: "apps[].max_message_bytes"},
	{name: "REVERB_APP_MAX_MESSAGE_SIZE", key: "apps[].max_event_bytes", raise: true},
	{name: "REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM", key: "apps[].client_events", convert: fromAudience},

	{name: "SOKETI_PATH_PREFIX", key: "server.path"},
	{name: "SOKETI_SSL_CERT", key: "server.tls.cert_file"},
	{name: "SOKETI_SSL_KEY", key: "server.tls.key_file"},
	{name: "SOKETI_SHUTDOWN_GRACE_PERIOD", key: "server.shutdown_grace", convert: fromMilliseconds},
	{name: "SOKETI_ADAPTER_REDIS_PREFIX", key: "cluster.redis.prefix"},
	{name: "SOKETI_METRICS_ENABLED", key: "metrics.enabled", convert: fromSwitch},
	{name: "SOKETI_DEBUG", key: "log.level", convert: fromDebug},
	{name: "SOKETI_CHANNEL_LIMITS_MAX_NAME_LENGTH", key: "apps[].max_channel_name"},
	{name: "SOKETI_CHANNEL_CACHE_TTL", key: "apps[].cache_ttl", convert: fromSeconds},
	{name: "SOKETI_EVENT_MAX_BATCH_SIZE", key: "apps[].max_batch_events"},
	{name: "SOKETI_EVENT_MAX_CHANNELS_AT_ONCE", key: "apps[].max_channels_per_event"},
	{name: "SOKETI_EVENT_MAX_SIZE_IN_KB", key: "apps[].max_event_bytes", convert: fromKiB},
	{name: "SOKETI_PRESENCE_MAX_MEMBERS", key: "apps[].max_presence_members"},
	{name: "SOKETI_PRESENCE_MAX_MEMBER_SIZE", key: "apps[].max_presence_user_bytes", convert: fromKiB},
	{name: "SOKETI_DEFAULT_APP_ENABLED", key: "apps[].enabled", convert: fromSwitch},
	{name: "SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES", key: "apps[].client_events", convert: fromClientMessages},
	{name: "SOKETI_DEFAULT_APP_MAX_CONNS", key: "apps[].max_connections", convert: fromLimit},
	{name: "SOKETI_DEFAULT_APP_MAX_CONNECTIONS", key: "apps[].max_connections", convert: fromLimit},
	{name: "SOKETI_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SEC", key: "apps[].client_event_rate", convert: fromLimit},
	{name: "SOKETI_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SECOND", key: "apps[].client_event_rate", convert: fromLimit},
}

// composed are variables that set a key together, one after another by
// precedence; see environment.go.
var composed = []struct{ names, key string }{
	{"BELFRY_LISTEN", "server.listen"},
	{"REVERB_SERVER_HOST REVERB_SERVER_PORT", "server.listen"},
	{"SOKETI_HOST SOKETI_PORT", "server.listen"},
	{"PORT", "server.listen"},
	{"BELFRY_APP_ID BELFRY_APP_KEY BELFRY_APP_SECRET", "apps[]"},
	{"REVERB_APP_ID REVERB_APP_KEY REVERB_APP_SECRET", "apps[]"},
	{"PUSHER_APP_ID PUSHER_APP_KEY PUSHER_APP_SECRET", "apps[]"},
	{"SOKETI_DEFAULT_APP_ID SOKETI_DEFAULT_APP_KEY SOKETI_DEFAULT_APP_SECRET", "apps[]"},
	{"REVERB_APP_RATE_LIMITING_ENABLED REVERB_APP_RATE_LIMIT_MAX_ATTEMPTS REVERB_APP_RATE_LIMIT_DECAY_SECONDS", "apps[].message_rate"},
	{"SOKETI_DEFAULT_APP_USER_AUTHENTICATION SOKETI_DEFAULT_APP_ENABLE_USER_AUTHENTICATION SOKETI_USER_AUTHENTICATION_TIMEOUT", "apps[].require_signin"},
	{"SOKETI_DEFAULT_APP_WEBHOOKS", "apps[].webhooks"},
	{"REVERB_SCALING_ENABLED REDIS_URL REDIS_HOST REDIS_PORT REDIS_USERNAME REDIS_PASSWORD REDIS_DB", "cluster"},
	{"SOKETI_ADAPTER_DRIVER SOKETI_DB_REDIS_HOST SOKETI_DB_REDIS_PORT SOKETI_DB_REDIS_USERNAME SOKETI_DB_REDIS_PASSWORD SOKETI_DB_REDIS_DB", "cluster"},
	{"SOKETI_METRICS_HOST SOKETI_METRICS_SERVER_PORT SOKETI_METRICS_ENABLED", "metrics.listen"},
}

// others are variables of Laravel that are for its own side, and of other parts of Belfry,
// which need no word.
var others = []string{
	"BELFRY_CONFIG",   // of the command line
	"BELFRY_HANDOVER", // of package handover
	"REVERB_HOST", "REVERB_PORT", "REVERB_SCHEME", "REVERB_SERVER", "REVERB_PULSE_INGEST_INTERVAL", "REVERB_TELESCOPE_INGEST_INTERVAL",
	"PUSHER_HOST", "PUSHER_PORT", "PUSHER_SCHEME", "PUSHER_APP_CLUSTER", "PUSHER_CLUSTER",
}

// unequal are variables whose wish is not granted, with what to do instead. A
// name may end in *.
var unequal = []struct {
	name   string
	when   func(value string) bool // the wish is one; nil: whatever the value
	advice string
}{
	{"REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM", func(v string) bool { return v == "all" }, "all is not offered: the members of a private or presence channel may send client events to it"},
	{"REVERB_APP_RATE_LIMIT_TERMINATE", isOn, "a client over its rate is never disconnected: its messages are dropped with error 4301"},
	{"REVERB_APP_ALLOWED_ORIGINS", nil, "set allowed_origins of the app in a configuration file"},
	{"REVERB_ALLOWED_ORIGINS", nil, "set allowed_origins of the app in a configuration file"},
	{"REVERB_TLS_*", nil, "set server.tls in a configuration file"},
	{"PUSHER_KEY", nil, "set PUSHER_APP_KEY, and with it PUSHER_APP_ID and PUSHER_APP_SECRET"},
	{"PUSHER_SECRET", nil, "set PUSHER_APP_SECRET, and with it PUSHER_APP_ID and PUSHER_APP_KEY"},
	{"SOKETI_CORS_*", nil, "set allowed_origins of the app in a configuration file"},
	{"SOKETI_ADAPTER_DRIVER", func(v string) bool { return v != "local" && v != "redis" }, "only local and redis are offered: set cluster.driver: redis for several servers"},
	{"SOKETI_DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SEC*", func(v string) bool { return !strings.HasPrefix(v, "-") }, "set api_request_rate of the app in a configuration file"},
	{"SOKETI_DEFAULT_APP_MAX_READ_REQ_PER_SEC*", func(v string) bool { return !strings.HasPrefix(v, "-") }, "set api_request_rate of the app in a configuration file"},
	{"SOKETI_EVENT_MAX_NAME_LENGTH", nil, "set max_channel_name of the app in a configuration file, which is for both"},
	{"SOKETI_APP_MANAGER_DRIVER", func(v string) bool { return v != "array" }, "set apps_from in a configuration file"},
	{"SOKETI_APP_MANAGER_*", nil, "set apps_from in a configuration file"},
	{"SOKETI_DB_REDIS_*", nil, "set cluster.redis.url in a configuration file, which may name Sentinels and the nodes of a Redis Cluster"},
	{"SOKETI_DB_*", nil, "set apps_from in a configuration file"},
	{"SOKETI_CLUSTER_*", nil, "set cluster.driver: redis in a configuration file for several servers"},
	{"SOKETI_ADAPTER_NATS_*", nil, "set cluster.driver: redis in a configuration file for several servers"},
	{"SOKETI_CACHE_*", nil, "set nothing instead: it needs no cache"},
	{"SOKETI_QUEUE_*", nil, "set nothing instead: it needs no queue; webhooks.spool in a configuration file keeps webhooks over a restart"},
	{"SOKETI_RATE_LIMITER_*", nil, "set nothing instead: every server counts by itself"},
	{"SOKETI_WEBHOOKS_BATCHING*", nil, "set nothing instead: webhooks always come in batches"},
	{"SOKETI_HTTP_ACCEPT_TRAFFIC_MEMORY_THRESHOLD", nil, "set server.max_connections in a configuration file"},
	{"SOKETI_SSL_*", nil, "set server.tls in a configuration file: the key must have no passphrase, the certificate its chain"},
}

func isOn(v string) bool { return v != "" && v != "0" && !strings.EqualFold(v, "false") }

func fromSwitch(v string) (string, string) { return strconv.FormatBool(isOn(v)), "" }

func fromDebug(v string) (string, string) {
	if isOn(v) {
		return "debug", ""
	}
	return "info", ""
}

func fromClientMessages(v string) (string, string) {
	if isOn(v) {
		return ClientEventsMembers, ""
	}
	return ClientEventsNone, ""
}

func fromAudience(v string) (string, string) {
	if v == "all" {
		v = ClientEventsMembers
	}
	return v, ""
}

// fromLimit takes what is below zero for no limit, as Soketi does.
func fromLimit(v string) (string, string) {
	if n, err := strconv.Atoi(v); err == nil && n < 0 {
		v = "0"
	}
	return v, ""
}

// fromSeconds and the like also accept a decimal fraction, as PHP and Node do.
// Those of seconds round up: no timeout becomes shorter than asked for, or 0.
func fromSeconds(v string) (string, string) {
	return wholeSeconds(v + "s"), numberProblem(v, "a number of seconds such as 60")
}

func fromMilliseconds(v string) (string, string) {
	return v + "ms", numberProblem(v, "a number of milliseconds such as 3000")
}

func secondsFromMilliseconds(v string) (string, string) {
	v, problem := fromMilliseconds(v)
	return wholeSeconds(v), problem
}

// wholeSeconds leaves what is no duration as it is.
func wholeSeconds(v string) string {
	d, err := time.ParseDuration(v)
	if err != nil {
		return v
	}
	return (d + time.Second - 1).Truncate(time.Second).String()
}

func fromKiB(v string) (string, string) {
	n, _ := strconv.ParseFloat(v, 64)
	if problem := numberProblem(v, "a number of kilobytes such as 100"); problem != "" {
		return "", problem
	}
	return strconv.FormatInt(int64(min(n, maxLimit)*1024), 10), ""
}

func numberProblem(v, want string) string {
	if _, err := strconv.ParseFloat(v, 64); err != nil || strings.Trim(v, "0123456789.") != "" {
		return "is not a number: give " + want
	}
	return ""
}
