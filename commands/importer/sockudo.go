package importer

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"belfry/server/config"
)

// Why what only Sockudo has is not taken.
var (
	ownProtocol = unsupported("it is for Sockudo's own protocol, which pusher-js and Echo do not speak")
	noPush      = unsupported("push notifications")
	noAbly      = unsupported("the protocol of Ably")
	noAI        = unsupported("AI transport")
	oneDriver   = unsupported("only redis connects several servers: set cluster.driver: redis")
	inRedis     = notNeeded("Redis knows the nodes, and they do not ask each other")
	noCache     = notNeeded("cache channels and idempotency keys are kept in memory, or in the Redis of the cluster")
	noQueue     = notNeeded("each server delivers its webhooks itself; webhooks.spool keeps them over a restart")
	noPool      = notNeeded("the pool is small and fixed: apps are kept in memory")
	noCORS      = notNeeded("browsers do not call the HTTP API; apps[].allowed_origins says which pages may connect")
	noPing      = notNeeded("the server pings by itself, see apps[].ping_interval")
	retries     = notNeeded("webhooks are retried for five minutes, from one second to one minute apart")
	batches     = notNeeded("webhooks always come in batches")
	noTLSFiles  = otherwise("certificates of Redis are verified by the system's authorities, or those in the file that SSL_CERT_FILE names")
	rateOfAll   = otherwise("apps[].api_request_rate is for all requests together; a limit for one kind of them is not taken")
	rateOfApp   = otherwise("apps[].api_request_rate is for an app and a second, not for an address")
	hops        = otherwise("server.trusted_proxies names the proxies whose X-Forwarded-For is believed")
	terminates  = unsupported("a client over its rate stays connected: what is over it is dropped with error 4301")
	noNamespace = unsupported("namespaces: a channel's name has no colon here")
	inDocsOnly  = unsupported("Sockudo's documentation has it, Sockudo itself does not read it")
)

