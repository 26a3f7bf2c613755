package server

import (
	"context"
	"sync"
	"time"

	"belfry/channels"
	"belfry/server/capacity"
	"belfry/server/session"
	"belfry/server/systemd"
)

// drain leaves a tenth of shutdown_grace to cut what has not gone by itself.
func (s *Server) drain() {
	s.draining.Store(true)
	systemd.Notify(s.log, systemd.Stopping)
	if delay := s.config.Server.DrainDelay; delay > 0 {
		s.log.Info("stopping: /ready says so, and everything else goes on", "drain_delay", delay)
		time.Sleep(delay)
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.config.Server.ShutdownGrace*9/10)
	defer cancel()
	s.endConsole()
	s.log.Info("stopping: telling clients to reconnect", "grace", s.config.Server.ShutdownGrace)
	if s.clustered() {
		s.sendAway(ctx)
		s.flush(ctx) // they can come back to another node
	} else {
		s.broker.EndGraces() // nobody can come back here
		s.sendAway(ctx)
	}
	s.awaitSettled(ctx)
	s.webhooks.Close(ctx)
	s.closeConnections(ctx)
	s.finish()
	s.log.Info("stopped")
}

// finish ends what is left when there are no connections any more.
func (s *Server) finish() {
	for _, h := range s.apart() {
		h.Close()
	}
	s.apps.Close()
	s.pollers.Close()
	s.watch.Close()
	s.budget.Close()
	s.broker.Close() // acknowledges what the webhooks have delivered
	s.refusals.Flush()
}

// comeBack is how long a server that nobody stands in for still answers clients that
// come back at once: whoever finds nobody listening waits for 15 seconds or more.
const comeBack = 250 * time.Millisecond

// sendAway tells clients to reconnect, and returns when they have gone. It leaves a
// fifth of the time to webhooks if there are any: each client that goes may be one.
//
// Other nodes get the clients one after the other, and newcomers are served until they
// do. The next process of a socket that outlives this one gets all at once, and
// newcomers, whom this one does not accept any more. With neither, clients that come
// back are told to wait for a second.
func (s *Server) sendAway(ctx context.Context) {
	if s.webhooks.HasEndpoints() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.config.Server.ShutdownGrace*4/5)
		defer cancel()
	}
	newcomers := session.Stopping
	if s.clustered() {
		s.tellClients(ctx, session.Spread)
	}
	if s.clustered() || s.inherited {
		newcomers = session.Restarting
		s.intake.StopAccepting()
	}
	s.capacity.RefuseClients(newcomers)
	told := s.connections() > 0
	s.tellClients(ctx, session.Together)
	_ = s.capacity.Wait(ctx, capacity.Client, capacity.Session) // whoever is left is cut later
	if told && newcomers == session.Stopping {
		select {
		case <-time.After(comeBack):
		case <-ctx.Done():
		}
	}
}

func (s *Server) tellClients(ctx context.Context, pause time.Duration) {
	var telling sync.WaitGroup
	telling.Go(func() { s.websocket.Drain(ctx, pause) })
	telling.Go(func() { s.fallback.Drain(ctx, pause) })
	telling.Wait()
}

// closeConnections closes the listener, ends requests, and cuts clients who are left
// when the context ends. A request whose body has not come then is refused.
func (s *Server) closeConnections(ctx context.Context) {
	s.drainDoor(ctx) // leaves requests to net/http
	if s.http.Shutdown(ctx) != nil {
		s.hasten()
		refusing, cancel := context.WithTimeout(context.Background(), max(s.config.Server.ShutdownGrace, leastGrace)/20)
		defer cancel()
		if s.http.Shutdown(refusing) != nil {
			s.http.Close()
		}
	}
	for _, h := range s.apart() {
		_ = h.Shutdown(ctx) // who is late is cut
	}
	s.endPassedOn(ctx)
	s.fallback.End()
	s.websocket.End(ctx)
}

// flush waits for what the cluster is to be told and for departures that are not final.
// Where there are webhooks, it leaves them half of what is left of the time.
func (s *Server) flush(ctx context.Context) {
	if end, ok := ctx.Deadline(); ok && s.webhooks.HasEndpoints() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(time.Until(end)/2, channels.Grace+time.Second))
		defer cancel()
	}
	s.broker.Flush(ctx)
}
