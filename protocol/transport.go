package protocol

// Transport is how a client is connected.
type Transport uint8

// The transports. The HTTP ones are called as in pusher-js.
const (
	WebSocket Transport = iota
	XHRStreaming
	XHRPolling

	// NumTransports is how many transports there are.
	NumTransports
)

func (t Transport) String() string {
	switch t {
	case XHRStreaming:
		return "xhr_streaming"
	case XHRPolling:
		return "xhr_polling"
	default:
		return "websocket"
	}
}

// Lines reports whether the transport carries lines instead of frames.
func (t Transport) Lines() bool { return t != WebSocket }