// sockudo is Sockudo 5.0: its options (crates/sockudo-core/src/options, app.rs and
// webhook_types.rs), the variables that it reads, and what only its documentation has.
var sockudo = &server{
	name:    "Sockudo",
	expands: true,
	rows: []row{
		{key: "host", initial: "0.0.0.0", ours: "server.listen", composed: true},
		{key: "port", initial: "6001", ours: "server.listen", composed: true},
		{key: "path_prefix", initial: "/", ours: "server.path"},
		{key: "max_connections", initial: "0", ours: "server.max_connections", as: asLimit},
		{key: "ssl.enabled", initial: "false", ours: "server.tls.cert_file", composed: true},
		{key: "ssl.cert_path", ours: "server.tls.cert_file", composed: true},
		{key: "ssl.key_path", ours: "server.tls.key_file", composed: true},
		{key: "ssl.passphrase", why: unsupported("take the passphrase off the key: openssl pkey -in KEY -out NEW")},
		{key: "ssl.ca_path", why: otherwise("server.tls.cert_file has the certificate and the chain behind it: append the file to that")},
		{key: "ssl.redirect_http", initial: "false", ours: "server.redirect_http", composed: true},
		{key: "ssl.http_port", initial: "80", ours: "server.redirect_http", composed: true},
		{key: "unix_socket.enabled", initial: "false", why: unsupported("a Unix socket: set server.listen to 127.0.0.1 and a port, and the proxy to that")},
		{key: "unix_socket.path", initial: "/var/run/sockudo/sockudo.sock", why: unsupported("a Unix socket: set server.listen to 127.0.0.1 and a port, and the proxy to that")},
		{key: "unix_socket.permission_mode", initial: "660", why: unsupported("a Unix socket: set server.listen to 127.0.0.1 and a port, and the proxy to that")},
		{key: "shutdown_grace_period", initial: "10", ours: "server.shutdown_grace", as: asSeconds},
		{key: "debug", initial: "false", ours: "log.level", as: asLevel},
		{key: "logging.colors_enabled", initial: "true", why: notNeeded("the log has no colors")},
		{key: "logging.include_target", initial: "true", why: notNeeded("an entry of the log says what it is about")},
		{key: "logging.output_format", initial: "human", ours: "log.format", as: asLogFormat},
		{key: "logging.filter", why: otherwise("log.level is for the whole log: debug, info, warn or error")},
		{key: "mode", initial: "production", why: notNeeded("there is one mode")},
		{key: "server_role", initial: "default", why: unsupported("a role: each server takes clients and the requests of backends")},
		{key: "instance.process_id", why: notNeeded("nodes name themselves")},
		{key: "health_check_timeout_ms", initial: "2000", why: notNeeded("/ready answers at once")},
		{key: "http_api.request_limit_in_mb", initial: "10", ours: "server.max_request_bytes", composed: true},
		{key: "http_api.accept_traffic.memory_threshold", initial: "0.9", why: otherwise("server.max_connections and the limits of bytes bound the memory; /ready stays 200")},
		{key: "http_api.usage_enabled", initial: "true", why: notNeeded("the metrics have what /usage tells")},

		{key: "activity_timeout", initial: "120", ours: "apps[].activity_timeout", as: asSeconds},
		{key: "websocket_max_payload_kb", initial: "64", ours: "apps[].max_message_bytes", as: asKiB},
		{key: "websocket.max_bytes", ours: "server.max_outbox_bytes", composed: true},
		{key: "websocket.max_messages", initial: "1000", why: otherwise("server.max_outbox_bytes bounds what waits for a client, in bytes")},
		{key: "websocket.disconnect_on_buffer_full", initial: "true", why: otherwise("a client that is behind is always closed with 4100: it comes back, and nothing is left out unseen")},
		{key: "websocket.max_message_size", initial: "67108864", why: otherwise("apps[].max_message_bytes, as websocket_max_payload_kb has it")},
		{key: "websocket.max_frame_size", initial: "16777216", why: otherwise("apps[].max_message_bytes, as websocket_max_payload_kb has it")},
		{key: "websocket.write_buffer_size", initial: "16384", why: notNeeded("buffers have a fixed size")},
		{key: "websocket.max_backpressure", initial: "1048576", why: otherwise("server.max_outbox_bytes bounds what waits for a client")},
		{key: "websocket.auto_ping", initial: "true", why: noPing},
		{key: "websocket.ping_interval", initial: "30", why: noPing},
		{key: "websocket.idle_timeout", initial: "120", why: noPing},
		{key: "websocket.compression", initial: "disabled", why: unsupported("compression of WebSocket messages")},

		{key: "adapter.driver", initial: "local", ours: "cluster.driver", composed: true, why: oneDriver},
		{key: "adapter.redis.prefix", initial: "sockudo_adapter:", ours: "cluster.redis.prefix", composed: true},
		{key: "adapter.redis.redis_pub_options.url", ours: "cluster.redis.url", composed: true},
		{key: "adapter.redis.redis_sub_options.url", ours: "cluster.redis.url", composed: true},
		{key: "adapter.redis.redis_pub_options.*", why: otherwise("what the connection needs stands in cluster.redis.url, see docs/scaling.md")},
		{key: "adapter.redis.redis_sub_options.*", why: otherwise("what the connection needs stands in cluster.redis.url, see docs/scaling.md")},
		{key: "adapter.redis.cluster_mode", initial: "false", ours: "cluster.redis.url", composed: true},
		{key: "adapter.redis.requests_timeout", initial: "5000", why: inRedis},
		{key: "adapter.redis.host", why: inDocsOnly},
		{key: "adapter.redis.port", why: inDocsOnly},
		{key: "adapter.cluster.nodes", initial: "[]", ours: "cluster.redis.url", composed: true},
		{key: "adapter.cluster.prefix", initial: "sockudo_adapter:", ours: "cluster.redis.prefix", composed: true},
		{key: "adapter.cluster.request_timeout_ms", initial: "1000", why: inRedis},
		{key: "adapter.cluster.use_connection_manager", initial: "true", why: notNeeded("connections are made anew in any case")},
		{key: "adapter.cluster.use_sharded_pubsub", initial: "false", why: notNeeded("sharded Pub/Sub is used with Redis Cluster")},
		{key: "adapter.cluster.tls.enabled", initial: "false", ours: "cluster.redis.url", composed: true},
		{key: "adapter.cluster.tls.*", why: noTLSFiles},
		{key: "adapter.nats.*", only: "adapter.driver=nats", why: oneDriver},
		{key: "adapter.pulsar.*", only: "adapter.driver=pulsar", why: oneDriver},
		{key: "adapter.rabbitmq.*", only: "adapter.driver=rabbitmq", why: oneDriver},
		{key: "adapter.google_pubsub.*", only: "adapter.driver=google-pubsub", why: oneDriver},
		{key: "adapter.kafka.*", only: "adapter.driver=kafka", why: oneDriver},
		{key: "adapter.iggy.*", only: "adapter.driver=iggy", why: oneDriver},
		{key: "adapter.buffer_multiplier_per_cpu", initial: "64", why: notNeeded("buffers have a fixed size")},
		{key: "adapter.cluster_health.*", why: inRedis},
		{key: "adapter.enable_socket_counting", initial: "true", why: notNeeded("counts are known at any time")},
		{key: "adapter.fallback_to_local", initial: "true", why: notNeeded("a server goes on for its own clients while Redis is away, and /ready says so")},
		{key: "adapter.aggregate_counts", initial: "false", why: notNeeded("counts are known at any time")},
		{key: "adapter.fast_presence_transitions", initial: "false", why: notNeeded("the members of all servers are known at any time")},
		{key: "cluster_health.*", why: inRedis},
		{key: "cleanup.*", why: notNeeded("a connection that ends is cleaned up at once")},

		{key: "database.redis.host", initial: "127.0.0.1", ours: "cluster.redis.url", composed: true},
		{key: "database.redis.port", initial: "6379", ours: "cluster.redis.url", composed: true},
		{key: "database.redis.db", initial: "0", ours: "cluster.redis.url", composed: true},
		{key: "database.redis.username", ours: "cluster.redis.url", composed: true},
		{key: "database.redis.password", ours: "cluster.redis.url", composed: true},
		{key: "database.redis.key_prefix", initial: "sockudo:", why: otherwise("cluster.redis.prefix begins all keys and channels")},
		{key: "database.redis.sentinels", initial: "[]", ours: "cluster.redis.url", composed: true},
		{key: "database.redis.sentinel_username", ours: "cluster.redis.url", composed: true},
		{key: "database.redis.sentinel_password", ours: "cluster.redis.url", composed: true},
		{key: "database.redis.name", initial: "mymaster", ours: "cluster.redis.url", composed: true},
		{key: "database.redis.sentinel_tls.enabled", initial: "false", ours: "cluster.redis.url", composed: true, why: otherwise("Sentinels and Redis have TLS together, by rediss:// in cluster.redis.url")},
		{key: "database.redis.sentinel_tls.*", why: noTLSFiles},
		{key: "database.redis.master_tls.enabled", initial: "false", ours: "cluster.redis.url", composed: true},
		{key: "database.redis.master_tls.*", why: noTLSFiles},
		{key: "database.redis.cluster.nodes", initial: "[]", ours: "cluster.redis.url", composed: true},
		{key: "database.redis.cluster.username", ours: "cluster.redis.url", composed: true},
		{key: "database.redis.cluster.password", ours: "cluster.redis.url", composed: true},
		{key: "database.redis.cluster.use_tls", initial: "false", ours: "cluster.redis.url", composed: true},
		{key: "database.redis.cluster.useTLS", initial: "false", ours: "cluster.redis.url", composed: true},
		{key: "database.redis.cluster_nodes", initial: "[]", ours: "cluster.redis.url", composed: true},

		{key: "app_manager.driver", initial: "memory", ours: "apps_from.url", composed: true},
		{key: "app_manager.array.apps", ours: "apps", composed: true},
		{key: "app_manager.cache.enabled", initial: "true", ours: "apps_from.ttl", composed: true},
		{key: "app_manager.cache.ttl", initial: "300", ours: "apps_from.ttl", composed: true},
		{key: "app_manager.scylladb.*", only: "app_manager.driver=scylladb", why: unsupported("apps are not read from ScyllaDB: copy them to apps")},
		{key: "app_manager.register_inline_apps", initial: "true", ours: "apps", composed: true},
		{key: "database.mysql.host", initial: "localhost", ours: "apps_from.url", composed: true},
		{key: "database.mysql.port", initial: "3306", ours: "apps_from.url", composed: true},
		{key: "database.mysql.username", initial: "root", ours: "apps_from.url", composed: true},
		{key: "database.mysql.password", ours: "apps_from.url", composed: true},
		{key: "database.mysql.database", initial: "sockudo", ours: "apps_from.url", composed: true},
		{key: "database.mysql.table_name", initial: "applications", ours: "apps_from.table", composed: true},
		{key: "database.mysql.*", why: noPool},
		{key: "database.postgres.host", initial: "localhost", ours: "apps_from.url", composed: true},
		{key: "database.postgres.port", initial: "5432", ours: "apps_from.url", composed: true},
		{key: "database.postgres.username", initial: "root", ours: "apps_from.url", composed: true},
		{key: "database.postgres.password", ours: "apps_from.url", composed: true},
		{key: "database.postgres.database", initial: "sockudo", ours: "apps_from.url", composed: true},
		{key: "database.postgres.table_name", initial: "applications", ours: "apps_from.table", composed: true},
		{key: "database.postgres.*", why: noPool},
		{key: "database.dynamodb.*", only: "app_manager.driver=dynamodb", why: unsupported("DynamoDB: copy the apps to apps, or answer for them by https in apps_from.url")},
		{key: "database.surrealdb.*", only: "app_manager.driver=surrealdb", why: unsupported("SurrealDB: copy the apps to apps, or answer for them by https in apps_from.url")},
		{key: "database.scylladb.*", only: "app_manager.driver=scylladb", why: unsupported("ScyllaDB: copy the apps to apps, or answer for them by https in apps_from.url")},
		{key: "database_pooling.*", why: noPool},

		{key: "metrics.enabled", initial: "true", ours: "metrics.enabled", composed: true},
		{key: "metrics.host", initial: "0.0.0.0", ours: "metrics.listen", composed: true},
		{key: "metrics.port", initial: "9601", ours: "metrics.listen", composed: true},
		{key: "metrics.driver", initial: "prometheus", why: notNeeded("metrics are for Prometheus")},
		{key: "metrics.prometheus.prefix", initial: "sockudo_", why: unsupported("the names of metrics are those of docs/metrics.md: dashboards and alerts change with them")},
		{key: "metrics.tcp_exporter.enabled", initial: "false", why: unsupported("metrics by TCP: Prometheus fetches them")},
		{key: "metrics.tcp_exporter.host", initial: "127.0.0.1", why: unsupported("metrics by TCP: Prometheus fetches them")},
		{key: "metrics.tcp_exporter.port", initial: "5000", why: unsupported("metrics by TCP: Prometheus fetches them")},
		{key: "metrics.tcp_exporter.buffer_size", initial: "1024", why: unsupported("metrics by TCP: Prometheus fetches them")},
		{key: "cors.*", why: noCORS},
		{key: "rate_limiter.enabled", initial: "true", ours: "apps[].connect_rate_per_address", composed: true},
		{key: "rate_limiter.websocket_rate_limit.max_requests", initial: "20", ours: "apps[].connect_rate_per_address", composed: true},
		{key: "rate_limiter.websocket_rate_limit.window_seconds", initial: "60", ours: "apps[].connect_rate_per_address", composed: true},
		{key: "rate_limiter.websocket_rate_limit.identifier", initial: "websocket_connect", why: notNeeded("it names a counter")},
		{key: "rate_limiter.websocket_rate_limit.trust_hops", initial: "0", why: hops},
		{key: "rate_limiter.api_rate_limit.max_requests", initial: "100", why: rateOfApp},
		{key: "rate_limiter.api_rate_limit.window_seconds", initial: "60", why: rateOfApp},
		{key: "rate_limiter.api_rate_limit.identifier", initial: "api", why: notNeeded("it names a counter")},
		{key: "rate_limiter.api_rate_limit.trust_hops", initial: "0", why: hops},
		{key: "rate_limiter.driver", initial: "memory", why: notNeeded("every server counts by itself")},
		{key: "rate_limiter.redis.*", why: notNeeded("every server counts by itself")},
		{key: "rate_limiter.limits.*", why: inDocsOnly},

		{key: "channel_limits.max_name_length", initial: "200", ours: "apps[].max_channel_name", as: asCount},
		{key: "channel_limits.cache_ttl", initial: "3600", ours: "apps[].cache_ttl", as: asSeconds},
		{key: "event_limits.max_channels_at_once", initial: "100", ours: "apps[].max_channels_per_event", as: asCount},
		{key: "event_limits.max_name_length", initial: "200", ours: "apps[].max_channel_name", as: asCount, note: bothNames},
		{key: "event_limits.max_payload_in_kb", initial: "100", ours: "apps[].max_event_bytes", as: asKiB},
		{key: "event_limits.max_batch_size", initial: "10", ours: "apps[].max_batch_events", as: asCount},
		{key: "presence.max_members_per_channel", initial: "100", ours: "apps[].max_presence_members", as: asCount},
		{key: "presence.max_member_size_in_kb", initial: "2", ours: "apps[].max_presence_user_bytes", as: asKiB},
		{key: "presence.update_rate_limit_per_member_per_second", initial: "10", why: ownProtocol},
		{key: "presence.ungraceful_timeout_seconds", initial: "0", why: otherwise("webhooks give a member three seconds to come back; subscribers are told at once")},
		{key: "presence.v2_ungraceful_timeout_seconds", initial: "15", why: ownProtocol},
		{key: "user_authentication_timeout", initial: "3600", ours: "apps[].require_signin", composed: true},

		{key: "cache.*", why: noCache},
		{key: "queue.*", why: noQueue},
		{key: "webhooks.batching.enabled", initial: "true", why: batches},
		{key: "webhooks.batching.duration", initial: "50", why: batches},
		{key: "webhooks.batching.size", initial: "100", why: batches},
		{key: "webhooks.retry.enabled", initial: "true", why: retries},
		{key: "webhooks.retry.max_attempts", why: retries},
		{key: "webhooks.retry.max_elapsed_time_ms", initial: "300000", why: retries},
		{key: "webhooks.retry.initial_backoff_ms", initial: "1000", why: retries},
		{key: "webhooks.retry.max_backoff_ms", initial: "60000", why: retries},
		{key: "webhooks.request_timeout_ms", initial: "10000", why: notNeeded("an endpoint has ten seconds to answer")},
		{key: "webhooks.enabled", why: inDocsOnly},
		{key: "webhooks.batching_enabled", why: inDocsOnly},
		{key: "webhooks.max_batch_size", why: inDocsOnly},
		{key: "webhooks.flush_interval_ms", why: inDocsOnly},
		{key: "webhooks.timeout_ms", why: inDocsOnly},

		{key: "history.enabled", initial: "false", ours: "apps[].history", composed: true},
		{key: "history.retention_window_seconds", initial: "86400", ours: "apps[].history", composed: true},
		{key: "history.max_messages_per_channel", ours: "apps[].history", composed: true},
		{key: "history.*", why: otherwise("apps[].history: kept in memory up to server.max_history_bytes, or in the Redis of the cluster; not in a database")},
		{key: "connection_recovery.enabled", initial: "false", ours: "apps[].history", composed: true},
		{key: "connection_recovery.buffer_ttl_seconds", initial: "120", ours: "apps[].history", composed: true},
		{key: "connection_recovery.max_buffer_size", initial: "100", ours: "apps[].history", composed: true},
		{key: "recovery.*", why: inDocsOnly},
		{key: "idempotency.enabled", initial: "false", why: notNeeded("an event with an idempotency key is published once in five minutes")},
		{key: "idempotency.ttl_seconds", initial: "120", why: notNeeded("an event with an idempotency key is published once in five minutes")},
		{key: "idempotency.max_key_length", initial: "128", why: notNeeded("an idempotency key has up to 128 characters")},
		{key: "presence_history.*", why: unsupported("a history of members: webhooks tell of them")},
		{key: "delta_compression.*", why: ownProtocol},
		{key: "delta.*", why: inDocsOnly},
		{key: "tag_filtering.*", why: ownProtocol},
		{key: "ephemeral.*", why: ownProtocol},
		{key: "echo_control.*", why: ownProtocol},
		{key: "event_name_filtering.*", why: ownProtocol},
		{key: "versioned_messages.*", why: ownProtocol},
		{key: "annotations.*", why: ownProtocol},
		{key: "ai_transport.*", why: noAI},
		{key: "push.*", why: noPush},
		{key: "push_rules", why: noPush},
		{key: "ably_compat.*", why: noAbly},
	},
	app:       sockudoApp,
	webhook:   sockudoWebhook,
	prefixes:  []string{"SOCKUDO_"},
	foreign:   reason{"unknown", "no variable of Sockudo"},
	variables: sockudoVariables,
	apps:      "app_manager.array.apps",
	groups:    []string{"limits", "features", "channels"},
	compose:   composeSockudo,
	filter:    [2]string{"filter.channel_prefix", "filter.channel_suffix"},
}

