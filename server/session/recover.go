package session

import (
	"log/slog"

	"belfry/channels"
	"belfry/protocol"
)

// resumes are the channels of which a client wants to be given what it has missed, once it
// is subscribed to them. A client that wants nothing has none.
type resumes struct {
	since   map[string]protocol.Serial // by channel; the zero serial for what is none
	sockets []protocol.SocketID        // the client's connections before
}

// of returns what the client has said of a channel, nil for nothing.
func (r *resumes) of(channel string) *channels.Resume {
	if r == nil {
		return nil
	}
	since, asked := r.since[channel]
	if !asked {
		return nil
	}
	return &channels.Resume{Since: since, Sockets: r.sockets}
}

func (r *resumes) len() int {
	if r == nil {
		return 0
	}
	return len(r.since)
}

// resumed forgets a channel whose subscription is answered, or not wanted any more. mu is
// held.
func (s *Session) resumed(channel string) {
	if r := s.resumes; r != nil {
		if delete(r.since, channel); len(r.since) == 0 {
			s.resumes = nil
		}
	}
}

// recover notes what the client wants to be given. If a subscription has overtaken the
// message, as it may over the HTTP fallback, the client is given it at once: what it has
// missed first, and then the answer, as it may have been delivered later events.
func (s *Session) recover(data []byte) {
	req, err := protocol.ParseRecover(data)
	if err != nil {
		s.refuse(&protocol.Error{Message: "Invalid pusher:recover: " + err.Error()})
		return
	}
	n := s.resumes.len()
	for channel := range req.Channels {
		if s.resumes.of(channel) == nil {
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
	if s.resumes == nil {
		s.resumes = &resumes{since: make(map[string]protocol.Serial, len(req.Channels))}
	}
	s.resumes.sockets = req.Sockets
	for channel, serial := range req.Channels {
		s.resumes.since[channel], _ = protocol.ParseSerial(serial)
	}
	for channel := range req.Channels {
		if sub := s.subscriptions.find(channel); sub != nil && !s.ended {
			s.recoverLate(sub)
		}
	}
}

// recoverLate is for a channel that the client is subscribed to already.
func (s *Session) recoverLate(sub *channels.Subscription) {
	resume := s.resumes.of(sub.Channel())
	s.resumed(sub.Channel())
	var joined channels.Joined
	s.unlocked(func() { joined = s.app.Channels.Rejoin(sub, resume) })
	if s.ended || sub.Left() {
		return
	}
	s.countRecovery(sub.Channel(), resume, joined.Recovery)
	joined.Serial = protocol.Serial{} // the client may have later events
	answer := append(protocol.Frame(joined.Frames), succeeded(sub, joined)...)
	s.app.Metrics.Delivered(joined.Events+1, len(answer))
	s.conn.Send(answer)
}

// countRecovery counts what came of a client's wish, if it had one.
func (s *Session) countRecovery(channel string, resume *channels.Resume, result protocol.Recovery) {
	switch result {
	case protocol.Recovered:
		s.app.Metrics.Recovered.Inc()
	case protocol.Missed:
		s.app.Metrics.Missed.Inc()
		s.admission.Log.Debug("not recovered: the history does not go back so far, or is another one",
			"app", s.app.ID, "socket_id", s.id.String(), "channel", channel, "since", resume.Since.String())
	}
}

// ExportedResumes are the channels of which a client wants to be given what it has missed:
// the serial of the last event that it has of each, and its connections before.
type ExportedResumes struct {
	Since   map[string]string `json:"since"`
	Sockets []string          `json:"sockets,omitempty"`
}

func (r *resumes) export() *ExportedResumes {
	if r == nil {
		return nil
	}
	e := &ExportedResumes{Since: make(map[string]string, len(r.since))}
	for channel, serial := range r.since {
		e.Since[channel] = serial.String()
	}
	for _, id := range r.sockets {
		e.Sockets = append(e.Sockets, id.String())
	}
	return e
}

// restore is the reverse. It leaves away socket ids that are none.
func (e *ExportedResumes) restore() *resumes {
	if e == nil {
		return nil
	}
	r := &resumes{since: make(map[string]protocol.Serial, len(e.Since))}
	for channel, text := range e.Since {
		r.since[channel], _ = protocol.ParseSerial(text)
	}
	for _, text := range e.Sockets {
		if id, ok := protocol.ParseSocketID(text); ok {
			r.sockets = append(r.sockets, id)
		}
	}
	return r
}
