package server

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"time"

	"belfry/channels/cluster"
	"belfry/channels/cluster/redis"
	"belfry/server/config"
	"belfry/server/console"
)

// newDriver returns what connects this server with others, nil if it is the
// only one.
func newDriver(c config.Cluster, log *slog.Logger) (cluster.Driver, error) {
	if c.Driver != config.ClusterRedis {
		return nil, nil
	}
	return redis.New(redis.Options{URL: c.Redis.URL, Prefix: c.Redis.Prefix, Log: log})
}

const (
	// introductions is how often a node of a cluster says who it is.
	introductions = 10 * time.Second
	// introduced is for how long that counts.
	introduced = 3 * introductions
)

// tellNodes tells the cluster who this node is, for the consoles of all nodes, until the
// context ends.
func (s *Server) tellNodes(ctx context.Context) {
	ticker := time.NewTicker(introductions)
	defer ticker.Stop()
	for {
		about, err := json.Marshal(s.self())
		if err == nil {
			err = s.driver.Introduce(ctx, string(about), introduced)
		}
		if err != nil {
			s.log.Debug("the cluster could not be told who this node is", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// self is what this server says of itself.
func (s *Server) self() console.Node {
	host, _ := os.Hostname() // empty if it is not known
	_, port, _ := net.SplitHostPort(s.Addr().String())
	return console.Node{Host: net.JoinHostPort(host, port), Version: s.version, Connections: s.connections(), SeenAt: time.Now().UnixMilli()}
}

// nodes returns the live nodes of the cluster. Without a cluster, or beside an error, it
// returns this server alone.
func (s *Server) nodes(ctx context.Context) (nodes []console.Node, err error) {
	self := s.self()
	self.ID, self.Self = self.Host, true
	if s.driver == nil {
		return []console.Node{self}, nil
	}
	all, err := s.driver.Nodes(ctx)
	if err != nil {
		return []console.Node{self}, err
	}
	for _, one := range all {
		node := self
		if !one.Self {
			node = console.Node{}
			_ = json.Unmarshal([]byte(one.About), &node) // a node that has said nothing yet, or in another way, is just there
			node.Self = false
		}
		node.ID = one.ID
		nodes = append(nodes, node)
	}
	return nodes, nil
}