var sockudoApp = []row{
	{key: "id", ours: "apps[].id", composed: true},
	{key: "key", ours: "apps[].key", composed: true},
	{key: "secret", ours: "apps[].secret", composed: true},
	{key: "enabled", initial: "false", ours: "apps[].enabled", as: asSwitch},
	{key: "max_connections", initial: "0", ours: "apps[].max_connections", as: asLimit},
	{key: "max_client_events_per_second", initial: "0", ours: "apps[].client_event_rate", composed: true},
	{key: "decay_seconds", initial: "1", ours: "apps[].client_event_rate", composed: true},
	{key: "max_backend_events_per_second", ours: "apps[].api_request_rate", composed: true, why: rateOfAll},
	{key: "max_read_requests_per_second", ours: "apps[].api_request_rate", composed: true, why: rateOfAll},
	{key: "max_presence_members_per_channel", ours: "apps[].max_presence_members", as: asCount},
	{key: "max_presence_member_size_in_kb", ours: "apps[].max_presence_user_bytes", as: asKiB},
	{key: "max_channel_name_length", ours: "apps[].max_channel_name", as: asCount},
	{key: "max_event_channels_at_once", ours: "apps[].max_channels_per_event", as: asCount},
	{key: "max_event_name_length", ours: "apps[].max_channel_name", as: asCount, note: bothNames},
	{key: "max_event_payload_in_kb", ours: "apps[].max_event_bytes", as: asKiB},
	{key: "max_event_batch_size", ours: "apps[].max_batch_events", as: asCount},
	{key: "terminate_on_limit", initial: "false", why: terminates},
	{key: "message_rate_limit.enabled", initial: "false", ours: "apps[].message_rate", composed: true},
	{key: "message_rate_limit.max_attempts", initial: "60", ours: "apps[].message_rate", composed: true},
	{key: "message_rate_limit.decay_seconds", initial: "60", ours: "apps[].message_rate", composed: true},
	{key: "message_rate_limit.terminate_on_limit", initial: "false", why: terminates},
	{key: "enable_client_messages", initial: "false", ours: "apps[].client_events", as: asClientEvents},
	{key: "enable_user_authentication", initial: "false", ours: "apps[].require_signin", composed: true},
	{key: "enable_watchlist_events", initial: "false", why: notNeeded("a user who signs in with a watchlist is told of it")},
	{key: "allowed_origins", ours: "apps[].allowed_origins", composed: true},
	{key: "annotations_enabled", initial: "false", why: ownProtocol},
	{key: "channel_delta_compression", why: ownProtocol},
	{key: "channel_namespaces", initial: "[]", why: noNamespace},
	{key: "webhooks", initial: "[]", ours: "apps[].webhooks", composed: true},
	{key: "idempotency.*", why: notNeeded("an event with an idempotency key is published once in five minutes")},
	{key: "connection_recovery.enabled", ours: "apps[].history", composed: true},
	{key: "connection_recovery.buffer_ttl_seconds", ours: "apps[].history", composed: true},
	{key: "connection_recovery.max_buffer_size", ours: "apps[].history", composed: true},
	{key: "history.enabled", ours: "apps[].history", composed: true},
	{key: "history.rewind_enabled", why: otherwise("apps[].history[].rewind gives new subscribers the last events")},
	{key: "history.retention_window_seconds", ours: "apps[].history", composed: true},
	{key: "history.max_messages_per_channel", ours: "apps[].history", composed: true},
	{key: "history.max_bytes_per_channel", why: otherwise("server.max_history_bytes bounds all histories together")},
	{key: "presence_history.*", why: unsupported("a history of members: webhooks tell of them")},
}

