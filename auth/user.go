package auth

// SignUser returns the token, "KEY:DIGEST", with which the connection with this
// socket id signs in as a user. userData is JSON with at least an "id".
// socketID must have been validated: see [Credentials.SignChannel].
func (c Credentials) SignUser(socketID, userData string) string {
	return c.token(userMessage(socketID, userData))
}

// VerifyUser checks the auth of pusher:signin. userData is the text the client
// sent, not re-encoded.
//
// It returns [ErrNoSignature], [ErrKey] or [ErrSignature].
func (c Credentials) VerifyUser(token, socketID, userData string) error {
	return c.verifyToken(token, userMessage(socketID, userData), "socket_id::user::user_data")
}

func userMessage(socketID, userData string) []byte {
	const separator = "::user::"
	b := make([]byte, 0, len(socketID)+len(separator)+len(userData))
	b = append(b, socketID...)
	b = append(b, separator...)
	return append(b, userData...)
}
