//go:build !blocking

package server

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"belfry/channels/cluster"
	"belfry/server/apps"
	"belfry/server/handover"
)

// This file has what a handover of a node of a cluster takes beside that of a single
// server, on both sides. See cluster.Movable.

// node is the part that the process before has in a cluster.
type node struct {
	Driver string `json:"driver"`
	Place  []byte `json:"place"`
}

// place is nil for a server that is no node of a cluster.
func (s *Server) place() (*node, error) {
	if !s.clustered() {
		return nil, nil
	}
	place, err := s.broker.Place()
	return &node{s.config.Cluster.Driver, place}, err
}

// checkHeirs returns why the new process cannot go on with this node of a cluster: the
// cluster would never hear that those leave who are on channels of an app that the new
// process does not serve.
func (s *Server) checkHeirs() (err error) {
	if !s.clustered() {
		return nil
	}
	s.findHeirs()
	s.apps.All(func(a *apps.App) {
		if !s.heirs[a.ID] {
			err = fmt.Errorf("the new configuration does not have app %s any more: reload the configuration first", a.ID)
		}
	})
	return err
}

// bringAlong has the new process listen to all topics that the node listens to, and that
// are not among those it does already, and returns all.
func (s *Server) bringAlong(successor *handover.Successor, already []cluster.Topic) ([]cluster.Topic, error) {
	if !s.clustered() {
		return nil, nil
	}
	topics, err := s.broker.Topics()
	if err != nil {
		return nil, err
	}
	known := make(map[cluster.Topic]bool, len(already))
	for _, t := range already {
		known[t] = true
	}
	added := slices.DeleteFunc(slices.Clone(topics), func(t cluster.Topic) bool { return known[t] })
	if err := errors.Join(successor.Send(stateTopics, added), successor.Flush()); err != nil {
		return nil, err
	}
	return topics, successor.Expect(stateTopics, nil)
}

// cut has the new process get what the cluster sends from here on, when the rest has come
// here. The new process listens to topics already. Calls to the cluster are frozen.
func (s *Server) cut(ctx context.Context, successor *handover.Successor, topics []cluster.Topic) error {
	if !s.clustered() {
		return nil
	}
	if _, err := s.bringAlong(successor, topics); err != nil {
		return err
	}
	if err := s.checkHeirs(); err != nil { // once more, as a reload may have brought others
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, handover.CutTimeout)
	defer cancel()
	return s.broker.Cut(ctx)
}

// inheritNode makes this process the node of a cluster that the process before is; nil is
// none.
func (s *Server) inheritNode(n *node) error {
	switch {
	case n == nil && !s.clustered():
		return nil
	case n == nil:
		return errors.New("the new configuration makes this a node of a cluster: stop the server and start it")
	case !s.clustered():
		return errors.New("the new configuration makes this a server without a cluster: stop the server and start it")
	}
	driver, ok := s.driver.(cluster.Movable)
	if !ok || n.Driver != s.config.Cluster.Driver {
		return errors.New("the new configuration has another kind of cluster: stop the server and start it")
	}
	return driver.Inherit(n.Place)
}

// listenAlong listens to what the process before listens to, while that still works.
func (s *Server) listenAlong() error {
	if !s.clustered() {
		return nil
	}
	var topics []cluster.Topic
	if err := s.before.Expect(stateTopics, &topics); err != nil {
		return err
	}
	return s.listenTo(topics)
}

// listenTo listens to topics of the cluster, and says so.
func (s *Server) listenTo(topics []cluster.Topic) error {
	if !s.clustered() {
		return handover.ErrRecord
	}
	ctx, cancel := context.WithTimeout(context.Background(), handover.ReadyTimeout)
	defer cancel()
	if err := s.broker.Listen(ctx, topics); err != nil {
		return err
	}
	return errors.Join(s.before.Send(stateTopics, nil), s.before.Flush())
}

// awaitCut returns when nothing more from the cluster is the process before's.
func (s *Server) awaitCut() error {
	if !s.clustered() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), handover.CutTimeout)
	defer cancel()
	return s.broker.AwaitCut(ctx)
}