var sockudoWebhook = []row{
	{key: "url", ours: "apps[].webhooks[].url", composed: true},
	{key: "event_types", ours: "apps[].webhooks[].events", composed: true},
	{key: "headers", ours: "apps[].webhooks[].headers", composed: true},
	{key: "filter.channel_prefix", ours: "apps[].webhooks[].filter.channel_prefix", composed: true},
	{key: "filter.channel_suffix", ours: "apps[].webhooks[].filter.channel_suffix", composed: true},
	{key: "filter.channel_pattern", why: unsupported("a filter by a pattern: filter by channel_prefix and channel_suffix, or in the endpoint")},
	{key: "filter.channel_namespace", why: noNamespace},
	{key: "filter.channel_namespaces", why: noNamespace},
	{key: "retry.*", why: retries},
	{key: "request_timeout_ms", why: notNeeded("an endpoint has ten seconds to answer")},
	{key: "lambda_function", why: unsupported("AWS Lambda: give the function a URL, and set webhooks[].url to it")},
	{key: "lambda.*", why: unsupported("AWS Lambda: give the function a URL, and set webhooks[].url to it")},
}

var sockudoVariables = []variable{
	{"HOST", "host"}, {"PORT", "port"},
	{"ENVIRONMENT", "mode"}, {"DEBUG", "debug"}, {"DEBUG_MODE", "debug"},
	{"ACTIVITY_TIMEOUT", "activity_timeout"},
	{"SHUTDOWN_GRACE_PERIOD", "shutdown_grace_period"},
	{"USER_AUTHENTICATION_TIMEOUT", "user_authentication_timeout"},
	{"WEBSOCKET_MAX_PAYLOAD_KB", "websocket_max_payload_kb"},
	{"SOCKUDO_MAX_CONNECTIONS", "max_connections"},
	{"INSTANCE_PROCESS_ID", "instance.process_id"}, {"HOSTNAME", "instance.process_id"},
	{"SOCKUDO_SERVER_ROLE", "server_role"},
	{"HEALTH_CHECK_TIMEOUT_MS", "health_check_timeout_ms"},
	{"HTTP_API_USAGE_ENABLED", "http_api.usage_enabled"},
	{"RUST_LOG", "logging.filter"}, {"SOCKUDO_LOG_DEBUG", "logging.filter"}, {"SOCKUDO_LOG_PROD", "logging.filter"}, {"LOG_LEVEL", "logging.filter"},
	{"LOG_OUTPUT_FORMAT", "logging.output_format"},
	{"LOG_COLORS_ENABLED", "logging.colors_enabled"}, {"LOG_INCLUDE_TARGET", "logging.include_target"},
	{"ADAPTER_DRIVER", "adapter.driver"},
	{"ADAPTER_BUFFER_MULTIPLIER_PER_CPU", "adapter.buffer_multiplier_per_cpu"},
	{"ADAPTER_ENABLE_SOCKET_COUNTING", "adapter.enable_socket_counting"},
	{"ADAPTER_AGGREGATE_COUNTS", "adapter.aggregate_counts"},
	{"ADAPTER_FAST_PRESENCE_TRANSITIONS", "adapter.fast_presence_transitions"},
	{"ADAPTER_FALLBACK_TO_LOCAL", "adapter.fallback_to_local"},
	{"ADAPTER_IGGY_*", "adapter.iggy.*"},
	{"CACHE_TTL_SECONDS", "channel_limits.cache_ttl"}, {"CACHE_*", "cache.*"},
	{"QUEUE_*", "queue.*"},
	{"APP_MANAGER_DRIVER", "app_manager.driver"},
	{"APP_MANAGER_REGISTER_INLINE_APPS", "app_manager.register_inline_apps"},
	{"SOCKUDO_SKIP_INLINE_APPS", "app_manager.register_inline_apps"},
	{"RATE_LIMITER_DRIVER", "rate_limiter.driver"},
	{"REDIS_URL", "adapter.redis.redis_pub_options.url"},
	{"DATABASE_REDIS_HOST", "database.redis.host"}, {"DATABASE_REDIS_PORT", "database.redis.port"}, {"DATABASE_REDIS_DB", "database.redis.db"},
	{"DATABASE_REDIS_USERNAME", "database.redis.username"}, {"DATABASE_REDIS_PASSWORD", "database.redis.password"},
	{"DATABASE_REDIS_KEY_PREFIX", "database.redis.key_prefix"},
	{"DATABASE_REDIS_SENTINEL_USERNAME", "database.redis.sentinel_username"}, {"DATABASE_REDIS_SENTINEL_PASSWORD", "database.redis.sentinel_password"},
	{"DATABASE_REDIS_SENTINEL_TLS_*", "database.redis.sentinel_tls.*"},
	{"DATABASE_REDIS_MASTER_TLS_*", "database.redis.master_tls.*"},
	{"DATABASE_REDIS_CLUSTER_NODES", "database.redis.cluster.nodes"}, {"REDIS_CLUSTER_NODES", "database.redis.cluster.nodes"},
	{"DATABASE_REDIS_CLUSTER_USERNAME", "database.redis.cluster.username"}, {"DATABASE_REDIS_CLUSTER_PASSWORD", "database.redis.cluster.password"},
	{"DATABASE_REDIS_CLUSTER_USE_TLS", "database.redis.cluster.use_tls"},
	{"REDIS_CLUSTER_QUEUE_*", "queue.redis_cluster.*"},
	{"DATABASE_MYSQL_HOST", "database.mysql.host"}, {"DATABASE_MYSQL_PORT", "database.mysql.port"},
	{"DATABASE_MYSQL_USERNAME", "database.mysql.username"}, {"DATABASE_MYSQL_PASSWORD", "database.mysql.password"},
	{"DATABASE_MYSQL_DATABASE", "database.mysql.database"}, {"DATABASE_MYSQL_TABLE_NAME", "database.mysql.table_name"},
	{"DATABASE_MYSQL_*", "database.mysql.*"},
	{"DATABASE_POSTGRES_HOST", "database.postgres.host"}, {"DATABASE_POSTGRES_PORT", "database.postgres.port"},
	{"DATABASE_POSTGRES_USERNAME", "database.postgres.username"}, {"DATABASE_POSTGRES_USER", "database.postgres.username"},
	{"DATABASE_POSTGRES_PASSWORD", "database.postgres.password"}, {"DATABASE_POSTGRES_DATABASE", "database.postgres.database"},
	{"DATABASE_POSTGRES_*", "database.postgres.*"},
	{"DATABASE_POOLING_ENABLED", "database_pooling.enabled"}, {"DATABASE_POOL_*", "database_pooling.*"}, {"DATABASE_CONNECTION_POOL_SIZE", "database_pooling.size"},
	{"DATABASE_DYNAMODB_*", "database.dynamodb.*"}, {"AWS_*", "database.dynamodb.aws_*"},
	{"DATABASE_SURREALDB_*", "database.surrealdb.*"}, {"SCYLLADB_*", "database.scylladb.*"},
	{"SSL_ENABLED", "ssl.enabled"}, {"SSL_CERT_PATH", "ssl.cert_path"}, {"SSL_KEY_PATH", "ssl.key_path"},
	{"SSL_REDIRECT_HTTP", "ssl.redirect_http"}, {"SSL_HTTP_PORT", "ssl.http_port"},
	{"UNIX_SOCKET_ENABLED", "unix_socket.enabled"}, {"UNIX_SOCKET_PATH", "unix_socket.path"}, {"UNIX_SOCKET_PERMISSION_MODE", "unix_socket.permission_mode"},
	{"CORS_*", "cors.*"},
	{"METRICS_DRIVER", "metrics.driver"}, {"METRICS_ENABLED", "metrics.enabled"}, {"METRICS_HOST", "metrics.host"}, {"METRICS_PORT", "metrics.port"},
	{"METRICS_PROMETHEUS_PREFIX", "metrics.prometheus.prefix"},
	{"METRICS_TCP_EXPORTER_*", "metrics.tcp_exporter.*"},
	{"RATE_LIMITER_ENABLED", "rate_limiter.enabled"},
	{"RATE_LIMITER_API_MAX_REQUESTS", "rate_limiter.api_rate_limit.max_requests"},
	{"RATE_LIMITER_API_WINDOW_SECONDS", "rate_limiter.api_rate_limit.window_seconds"},
	{"RATE_LIMITER_API_TRUST_HOPS", "rate_limiter.api_rate_limit.trust_hops"},
	{"RATE_LIMITER_WS_MAX_REQUESTS", "rate_limiter.websocket_rate_limit.max_requests"},
	{"RATE_LIMITER_WS_WINDOW_SECONDS", "rate_limiter.websocket_rate_limit.window_seconds"},
	{"RATE_LIMITER_WS_TRUST_HOPS", "rate_limiter.websocket_rate_limit.trust_hops"},
	{"RATE_LIMITER_REDIS_PREFIX", "rate_limiter.redis.prefix"},
	{"PRESENCE_UPDATE_RATE_LIMIT_PER_MEMBER_PER_SECOND", "presence.update_rate_limit_per_member_per_second"},
	{"PRESENCE_UNGRACEFUL_TIMEOUT_SECONDS", "presence.ungraceful_timeout_seconds"},
	{"PRESENCE_V2_UNGRACEFUL_TIMEOUT_SECONDS", "presence.v2_ungraceful_timeout_seconds"},
	{"NATS_*", "adapter.nats.*"}, {"PULSAR_*", "adapter.pulsar.*"}, {"RABBITMQ_*", "adapter.rabbitmq.*"},
	{"GOOGLE_PUBSUB_*", "adapter.google_pubsub.*"}, {"PUBSUB_EMULATOR_HOST", "adapter.google_pubsub.emulator_host"},
	{"KAFKA_*", "adapter.kafka.*"}, {"IGGY_*", "adapter.iggy.*"},
	{"CLEANUP_*", "cleanup.*"}, {"CLUSTER_HEALTH_*", "cluster_health.*"},
	{"TAG_FILTERING_ENABLED", "tag_filtering.enabled"},
	{"WEBSOCKET_MAX_MESSAGES", "websocket.max_messages"}, {"WEBSOCKET_MAX_BYTES", "websocket.max_bytes"},
	{"WEBSOCKET_DISCONNECT_ON_BUFFER_FULL", "websocket.disconnect_on_buffer_full"},
	{"WEBSOCKET_MAX_MESSAGE_SIZE", "websocket.max_message_size"}, {"WEBSOCKET_MAX_FRAME_SIZE", "websocket.max_frame_size"},
	{"WEBSOCKET_WRITE_BUFFER_SIZE", "websocket.write_buffer_size"}, {"WEBSOCKET_MAX_BACKPRESSURE", "websocket.max_backpressure"},
	{"WEBSOCKET_AUTO_PING", "websocket.auto_ping"}, {"WEBSOCKET_PING_INTERVAL", "websocket.ping_interval"},
	{"WEBSOCKET_IDLE_TIMEOUT", "websocket.idle_timeout"}, {"WEBSOCKET_COMPRESSION", "websocket.compression"},
	{"CONNECTION_RECOVERY_ENABLED", "connection_recovery.enabled"},
	{"CONNECTION_RECOVERY_BUFFER_TTL", "connection_recovery.buffer_ttl_seconds"},
	{"CONNECTION_RECOVERY_MAX_BUFFER_SIZE", "connection_recovery.max_buffer_size"},
	{"EPHEMERAL_ENABLED", "ephemeral.enabled"}, {"ECHO_CONTROL_*", "echo_control.*"}, {"EVENT_NAME_FILTERING_*", "event_name_filtering.*"},
	{"HISTORY_ENABLED", "history.enabled"}, {"HISTORY_RETENTION_WINDOW_SECONDS", "history.retention_window_seconds"},
	{"HISTORY_MAX_MESSAGES_PER_CHANNEL", "history.max_messages_per_channel"}, {"HISTORY_*", "history.*"},
	{"PRESENCE_HISTORY_*", "presence_history.*"}, {"IDEMPOTENCY_*", "idempotency.*"},
	{"VERSIONED_MESSAGES_*", "versioned_messages.*"}, {"ANNOTATIONS_ENABLED", "annotations.enabled"},
	{"WEBHOOK_BATCHING_*", "webhooks.batching.*"},
	{"AI_TRANSPORT_*", "ai_transport.*"}, {"PUSH_*", "push.*"}, {"SOCKUDO_ABLY_COMPAT_*", "ably_compat.*"},
	{"FCM_*", "push.fcm_*"}, {"APNS_*", "push.apns_*"}, {"VAPID_*", "push.vapid_*"}, {"HMS_*", "push.hms_*"}, {"WNS_*", "push.wns_*"},
	{"SOCKUDO_DEFAULT_APP_ID", "app_manager.array.apps.0.id"},
	{"SOCKUDO_DEFAULT_APP_KEY", "app_manager.array.apps.0.key"},
	{"SOCKUDO_DEFAULT_APP_SECRET", "app_manager.array.apps.0.secret"},
	{"SOCKUDO_DEFAULT_APP_ENABLED", "app_manager.array.apps.0.enabled"},
	{"SOCKUDO_DEFAULT_APP_MAX_CONNECTIONS", "app_manager.array.apps.0.max_connections"},
	{"SOCKUDO_DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SECOND", "app_manager.array.apps.0.max_backend_events_per_second"},
	{"SOCKUDO_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SECOND", "app_manager.array.apps.0.max_client_events_per_second"},
	{"SOCKUDO_DEFAULT_APP_MAX_READ_REQUESTS_PER_SECOND", "app_manager.array.apps.0.max_read_requests_per_second"},
	{"SOCKUDO_DEFAULT_APP_MAX_PRESENCE_MEMBERS_PER_CHANNEL", "app_manager.array.apps.0.max_presence_members_per_channel"},
	{"SOCKUDO_DEFAULT_APP_MAX_PRESENCE_MEMBER_SIZE_IN_KB", "app_manager.array.apps.0.max_presence_member_size_in_kb"},
	{"SOCKUDO_DEFAULT_APP_MAX_CHANNEL_NAME_LENGTH", "app_manager.array.apps.0.max_channel_name_length"},
	{"SOCKUDO_DEFAULT_APP_MAX_EVENT_CHANNELS_AT_ONCE", "app_manager.array.apps.0.max_event_channels_at_once"},
	{"SOCKUDO_DEFAULT_APP_MAX_EVENT_NAME_LENGTH", "app_manager.array.apps.0.max_event_name_length"},
	{"SOCKUDO_DEFAULT_APP_MAX_EVENT_PAYLOAD_IN_KB", "app_manager.array.apps.0.max_event_payload_in_kb"},
	{"SOCKUDO_DEFAULT_APP_MAX_EVENT_BATCH_SIZE", "app_manager.array.apps.0.max_event_batch_size"},
	{"SOCKUDO_DEFAULT_APP_ENABLE_CLIENT_MESSAGES", "app_manager.array.apps.0.enable_client_messages"},
	{"SOCKUDO_ENABLE_CLIENT_MESSAGES", "app_manager.array.apps.0.enable_client_messages"},
	{"SOCKUDO_DEFAULT_APP_ENABLE_USER_AUTHENTICATION", "app_manager.array.apps.0.enable_user_authentication"},
	{"SOCKUDO_DEFAULT_APP_ENABLE_WATCHLIST_EVENTS", "app_manager.array.apps.0.enable_watchlist_events"},
	{"SOCKUDO_DEFAULT_APP_ALLOWED_ORIGINS", "app_manager.array.apps.0.allowed_origins"},
	{"SOCKUDO_DEFAULT_APP_ANNOTATIONS_ENABLED", "app_manager.array.apps.0.annotations_enabled"},
}

