package session

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/time/rate"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/config"
	"belfry/server/metrics"
	"belfry/server/trace"
)

// Handle takes one text message of the client, valid UTF-8. It keeps nothing
// of b.
func (s *Session) Handle(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.app.Metrics.Received(len(b))
	m, err := protocol.ParseMessage(b)
	switch {
	case !s.withinRate(1):
		s.drop(m)
		return
	case err != nil:
		s.refuse(&protocol.Error{Message: "Invalid message: " + err.Error()})
		return
	}
	if s.defers(m, len(b)) {
		return
	}
	s.handle(m)
}

// handle is Handle for a message that was read. mu is held; it is released
// while the message waits for the cluster.
func (s *Session) handle(m protocol.Message) {
	switch m.Event {
	case protocol.EventPing:
		s.answer(protocol.PongFrame)
	case protocol.EventPong:
		// A sign of life, which any message is.
	case protocol.EventSubscribe:
		s.subscribe(m.Data)
	case protocol.EventUnsubscribe:
		s.unsubscribe(m.Data)
	case protocol.EventSignin:
		s.signIn(m.Data)
	case protocol.EventRecover:
		s.recover(m.Data)
	default:
		if strings.HasPrefix(m.Event, protocol.PrefixClient) {
			s.clientEvent(m)
			return
		}
		s.refuse(protocol.Errorf(0, "Unknown event %q: clients may send pusher:ping, pusher:pong, pusher:subscribe, pusher:unsubscribe, pusher:signin, pusher:recover and client- events", clipped(m.Event)))
	}
}

// HandleBinary refuses a binary message; the protocol has text only.
func (s *Session) HandleBinary(size int) {
	s.HandleInvalid(size, "Binary messages are not supported: send JSON as text")
}

// HandleInvalid refuses what the transport could not take as a message of
// size bytes.
func (s *Session) HandleInvalid(size int, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.app.Metrics.Received(size)
	if !s.withinRate(1) {
		s.drop(protocol.Message{})
		return
	}
	s.refuse(&protocol.Error{Message: why})
}

func (s *Session) subscribe(data []byte) {
	req, err := protocol.ParseSubscribe(data)
	if err != nil {
		e := &protocol.Error{Message: "Invalid pusher:subscribe: " + err.Error()}
		if req.Channel == "" {
			s.refuse(e)
		} else {
			s.refuseSubscription(req.Channel, protocol.SubscriptionInvalid, 400, e)
		}
		return
	}
	if err := protocol.CheckChannel(req.Channel, s.app.Settings().MaxChannelName); err != nil {
		s.refuseSubscription(req.Channel, protocol.SubscriptionInvalid, 400, &protocol.Error{Message: err.Error()})
		return
	}
	kind := protocol.KindOf(req.Channel)
	if kind == protocol.User {
		s.subscribeToUser(req.Channel)
		return
	}
	if kind.Authorized() {
		if err := s.app.Settings().Credentials.VerifyChannel(req.Auth, s.id.String(), req.Channel, req.ChannelData); err != nil {
			s.refuseSubscription(req.Channel, protocol.SubscriptionAuthError, 401,
				&protocol.Error{Code: protocol.CodeUnauthorized, Message: err.Error()})
			return
		}
	}
	var member *protocol.Member
	if kind.IsPresence() {
		if member, err = s.member(req.ChannelData); err != nil {
			s.refuseSubscription(req.Channel, protocol.SubscriptionInvalid, 400, &protocol.Error{Message: err.Error()})
			return
		}
	}
	s.join(req.Channel, member)
}

// member is who joins a presence channel: the one of channel_data, else the
// user who signed in.
func (s *Session) member(channelData string) (*protocol.Member, error) {
	most := s.app.Settings().MaxPresenceUserBytes
	if channelData == "" && s.user != nil {
		m := &protocol.Member{UserID: s.user.UserID(), UserInfo: s.user.info}
		return m, m.Check(most)
	}
	m, err := protocol.ParseMember(channelData, most)
	return &m, err
}

// join subscribes and answers, so that the answer precedes every event.
func (s *Session) join(channel string, member *protocol.Member) {
	if existing := s.subscriptions.find(channel); existing != nil {
		s.rejoin(existing, member)
		return
	}
	if most := s.app.Settings().MaxChannelsPerConnection; most > 0 && s.subscriptions.len() >= most {
		s.app.Metrics.LimitMet(metrics.MaxChannelsPerConnection)
		s.refuseSubscription(channel, protocol.SubscriptionLimitReached, 4100,
			protocol.Errorf(protocol.CodeOverCapacity, "Connection is subscribed to %d channels, the most it may: see max_channels_per_connection", most))
		return
	}
	var sub *channels.Subscription
	var joined channels.Joined
	var err error
	recovery := s.recovery(channel)
	s.unlocked(func() { sub, joined, err = s.app.Channels.Recover(s, channel, member, recovery) })
	switch {
	case errors.Is(err, channels.ErrFull):
		s.app.Metrics.LimitMet(metrics.MaxPresenceMembers)
		s.refuseSubscription(channel, protocol.SubscriptionLimitReached, 4100,
			protocol.Errorf(protocol.CodeOverCapacity, "Presence channel has %d members, the most it may: see max_presence_members", s.app.Settings().MaxPresenceMembers))
		return
	case err != nil:
		s.refuseSubscription(channel, protocol.SubscriptionUnavailable, 503, unavailable(err))
		return
	case s.ended:
		s.app.Channels.Unsubscribe(sub)
		s.conn.Release(nil)
		return
	}
	s.subscriptions.add(sub)
	s.forgetRecovery(channel)
	if sub.Kind().Authorized() {
		s.authorized.Store(true)
	}
	defer s.makeRoom(&joined.Replay)()
	s.countRecovery(channel, recovery, joined.Recovery)
	answer, messages := slices.Grow(succeeded(sub, joined), joined.Bytes), 1
	add := func(f protocol.Frame) {
		answer = append(answer, f...)
		messages++
	}
	switch {
	case joined.Miss:
		add(protocol.CacheMissFrame(sub.Channel()))
	case joined.Last != nil:
		add(joined.Last)
	}
	for _, f := range joined.Frames {
		add(f)
	}
	if joined.Count > 0 {
		add(protocol.SubscriptionCountFrame(sub.Channel(), joined.Count))
	}
	s.app.Metrics.Delivered(messages, len(answer))
	s.conn.Release(answer)
	if s.watched() {
		s.trace(trace.Record{Kind: trace.Subscribe, Channel: sub.Channel(), UserID: sub.UserID()})
	}
}

