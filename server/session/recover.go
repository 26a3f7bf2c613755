package session

import (
	"log/slog"
	"slices"

	"belfry/channels"
	"belfry/protocol"
)

// recover notes which channels the client wants to recover when it subscribes. If a
// subscription has overtaken the message, as it may over the HTTP fallback, the client is
// answered at once: what it has missed first, and then the answer, as it may have been sent
// later events.
func (s *Session) recover(data []byte) {
	req, err := protocol.ParseRecover(data)
	if err != nil {
		s.refuse(&protocol.Error{Message: "Invalid pusher:recover: " + err.Error()})
		return
	}
	var before map[string]string
	if s.seldom != nil && s.seldom.recoveries != nil {
		before = s.seldom.recoveries.Channels
	}
	n := len(before)
	for channel := range req.Channels {
		if _, again := before[channel]; !again {
			n++
		}
		if err := protocol.CheckChannel(channel, s.app.Settings().MaxChannelName); err != nil {
			s.refuse(&protocol.Error{Message: "Invalid pusher:recover: " + err.Error()}, slog.String("channel", clipped(channel)))
			return
		}
	}
	if n > protocol.MaxRecover {
		s.refuse(protocol.Errorf(protocol.CodeOverCapacity, "Connection asks to recover %d channels, more than %d: subscribe to some of them first", n, protocol.MaxRecover))
		return
	}
	if len(req.Channels) == 0 {
		return
	}
	for channel, serial := range before {
		if _, again := req.Channels[channel]; !again {
			req.Channels[channel] = serial
		}
	}
	s.needs().recoveries = &req // the last message says which sockets the client had
	for channel := range req.Channels {
		if sub := s.subscriptions.find(channel); sub != nil && !s.ended {
			s.recoverLate(sub)
		}
	}
}

// recoverLate is for a channel that the client is subscribed to already.
func (s *Session) recoverLate(sub *channels.Subscription) {
	recovery := s.recovery(sub.Channel())
	s.forgetRecovery(sub.Channel())
	var joined channels.Joined
	s.unlocked(func() { joined = s.app.Channels.Rejoin(sub, recovery) })
	if s.ended || sub.Left() {
		return
	}
	defer s.makeRoom(&joined.Replay)()
	s.countRecovery(sub.Channel(), recovery, joined.Recovery)
	answer := slices.Concat(append(joined.Frames, succeeded(sub, joined))...)
	s.app.Metrics.Delivered(len(joined.Frames)+1, len(answer))
	s.conn.Send(answer)
}

// makeRoom lets the session send a replay, or withholds it if too much waits for this client
// or for all together. What is sent to one connection after the other takes the memory of
// one, until done is called.
func (s *Session) makeRoom(r *channels.Replay) (done func()) {
	if len(r.Frames) == 0 {
		return func() {}
	}
	s.admission.replaying.Lock()
	if !s.conn.Room(r.Bytes) {
		r.Withhold()
	}
	return s.admission.replaying.Unlock
}

// recovery is what the client has said of a channel, nil for nothing. mu is held.
func (s *Session) recovery(channel string) *channels.Recovery {
	if s.seldom == nil || s.seldom.recoveries == nil {
		return nil
	}
	text, asked := s.seldom.recoveries.Channels[channel]
	if !asked {
		return nil
	}
	r := new(channels.Recovery)
	r.Since, _ = protocol.ParseSerial(text)
	for _, text := range s.seldom.recoveries.Sockets {
		if id, ok := protocol.ParseSocketID(text); ok {
			r.Sockets = append(r.Sockets, id)
		}
	}
	return r
}

// forgetRecovery is for a channel whose subscription is answered, or not wanted any more. mu
// is held.
func (s *Session) forgetRecovery(channel string) {
	if s.seldom == nil || s.seldom.recoveries == nil {
		return
	}
	if delete(s.seldom.recoveries.Channels, channel); len(s.seldom.recoveries.Channels) == 0 {
		s.seldom.recoveries = nil
	}
}

// countRecovery counts what came of a client's request, if there was one.
func (s *Session) countRecovery(channel string, recovery *channels.Recovery, result protocol.RecoveryResult) {
	switch result {
	case protocol.Recovered:
		s.app.Metrics.Recovered()
	case protocol.Missed:
		s.app.Metrics.Missed()
		s.admission.Log.Debug("not recovered: the history does not go back so far, or is another one",
			"app", s.app.ID, "socket_id", s.id.String(), "channel", channel, "since", recovery.Since.String())
	}
}