// sockudoDefaultApp are the limits of an app from the environment that no variable sets.
var sockudoDefaultApp = map[string]string{
	"enabled": "true", "max_connections": "100", "max_backend_events_per_second": "100", "max_client_events_per_second": "100", "max_read_requests_per_second": "100",
	"max_presence_members_per_channel": "100", "max_presence_member_size_in_kb": "100", "max_channel_name_length": "100",
	"max_event_channels_at_once": "100", "max_event_name_length": "100", "max_event_payload_in_kb": "100", "max_event_batch_size": "100",
}

func asLogFormat(text string) (string, string) {
	if strings.EqualFold(text, "json") {
		return "json", ""
	}
	return "text", ""
}

func composeSockudo(c *conversion) {
	c.listen("host", "port")
	if isOn(c.text("ssl.enabled")) {
		c.out.set("server.tls.cert_file", entry{value: c.text("ssl.cert_path")})
		c.out.set("server.tls.key_file", entry{value: c.text("ssl.key_path")})
	}
	c.redirect()
	c.metricsAt("metrics.enabled", "metrics.host", "metrics.port")
	c.sockudoCluster()
	c.appsFrom(databases{
		driver: "app_manager.driver", none: "memory",
		kinds: map[string]database{
			"mysql":      {"mysql", "database.mysql.", "username", "database.mysql.table_name"},
			"pgsql":      {"postgres", "database.postgres.", "username", "database.postgres.table_name"},
			"postgres":   {"postgres", "database.postgres.", "username", "database.postgres.table_name"},
			"postgresql": {"postgres", "database.postgres.", "username", "database.postgres.table_name"},
		},
	})
	if isOn(c.text("app_manager.cache.enabled")) {
		c.appsTTL("app_manager.cache.ttl")
	}
	if text, given := c.given("websocket.max_bytes"); given {
		most, problem := wholeNumber(text)
		if problem != "" {
			c.say(c.nameOf("websocket.max_bytes"), "not taken", "the value "+problem+": server.max_outbox_bytes stays at its default")
		}
		c.outbox = max(most, 0)
	}
	if s := c.settings["app_manager.register_inline_apps"]; s != nil && isOn(c.text(s.path)) == (s.name == "SOCKUDO_SKIP_INLINE_APPS") {
		c.say(s.name, "", "it is about the apps of a file beside the environment: import that file, too")
	}
	for _, src := range c.sources {
		fromEnv := src.settings["id"] != nil && strings.HasPrefix(src.settings["id"].name, "SOCKUDO_")
		if fromEnv {
			c.sockudoDefaults(src)
		}
		app := c.newApp(src)
		for _, field := range []string{"id", "key", "secret"} {
			app.set(field, entry{value: src.text(field)})
		}
		app.limits()
		app.rates("max_backend_events_per_second", "max_read_requests_per_second")
		app.clientEventRate()
		app.messageRate()
		app.connectRate()
		if isOn(src.text("enable_user_authentication")) {
			app.signin("user_authentication_timeout", asSeconds)
		}
		app.origins()
		app.histories()
		app.webhooks()
		app.add()
	}
	c.makeRoom("http_api.request_limit_in_mb")
}

