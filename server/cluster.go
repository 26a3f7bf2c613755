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
		about, err := json.Marshal(s.introduction())
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

// introduction is what a node says of itself. Nodes of other versions read it as JSON.
type introduction struct {
	Host        string `json:"host"` // with the port
	Version     string `json:"version"`
	Connections int    `json:"connections"`
	SeenAt      int64  `json:"seen_at"` // milliseconds since 1970
}

func (s *Server) introduction() introduction {
	host, _ := os.Hostname() // empty if it is not known
	_, port, _ := net.SplitHostPort(s.Addr().String())
	return introduction{net.JoinHostPort(host, port), s.version, s.connections(), time.Now().UnixMilli()}
}

// node is what consoles show of the node with an id.
func (i introduction) node(id string, self bool) console.Node {
	return console.Node{ID: id, Self: self, Host: i.Host, Version: i.Version, Connections: i.Connections, SeenAt: i.SeenAt}
}

// nodes returns the live nodes of the cluster. Without a cluster, or beside an error, it
// returns this server alone.
func (s *Server) nodes(ctx context.Context) (nodes []console.Node, err error) {
	self := s.introduction()
	alone := []console.Node{self.node(self.Host, true)}
	if s.driver == nil {
		return alone, nil
	}
	all, err := s.driver.Nodes(ctx)
	if err != nil {
		return alone, err
	}
	for _, one := range all {
		about := self
		if !one.Self {
			about = introduction{}
			_ = json.Unmarshal([]byte(one.About), &about) // a node that has said nothing yet, or in another way, is just there
		}
		nodes = append(nodes, about.node(one.ID, one.Self))
	}
	return nodes, nil
}