// rejoin answers a client that is subscribed already: the same answer, and
// nothing for the others. A presence member stays who it was.
func (s *Session) rejoin(sub *channels.Subscription, member *protocol.Member) {
	if member != nil && member.UserID != sub.UserID() {
		s.refuseSubscription(sub.Channel(), protocol.SubscriptionInvalid, 400,
			&protocol.Error{Message: "Existing subscription to channel \"" + sub.Channel() + "\" with another user_id: unsubscribe first"})
		return
	}
	s.answer(succeeded(sub, s.app.Channels.Rejoin(sub, nil)))
}

func succeeded(sub *channels.Subscription, joined channels.Joined) protocol.Frame {
	return protocol.Success{Channel: sub.Channel(), Members: joined.Members, Serial: joined.Serial, Recovery: joined.Recovery}.Frame()
}

// refuseSubscription answers twice: the event on the channel reaches the
// channel's error handlers (Echo's .error()), the error event everybody else.
func (s *Session) refuseSubscription(channel, kind string, status int, e *protocol.Error) {
	s.answer(protocol.SubscriptionErrorFrame(channel, kind, e.Message, status))
	s.refuse(e, slog.String("channel", channel))
}

func (s *Session) unsubscribe(data []byte) {
	req, err := protocol.ParseSubscribe(data)
	if err != nil {
		s.refuse(&protocol.Error{Message: "Invalid pusher:unsubscribe: " + err.Error()})
		return
	}
	s.forgetRecovery(req.Channel)
	// An unknown channel is not an error in Pusher either.
	if sub := s.subscriptions.remove(req.Channel); sub != nil {
		if s.watched() {
			s.trace(trace.Record{Kind: trace.Unsubscribe, Channel: sub.Channel(), UserID: sub.UserID()})
		}
		s.app.Channels.Unsubscribe(sub)
	}
}

// clientEvent relays a client event to the channel's other subscribers.
func (s *Session) clientEvent(m protocol.Message) {
	refuse := func(format string, args ...any) {
		s.refuseOn(m.Channel, protocol.Errorf(protocol.CodeClientEvent, format, args...))
	}
	settings := s.app.Settings()
	if settings.ClientEvents == config.ClientEventsNone {
		refuse("Client events are off for this app: see client_events in the server's configuration")
		return
	}
	if n := utf8.RuneCountInString(m.Event); n > settings.MaxChannelName {
		refuse("Client event name is %d characters long, more than max_channel_name %d", n, settings.MaxChannelName)
		return
	}
	if kind := protocol.KindOf(m.Channel); !kind.ClientEvents() {
		refuse("Client events are for private and presence channels only; %q is %s", clipped(m.Channel), kind)
		return
	}
	sub := s.subscriptions.find(m.Channel)
	if sub == nil {
		refuse("Client event on %q, which this connection is not subscribed to", clipped(m.Channel))
		return
	}
	if !s.mayWhisper(settings.ClientEventRate) {
		s.app.Metrics.LimitMet(metrics.ClientEventRate)
		refuse("Client events of this connection exceed %d a second: see client_event_rate", settings.ClientEventRate)
		return
	}
	data, size, err := protocol.StringData(m.Data)
	if err != nil {
		refuse("%v", err)
		return
	}
	if size > settings.MaxEventBytes {
		s.app.Metrics.LimitMet(metrics.MaxEventBytes)
		refuse("Client event data is %d bytes, more than max_event_bytes %d", size, settings.MaxEventBytes)
		return
	}
	event := protocol.Event{Name: m.Event, Channel: m.Channel, Data: data, UserID: sub.UserID()}
	if err := s.app.Channels.PublishFrom(sub, event, s.signedIn()); err != nil {
		refuse("Client event dropped: %s", public(err))
		return
	}
	s.app.Metrics.ClientEvent()
}

// mayWhisper takes from the connection's allowance of client events, which is
// most a second; 0 for no limit.
func (s *Session) mayWhisper(most int) bool {
	if most == 0 {
		return true
	}
	seldom := s.needs()
	if seldom.clientEvents == nil || seldom.clientEvents.Burst() != most {
		seldom.clientEvents = rate.NewLimiter(rate.Limit(most), most)
	}
	return seldom.clientEvents.Allow()
}