// redirect sets the address from which browsers are sent to https.
func (c *conversion) redirect() {
	on := isOn(c.text("ssl.redirect_http"))
	if !on || !isOn(c.text("ssl.enabled")) {
		for _, path := range []string{"ssl.redirect_http", "ssl.http_port"} {
			if s := c.settings[path]; s != nil && !s.isInitial() && (on || path == "ssl.http_port") {
				c.say(s.name, "not needed", "nothing is sent from http to https, as ssl.redirect_http and ssl.enabled are not both on")
			}
		}
		return
	}
	address := joinHostPort(c.text("host"), c.text("ssl.http_port"))
	if problem := c.out.problem("server.listen", address); problem != "" {
		for _, path := range []string{"ssl.redirect_http", "ssl.http_port"} {
			c.say(c.nameOf(path), "not taken", "server.redirect_http would be a value that "+problem)
		}
		return
	}
	c.out.set("server.redirect_http", entry{value: address})
}

func (c *conversion) sockudoCluster() {
	driver := strings.ToLower(c.text("adapter.driver"))
	r := redis{
		endpoint: endpoint{
			host: c.text("database.redis.host"), port: c.text("database.redis.port"), db: c.text("database.redis.db"),
			user: c.text("database.redis.username"), password: c.text("database.redis.password"), tls: isOn(c.text("database.redis.master_tls.enabled")),
		},
	}
	cluster := func() {
		r.db = ""
		r.user, r.password = cmp.Or(c.text("database.redis.cluster.username"), r.user), cmp.Or(c.text("database.redis.cluster.password"), r.password)
		for _, path := range []string{"database.redis.cluster.nodes", "database.redis.cluster_nodes", "adapter.cluster.nodes"} {
			if len(r.nodes) == 0 {
				c.addNodes(&r, path, "6379")
			}
		}
		for _, path := range []string{"database.redis.cluster.use_tls", "database.redis.cluster.useTLS", "adapter.cluster.tls.enabled"} {
			r.tls = r.tls || isOn(c.text(path))
		}
	}
	prefix := "adapter.redis.prefix"
	switch driver {
	case "local":
		return
	case "redis":
		const pub, sub = "adapter.redis.redis_pub_options.url", "adapter.redis.redis_sub_options.url"
		if address := cmp.Or(c.text(pub), c.text(sub)); address != "" {
			if pub, sub := c.settings[pub], c.settings[sub]; pub != nil && sub != nil {
				c.lost(sub, pub)
			}
			c.cluster(address, prefix)
			return
		} else if len(c.list("database.redis.sentinels")) > 0 {
			r.master = c.text("database.redis.name")
			r.sentinelUser, r.sentinelPassword = c.text("database.redis.sentinel_username"), c.text("database.redis.sentinel_password")
			c.addNodes(&r, "database.redis.sentinels", "26379")
			if other := isOn(c.text("database.redis.sentinel_tls.enabled")); other != r.tls {
				why := find(c.rows, "database.redis.sentinel_tls.enabled").why
				c.say("database.redis.sentinel_tls.enabled", why.kind, why.text)
			}
		} else if isOn(c.text("adapter.redis.cluster_mode")) {
			cluster()
		}
	case "redis-cluster":
		cluster()
		prefix = "adapter.cluster.prefix"
	default:
		c.say(c.nameOf("adapter.driver"), oneDriver.kind, oneDriver.text)
		return
	}
	c.cluster(r.url(), prefix)
}

