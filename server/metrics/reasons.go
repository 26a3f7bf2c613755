package metrics

import "belfry/protocol"

// CloseReason says why a connection ended.
type CloseReason string

// The reasons, with the close code that the client is told.
const (
	ByClient      CloseReason = "client"         // closed or left by the client
	PongTimeout   CloseReason = "pong_timeout"   // 4201
	SlowConsumer  CloseReason = "slow_consumer"  // 4100
	Drain         CloseReason = "drain"          // 4200
	NotAuthorized CloseReason = "not_authorized" // 4009, by require_signin
	Terminated    CloseReason = "terminated"     // terminate_code: the application's backend said so
	Console       CloseReason = "console"        // 4009, 4200: an operator said so
	AppClosed     CloseReason = "app_closed"     // 4003, 4009: its application was disabled or removed
	ProtocolError CloseReason = "protocol_error" // 1002, 1007: RFC 6455 says it must close
	TooBig        CloseReason = "too_big"        // 1009: a message of more than max_message_bytes
	Unfinished    CloseReason = "unfinished"     // 4202: a message that took longer than message_timeout
	Panic         CloseReason = "panic"          // a bug
)

func closeReasons() []CloseReason {
	return []CloseReason{
		ByClient, PongTimeout, SlowConsumer, Drain, NotAuthorized, Terminated, Console, AppClosed, ProtocolError, TooBig, Unfinished, Panic,
	}
}

// errorCodes are those of error events to connected clients.
func errorCodes() []int {
	return []int{
		0, protocol.CodeAppDisabled, protocol.CodeUnauthorized, protocol.CodeOverCapacity, protocol.CodeReconnect,
		protocol.CodePongTimeout, protocol.CodeInactive, protocol.CodeClientEvent, protocol.CodeWatchlist,
	}
}

// refusalCodes are those with which an application's connections are refused.
func refusalCodes() []int {
	return []int{
		protocol.CodeAppDisabled, protocol.CodeOverQuota, protocol.CodeBadVersion, protocol.CodeUnsupportedProtocol,
		protocol.CodeNoProtocol, protocol.CodeUnauthorized, protocol.CodeOverCapacity,
	}
}

// unknownCodes are those with which connections to unknown applications are refused.
func unknownCodes() []int {
	return []int{protocol.CodeAppNotFound, protocol.CodePathNotFound, protocol.CodeNoProtocol, protocol.CodeOverCapacity, protocol.CodeReconnect}
}
