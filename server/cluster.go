package server

import (
	"log/slog"

	"belfry/channels/cluster"
	"belfry/channels/cluster/redis"
	"belfry/server/config"
)

// newDriver returns what connects this server with others, nil if it is the
// only one.
func newDriver(c config.Cluster, log *slog.Logger) (cluster.Driver, error) {
	if c.Driver != config.ClusterRedis {
		return nil, nil
	}
	return redis.New(redis.Options{URL: c.Redis.URL, Prefix: c.Redis.Prefix, Log: log})
}