// sockudoDefaults adds what Sockudo gives an app from the environment by itself.
func (c *conversion) sockudoDefaults(src *source) {
	for field, text := range sockudoDefaultApp {
		if src.settings[field] == nil {
			src.settings[field] = &setting{name: "SOCKUDO_DEFAULT_APP_" + strings.ToUpper(field), path: field, value: text, row: find(c.app, field)}
		}
	}
}

// clientEventRate sets the rate of client events, which Sockudo counts in a time.
func (a *newApp) clientEventRate() {
	most := a.count("max_client_events_per_second", "0", "client_event_rate is without a limit")
	if most <= 0 {
		a.set("client_event_rate", entry{value: "0"})
		return
	}
	e := entry{value: strconv.FormatInt(most, 10)}
	if seconds := a.count("decay_seconds", "1", "client_event_rate is for one second"); seconds > 1 {
		e = entry{strconv.FormatInt((most-1)/seconds+1, 10), fmt.Sprintf("A second: it was %d in %d s.", most, seconds)}
	}
	if problem := a.out.problem("apps[].client_event_rate", e.value); problem != "" {
		a.say(a.src.settings["max_client_events_per_second"].name, "not taken", "the value "+problem+": client_event_rate stays at its default")
		return
	}
	a.set("client_event_rate", e)
}

