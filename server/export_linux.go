//go:build !blocking

package server

import (
	"errors"
	"slices"

	"belfry/channels"
	"belfry/server/apps"
	"belfry/server/door"
	"belfry/server/handover"
	"belfry/server/session"
	"belfry/server/websocket"
)

// exportAll sends everything. Everything is frozen.
func (s *Server) exportAll(successor *handover.Successor) (handed []interface{ HandedOver() }, err error) {
	if err := successor.Send(stateTime, s.watch.Now()); err != nil {
		return nil, err
	}
	s.findHeirs()
	s.apps.All(func(a *apps.App) {
		if err == nil && s.heirs[a.ID] {
			err = s.exportApp(successor, a)
		}
	})
	if err == nil && s.clustered() {
		err = successor.Send(stateOutboxes, s.broker.ExportOutboxes())
	}
	if err != nil {
		return nil, err
	}
	out := &batch{link: successor.Link}
	leave := func(e session.Exported) error {
		if !s.heirs[e.App] {
			return nil
		}
		return successor.Send(stateAbsent, e)
	}
	connections, err := s.websocket.Export(websocket.Successor{
		Apps:       s.heirs,
		Frames:     func(frames []byte) error { return successor.Send(stateFrames, frames) },
		Connection: func(fd int, e websocket.Exported) error { return out.add(stateConnection, fd, e) },
		Stays:      leave,
	})
	if err != nil {
		return nil, err
	}
	handed = append(handed, connections)
	if err := s.fallback.Export(leave); err != nil {
		return nil, err
	}
	if s.door != nil && s.heir.takesRequests(s.config.Server) {
		visitors, err := s.door.Export(func(fd int, e door.Exported) error { return out.add(stateVisitor, fd, e) })
		if err != nil {
			return nil, err
		}
		handed = append(handed, visitors)
	}
	return handed, errors.Join(out.flush(), successor.Send(handover.Complete, nil), successor.Flush())
}

// atOnce is how many departures or keys are in one record.
const atOnce = 1000

func (s *Server) exportApp(successor *handover.Successor, a *apps.App) error {
	if err := successor.Send(stateApp, s.apps.Export(a)); err != nil {
		return err
	}
	if s.clustered() {
		if err := successor.Send(stateUsers, a.Channels.ExportWhereabouts()); err != nil {
			return err
		}
	}
	if err := a.Channels.ExportChannels(func(e channels.ExportedChannel) error { return successor.Send(stateChannel, e) }); err != nil {
		return err
	}
	for some := range slices.Chunk(a.Channels.ExportDepartures(), atOnce) {
		if err := successor.Send(stateDepartures, some); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(a.Channels.ExportKeys(), atOnce) {
		if err := successor.Send(stateKeys, some); err != nil {
			return err
		}
	}
	return nil
}

// batch collects records that have a descriptor each, so that many descriptors are sent
// at once.
type batch struct {
	link    *handover.Link
	fds     []int
	records []func() error
}

// filesAtOnce is how many; a message of a Unix socket has 253 at most.
const filesAtOnce = 250

func (b *batch) add(kind handover.Kind, fd int, v any) error {
	b.fds = append(b.fds, fd)
	b.records = append(b.records, func() error { return b.link.Send(kind, v) })
	if len(b.fds) < filesAtOnce {
		return nil
	}
	return b.flush()
}

func (b *batch) flush() error {
	err := b.link.SendFiles(b.fds...)
	for _, send := range b.records {
		if err == nil {
			err = send()
		}
	}
	b.fds, b.records = b.fds[:0], b.records[:0]
	return err
}
