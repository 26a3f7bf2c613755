package config

import (
	"fmt"
	"log/slog"
)

// The values of [Cluster.Driver].
const (
	ClusterLocal = "local" // this server is the only one
	ClusterRedis = "redis"
)

// Cluster is how several servers are one.
type Cluster struct {
	Driver string
	Redis  Redis
}

// Redis is the server, or the cluster of servers, that nodes meet in. Its URL
// may hold a password: nothing prints it.
type Redis struct {
	URL    string `json:"-"` // see [redis.ParseURL]
	Prefix string // of all keys and channels, such as that of one deployment among several
}

// LogValue gives a logger what String shows.
func (r Redis) LogValue() slog.Value { return slog.StringValue(r.String()) }

// String shows the settings without the URL.
func (r Redis) String() string { return fmt.Sprintf("{URL:%s Prefix:%s}", hide(r.URL), r.Prefix) }

// GoString is [Redis.String].
func (r Redis) GoString() string { return r.String() }