// count is the number in a field of the app, or initial. A value that is no number is 0,
// which is told with what follows.
func (a *newApp) count(field, initial, consequence string) int64 {
	n, problem := wholeNumber(cmp.Or(a.src.text(field), initial))
	if problem != "" {
		a.say(a.src.settings[field].name, "not taken", "the value "+problem+": "+consequence)
	}
	return n
}

func (a *newApp) messageRate() {
	if !isOn(a.src.text("message_rate_limit.enabled")) {
		return
	}
	most, problem := wholeNumber(cmp.Or(a.src.text("message_rate_limit.max_attempts"), "60"))
	seconds, other := wholeNumber(cmp.Or(a.src.text("message_rate_limit.decay_seconds"), "60"))
	if problem+other != "" || most < 1 || seconds < 1 || most > 1<<30 {
		a.say(a.src.name+".message_rate_limit", "not taken", "has no number from 1 on")
		return
	}
	a.set("message_rate", entry{perSecond(most, seconds), fmt.Sprintf("As the mean of ten seconds: it was %d in %d s.", most, seconds)})
}

// connectRate takes the limit of new connections, if the file has one.
func (a *newApp) connectRate() {
	const limit = "rate_limiter.websocket_rate_limit."
	text, given := a.given(limit + "max_requests")
	if !given || !isOn(a.text("rate_limiter.enabled")) {
		return
	}
	most, problem := wholeNumber(text)
	seconds, other := wholeNumber(a.text(limit + "window_seconds"))
	if problem+other != "" || most < 1 || seconds < 1 || most > 1<<30 {
		a.say(a.nameOf(limit+"max_requests"), "not taken", "has no number from 1 on")
		return
	}
	a.set("connect_rate_per_address", entry{perSecond(most, seconds),
		fmt.Sprintf("A second: it was %d in %d s. Behind a proxy, set server.trusted_proxies.", most, seconds)})
}

// origins takes the pages that may connect, of which Belfry compares the host only.
func (a *newApp) origins() {
	s := a.src.settings["allowed_origins"]
	if s == nil {
		return
	}
	patterns := texts(listOf(s.value))
	var hosts []string
	note := ""
	add := func(host string) {
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	for _, pattern := range patterns {
		if pattern == "*" || strings.EqualFold(pattern, "any") {
			return
		}
		host := strings.ToLower(pattern)
		if _, rest, ok := strings.Cut(host, "://"); ok {
			host, note = rest, "Only hosts are compared, not schemes and ports."
		}
		host, _, _ = strings.Cut(host, "/")
		if h, _, err := net.SplitHostPort(host); err == nil {
			host, note = h, "Only hosts are compared, not schemes and ports."
		}
		host = strings.Trim(host, "[]")
		if !a.out.refers(host) && !originFits(host) {
			a.say(s.name+": "+clip(pattern), "not taken", "no pattern for hosts: give a host, or *. and a host for its subdomains")
			continue
		}
		if rest, ok := strings.CutPrefix(host, "*."); ok && !strings.Contains(pattern, "://") {
			add(rest) // which Sockudo's pattern has, too
		}
		add(host)
	}
	if len(patterns) == 0 {
		return
	}
	if len(hosts) == 0 { // none is not the same as any
		hosts, note = []string{"none.invalid"}, "No page may connect before a host of yours stands here."
	}
	a.m.put("allowed_origins", a.out.listNode(hosts), note)
}

func originFits(host string) bool {
	c, app := config.Default(), config.DefaultApp()
	app.ID, app.Key, app.Secret, app.AllowedOrigins = "1", "1", "1", []string{host}
	c.Apps = []config.App{app}
	return c.Validate() == nil
}

// histories gives the channels a history, if Sockudo keeps one for the API or for
// clients that come back.
func (a *newApp) histories() {
	on := func(group string) bool {
		if s := a.src.settings[group+".enabled"]; s != nil {
			return isOn(a.src.text(group + ".enabled"))
		}
		return isOn(a.text(group + ".enabled"))
	}
	number := func(path string, most int64) int64 {
		n, problem := wholeNumber(cmp.Or(a.src.text(path), a.text(path), "0"))
		name := a.nameOf(path)
		if s := a.src.settings[path]; s != nil {
			name = s.name
		}
		if problem != "" {
			a.say(name, "not taken", "the value "+problem+": apps[].history has its default")
		} else if n > most {
			a.say(name, "not taken", fmt.Sprintf("the value is more than Belfry keeps: apps[].history has %d", most))
		}
		return min(n, most)
	}
	const mostEvents, mostAge = 1000, 24 * 3600 // s
	var events, age int64
	switch {
	case on("history"):
		events, age = number("history.max_messages_per_channel", mostEvents), number("history.retention_window_seconds", mostAge)
	case on("connection_recovery"):
		events, age = number("connection_recovery.max_buffer_size", mostEvents), number("connection_recovery.buffer_ttl_seconds", mostAge)
	default:
		return
	}
	m := newMapping()
	m.put("channels", a.out.textNode("*"), "")
	h := config.DefaultHistory()
	if events > 0 && events != int64(h.Events) {
		n := a.out.textNode("")
		n.SetString(strconv.FormatInt(events, 10))
		n.Tag, n.Style = "!!int", 0
		m.put("events", n, "")
	}
	if age > 0 {
		value, _ := asSeconds(strconv.FormatInt(age, 10))
		m.put("age", a.out.textNode(value), "")
	}
	list := newList()
	list.Content = append(list.Content, m.node)
	a.m.put("history", list, "In memory, up to server.max_history_bytes, or in Redis: name only the channels that need it. See docs/history.md.")
}
