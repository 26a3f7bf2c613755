package load

import (
	"bytes"
	"fmt"
	"strings"

	"belfry/auth"
)

// event is the name of every published event.
const event = "bench"

// App is the application that the clients belong to.
type App struct {
	ID string
	auth.Credentials
}

// handshake is a client's first request.
func handshake(host, key string) []byte {
	return []byte("GET /app/" + key + "?protocol=7&client=bench&version=1 HTTP/1.1\r\n" +
		"Host: " + host + "\r\n" +
		"Connection: Upgrade\r\n" +
		"Upgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
}

// subscription is the message that subscribes; private and presence channels are
// signed for the socket id. The user is who joins a presence channel.
func subscription(app App, channel, socketID string, user int) []byte {
	message := `{"event":"pusher:subscribe","data":{"channel":"` + channel + `"`
	channelData := ""
	if strings.HasPrefix(channel, presencePrefix) {
		channelData = fmt.Sprintf(`{"user_id":"%d","user_info":{"name":"User %d"}}`, user, user)
		message += `,"channel_data":"` + string(escape([]byte(channelData))) + `"`
	}
	if channelData != "" || strings.HasPrefix(channel, "private-") {
		message += `,"auth":"` + app.SignChannel(socketID, channel, channelData) + `"`
	}
	return []byte(message + "}}")
}

// presencePrefix begins the names of presence channels.
const presencePrefix = "presence-"

// unsubscription is the message that ends a subscription. It has no answer.
func unsubscription(channel string) []byte {
	return []byte(`{"event":"pusher:unsubscribe","data":{"channel":"` + channel + `"}}`)
}

var pusherPong = []byte(`{"event":"pusher:pong","data":{}}`)

// findSocketID reads socket_id out of pusher:connection_established, however
// its JSON is spaced and escaped.
func findSocketID(message []byte) []byte {
	_, rest, _ := bytes.Cut(message, []byte("socket_id"))
	start := bytes.IndexAny(rest, "0123456789")
	if start < 0 {
		return nil
	}
	rest = rest[start:]
	for i, c := range rest {
		if c != '.' && (c < '0' || c > '9') {
			return rest[:i]
		}
	}
	return nil
}

// data is what an event of this size carries, with a stamp yet to be written
// into its beginning.
func data(size int) []byte {
	b := appendStamp(make([]byte, 0, size), 0, 0)
	for len(b) < size {
		b = append(b, 'x')
	}
	return b
}

// delivery is the message that a subscriber must get for an event, and where
// in it the stamp begins. Belfry and the reference write the same bytes.
func delivery(channel string, size int) (message []byte, stamp int) {
	message = append(message, `{"event":"`+event+`","channel":"`+channel+`","data":"`...)
	stamp = len(message)
	message = append(message, data(size)...)
	return append(message, `"}`...), stamp
}

// ClosedError is a close that the server sent of itself.
type ClosedError struct {
	Code   int
	Reason string
}

func (e *ClosedError) Error() string {
	return fmt.Sprintf("the server closed the connection: %d %s", e.Code, e.Reason)
}

// clip is the beginning of what an error repeats.
func clip(b []byte) []byte { return b[:min(len(b), 300)] }
