package protocol

import (
	"fmt"
	"strconv"
)

// Codes of pusher:error events and of WebSocket close frames. The range tells
// the client what to do after a close: 4000 to 4099 never reconnect, 4100 to
// 4199 reconnect after a second, 4200 to 4299 reconnect at once, 4300 and up
// never reconnect (they are for events on a connection that stays).
const (
	CodeAppNotFound         = 4001
	CodeAppDisabled         = 4003
	CodeOverQuota           = 4004 // the application's max_connections
	CodePathNotFound        = 4005
	CodeBadVersion          = 4006
	CodeUnsupportedProtocol = 4007
	CodeNoProtocol          = 4008
	CodeUnauthorized        = 4009
	CodeOverCapacity        = 4100 // also a slow consumer
	CodeReconnect           = 4200 // restart, drain
	CodePongTimeout         = 4201
	CodeInactive            = 4202 // a message was begun and not finished
	CodeClientEvent         = 4301 // client event refused; the connection stays
	CodeWatchlist           = 4302 // watchlist too long; the connection stays
)

// Error is a refusal with the protocol's code. Sent as a pusher:error event
// and, when it ends the connection, as the code and reason of the close frame.
type Error struct {
	// Code is one of the Code constants, or 0 where Pusher itself has none
	// (it is sent as null).
	Code int
	// Message says what was given and what is accepted. Never a secret.
	Message string
}

// Errorf makes an Error with a formatted message.
func Errorf(code int, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	if e.Code == 0 {
		return e.Message
	}
	return strconv.Itoa(e.Code) + ": " + e.Message
}
