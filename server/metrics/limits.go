package metrics

// Limit is a key of an application's configuration that bounds what strangers
// may do.
type Limit string

// The limits that are counted when they are met.
const (
	MaxConnections           Limit = "max_connections"
	MaxConnectionsPerAddress Limit = "max_connections_per_address"
	ConnectRatePerAddress    Limit = "connect_rate_per_address"
	MaxChannelsPerConnection Limit = "max_channels_per_connection"
	MaxPresenceMembers       Limit = "max_presence_members"
	MaxMessageBytes          Limit = "max_message_bytes"
	MaxEventBytes            Limit = "max_event_bytes"
	MessageRate              Limit = "message_rate"
	MessageTimeout           Limit = "message_timeout"
	ClientEventRate          Limit = "client_event_rate"
	RequireSignin            Limit = "require_signin"
	APIRequestRate           Limit = "api_request_rate"
)

// Limits are all of them.
func Limits() []Limit {
	return []Limit{
		MaxConnections, MaxConnectionsPerAddress, ConnectRatePerAddress, MaxChannelsPerConnection, MaxPresenceMembers,
		MaxMessageBytes, MaxEventBytes, MessageRate, MessageTimeout, ClientEventRate, RequireSignin, APIRequestRate,
	}
}

// LimitMet counts that a limit has kept something from happening.
func (a *App) LimitMet(l Limit) { a.series().limits.add(1, values{string(l)}) }
