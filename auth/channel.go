package auth

import "strings"

// SignChannel returns the token, "KEY:DIGEST", that lets the connection with
// this socket id subscribe to a private or presence channel. channelData is
// the JSON text with user_id and user_info for a presence channel, empty
// otherwise.
//
// The parts are joined with ":". An application that signs for its clients
// must validate socketID (two numbers and a dot) and channel (no ":") first,
// or a client chooses where one part ends and the next begins.
func (c Credentials) SignChannel(socketID, channel, channelData string) string {
	return c.token(channelMessage(socketID, channel, channelData))
}

// VerifyChannel checks the auth of a subscription. channelData is the text the
// client sent, not re-encoded; empty if it sent none. channel must be a valid
// channel name, which has no ":" in it.
//
// It returns [ErrNoSignature], [ErrKey] or [ErrSignature].
func (c Credentials) VerifyChannel(token, socketID, channel, channelData string) error {
	return c.verifyToken(token, channelMessage(socketID, channel, channelData), "socket_id:channel_name, and :channel_data if there is any,")
}

func channelMessage(socketID, channel, channelData string) []byte {
	b := make([]byte, 0, len(socketID)+len(channel)+len(channelData)+2)
	b = append(b, socketID...)
	b = append(b, ':')
	b = append(b, channel...)
	// Not for presence channels alone: Pusher's PHP library signs custom data
	// of a private channel as well.
	if channelData != "" {
		b = append(b, ':')
		b = append(b, channelData...)
	}
	return b
}

func (c Credentials) token(message []byte) string {
	b := make([]byte, 0, len(c.Key)+1+digestLen)
	b = append(b, c.Key...)
	b = append(b, ':')
	return string(c.appendDigest(b, message))
}

// verifyToken checks "KEY:DIGEST" over message, which form describes. Neither
// the digest nor the message is repeated: the error ends up in logs.
func (c Credentials) verifyToken(token string, message []byte, form string) error {
	if err := c.usable(); err != nil {
		return err
	}
	if token == "" {
		return refuse(ErrNoSignature, "no auth given: expected \"KEY:DIGEST\" from the application's auth endpoint")
	}
	key, digest, found := strings.Cut(token, ":") // no key has a colon
	if !found {
		return refuse(ErrKey, "auth has no key: expected \"KEY:DIGEST\" from the application's auth endpoint")
	}
	if key != c.Key {
		return c.wrongKey("the key in auth", key)
	}
	if !c.signs(digest, message) {
		return refuse(ErrSignature, "invalid signature: it is not the HMAC SHA256 hex digest of %s as sent, with the secret of key %s; "+
			"check that the auth endpoint uses that secret, and that it was asked for this connection's socket id",
			form, clip(c.Key))
	}
	return nil
}
