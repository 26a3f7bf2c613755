package config

import (
	"fmt"
	"log/slog"
	"strings"

	"belfry/channels/cluster/redis"
)

// The values of [Cluster.Driver].
const (
	ClusterLocal = "local" // this server is the only one
	ClusterRedis = "redis"
)

// Cluster is how several servers are one.
type Cluster struct {
	Driver string `yaml:"driver"`
	Redis  Redis  `yaml:"redis"`
}

// Redis is the server, or the cluster of servers, that nodes meet in. Its URL
// may hold a password: nothing prints it.
type Redis struct {
	URL    string `yaml:"url" json:"-"` // see [redis.ParseURL]
	Prefix string `yaml:"prefix"`       // of all keys and channels, such as that of one deployment among several
}

// LogValue gives a logger what String shows.
func (r Redis) LogValue() slog.Value { return slog.StringValue(r.String()) }

// String shows the settings without the URL.
func (r Redis) String() string { return fmt.Sprintf("{URL:%s Prefix:%s}", hide(r.URL), r.Prefix) }

// GoString is [Redis.String].
func (r Redis) GoString() string { return r.String() }

// maxRedisPrefix is how long the prefix may be: it is in every key.
const maxRedisPrefix = 64

func (c Cluster) validate(check func(key, problem string)) {
	check("cluster.driver", choiceProblem(c.Driver, ClusterLocal, ClusterRedis))
	if err := redis.CheckURL(c.Redis.URL); err != nil {
		check("cluster.redis.url", "is not usable: "+err.Error())
	}
	switch p := c.Redis.Prefix; {
	case p == "":
		check("cluster.redis.prefix", "is empty: give a name such as belfry")
	case len(p) > maxRedisPrefix:
		check("cluster.redis.prefix", fmt.Sprintf("is %d characters long: give at most %d", len(p), maxRedisPrefix))
	case strings.ContainsAny(p, "{}"):
		check("cluster.redis.prefix", "has a brace, which Redis Cluster takes for a hash tag: give a name such as belfry")
	default:
		check("cluster.redis.prefix", wordProblem(p, ""))
	}
}
