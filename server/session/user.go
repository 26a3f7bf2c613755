package session

import (
	"bytes"
	"log/slog"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/trace"
)

// user is who signed in on a connection.
type user struct {
	*channels.Identity
	info []byte // user_info, nil for none
}

// signIn verifies who the client is and answers with it, and with where the
// users of its watchlist are.
func (s *Session) signIn(data []byte) {
	refuse := func(message string) {
		s.refuse(&protocol.Error{Code: protocol.CodeUnauthorized, Message: message})
	}
	req, err := protocol.ParseSignin(data)
	if err != nil {
		refuse("Invalid pusher:signin: " + err.Error())
		return
	}
	if err := s.app.Settings().Credentials.VerifyUser(req.Auth, s.id.String(), req.UserData); err != nil {
		refuse(err.Error())
		return
	}
	identity, err := protocol.ParseIdentity(req.UserData)
	if err != nil {
		refuse("Invalid pusher:signin: " + err.Error())
		return
	}
	success := protocol.SigninSuccessFrame(req.UserData)
	if s.user != nil {
		if s.user.UserID() != identity.UserID {
			refuse("Connection is signed in as another user: reconnect to change that")
			return
		}
		s.answer(success)
		return
	}
	var i *channels.Identity
	var online, offline []string
	s.unlocked(func() {
		i, online, offline, err = s.app.Channels.SignIn(s, identity.UserID, identity.Watchlist)
	})
	switch {
	case err != nil:
		s.refuse(unavailable(err))
		return
	case s.ended:
		s.app.Channels.SignOut(i)
		s.conn.Release(nil)
		return
	}
	s.user = &user{Identity: i, info: bytes.Clone(identity.UserInfo)}
	s.authorized.Store(true)
	answer, messages := success, 1
	if len(identity.Watchlist) > 0 {
		answer = append(answer, protocol.WatchlistFrame(online, offline)...)
		messages++
	}
	s.app.Metrics.Delivered(messages, len(answer))
	s.conn.Release(answer)
	if identity.WatchlistCut {
		s.refuse(protocol.Errorf(protocol.CodeWatchlist, "Watchlist has more than %d users: the first %d are watched",
			protocol.MaxWatchlist, protocol.MaxWatchlist))
	}
	if s.watched() {
		s.trace(trace.Record{Kind: trace.SignIn})
	}
	if log := s.admission.Log; log.Enabled(noContext, slog.LevelDebug) {
		log.Debug("signed in", "app", s.app.ID, "socket_id", s.id.String(), "user", clipped(identity.UserID))
	}
}

// subscribeToUser answers a client that asks for its own user's channel, on
// which it has been since it signed in.
func (s *Session) subscribeToUser(channel string) {
	switch {
	case s.user == nil:
		s.refuseSubscription(channel, protocol.SubscriptionAuthError, 401,
			&protocol.Error{Code: protocol.CodeUnauthorized, Message: "Connection is not signed in: only a user's own connections may subscribe to its channel"})
	case channel != protocol.PrefixUser+s.user.UserID():
		s.refuseSubscription(channel, protocol.SubscriptionAuthError, 401,
			&protocol.Error{Code: protocol.CodeUnauthorized, Message: "Connection is signed in as another user than that of the channel"})
	default:
		s.answer(protocol.Success{Channel: channel}.Frame())
	}
}
