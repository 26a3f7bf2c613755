package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/go-json-experiment/json/jsontext"

	"belfry/protocol"
)

const (
	// pongTimeout is how long an answer to pusher:ping may take, as in pusher-js.
	pongTimeout = 30 * time.Second
	// maxMessage bounds a message, in bytes: the members of a presence channel come as
	// one.
	maxMessage = 64 << 20
)

// Message is what the server sends.
type Message struct {
	Event   string
	Channel string // empty if it concerns none
	// Data is the text of the event: what a string holds, else JSON.
	Data   string
	UserID string // of a client event on a presence channel
	Serial string // of a channel with a history
}

// HandshakeError is an answer other than 101 to the WebSocket handshake.
type HandshakeError struct {
	Status int
	Header http.Header
	Text   string // as in [StatusError]
}

func (e *HandshakeError) Error() string {
	text := fmt.Sprintf("the WebSocket handshake is answered with %d %s", e.Status, http.StatusText(e.Status))
	if e.Text != "" {
		text += ": " + e.Text
	}
	return text
}

// CloseError says that the server closed the connection. The code tells the client what to
// do; see [protocol.Error].
type CloseError struct {
	Code   int
	Reason string
}

func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("closed with %d", e.Code)
	}
	return fmt.Sprintf("closed with %d: %s", e.Code, e.Reason)
}

// GreetingError says that a WebSocket opened and that no greeting of the protocol followed.
type GreetingError struct{ error }

func (e *GreetingError) Unwrap() error { return e.error }

// ErrSilent says that the server did not answer a pusher:ping.
var ErrSilent = errors.New("the server has not answered pusher:ping")

// Handshake has the settings of one connection.
type Handshake struct {
	Origin string // of the page; empty: none
	// Pinged is called when a ping of WebSocket comes; nil: nobody is told.
	Pinged func()
}

// Conn is a connection that the server has greeted. [Conn.Close] has to be called.
// All methods may be called concurrently.
type Conn struct {
	SocketID string
	// ActivityTimeout is the silence after which the client sends pusher:ping.
	ActivityTimeout time.Duration

	client   *Client
	socket   *websocket.Conn
	messages chan Message
	heard    chan struct{} // something has come
	closing  context.Context
	close    context.CancelFunc
	ending   sync.WaitGroup // of the goroutines that read and ping

	mu     sync.Mutex // guards what follows
	silent bool
	err    error
}

// url is where a page connects.
func (c *Client) url() string {
	at := c.WebSocket.JoinPath("app", c.Credentials.Key)
	at.RawQuery = query
	return at.String()
}

// query tells the server which protocol and which client connects.
const query = "protocol=7&client=belfry&version=1"

// Dial connects and waits for the greeting. The error is a *[HandshakeError] if the server
// answers the handshake with another status, a *[CloseError] if it refuses the client
// behind it, and a *[GreetingError] if what follows is not the protocol.
func (c *Client) Dial(ctx context.Context, h Handshake) (*Conn, error) {
	conn := &Conn{client: c, messages: make(chan Message), heard: make(chan struct{}, 1)}
	options := &websocket.DialOptions{HTTPClient: c.http(), HTTPHeader: make(http.Header)}
	options.OnPingReceived = func(context.Context, []byte) bool {
		conn.hear()
		if h.Pinged != nil {
			h.Pinged()
		}
		return true
	}
	if h.Origin != "" {
		options.HTTPHeader.Set("Origin", h.Origin)
	}
	socket, resp, err := websocket.Dial(ctx, c.url(), options)
	switch {
	case err != nil && resp != nil && resp.StatusCode != http.StatusSwitchingProtocols:
		text, _ := io.ReadAll(resp.Body) // of memory
		return nil, &HandshakeError{resp.StatusCode, resp.Header, errorText(text)}
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, plain(err)
	}
	conn.socket = socket
	socket.SetReadLimit(maxMessage)
	if err := conn.greeted(ctx); err != nil {
		socket.CloseNow()
		if closed := (*CloseError)(nil); !errors.As(err, &closed) {
			err = &GreetingError{err}
		}
		return nil, err
	}
	conn.closing, conn.close = context.WithCancel(context.Background())
	conn.ending.Go(conn.read)
	conn.ending.Go(conn.watch)
	return conn, nil
}

// greeted reads the greeting.
func (c *Conn) greeted(ctx context.Context) error {
	m, err := c.next(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("no greeting came: %w", context.Cause(ctx))
		}
		return err
	}
	return greeting(m, c)
}

// greeting reads the first message into c.
func greeting(m Message, c *Conn) error {
	switch m.Event {
	case protocol.EventError:
		code, text := ParseError(m)
		return &CloseError{code, text}
	case protocol.EventConnectionEstablished:
	default:
		return fmt.Errorf("the first message is %q, not %s", clip(m.Event), protocol.EventConnectionEstablished)
	}
	var data struct {
		SocketID        string  `json:"socket_id"`
		ActivityTimeout float64 `json:"activity_timeout"`
	}
	if err := protocol.ReadJSON([]byte(m.Data), &data); err != nil || !protocol.WellFormedSocketID(data.SocketID) {
		return fmt.Errorf("the greeting has no socket_id of two numbers and a dot: %s", clip(m.Data))
	}
	if data.ActivityTimeout <= 0 {
		return fmt.Errorf("the greeting has no activity_timeout, without which pusher-js gives up: %s", clip(m.Data))
	}
	c.SocketID = data.SocketID
	c.ActivityTimeout = time.Duration(data.ActivityTimeout * float64(time.Second))
	return nil
}

// ParseError reads the data of pusher:error. code is 0 where the server has none.
func ParseError(m Message) (code int, text string) {
	var data struct {
		Code    *int   `json:"code"`
		Message string `json:"message"`
	}
	if protocol.ReadJSON([]byte(m.Data), &data) != nil {
		return 0, clip(m.Data)
	}
	if data.Code != nil {
		code = *data.Code
	}
	return code, clip(data.Message)
}

// next reads a message. The error of a close frame is a *[CloseError].
func (c *Conn) next(ctx context.Context) (Message, error) {
	_, text, err := c.socket.Read(ctx)
	if closed := (websocket.CloseError{}); errors.As(err, &closed) {
		return Message{}, &CloseError{int(closed.Code), clip(closed.Reason)}
	}
	if err != nil {
		return Message{}, fmt.Errorf("the connection broke: %w", cause(err))
	}
	return parse(text)
}

func parse(text []byte) (Message, error) {
	var m struct {
		Event   string         `json:"event"`
		Channel string         `json:"channel"`
		Data    jsontext.Value `json:"data"`
		UserID  string         `json:"user_id"`
		Serial  string         `json:"serial"`
	}
	if err := protocol.ReadJSON(text, &m); err != nil {
		return Message{}, fmt.Errorf("a message of the server is not the protocol's: %w", err)
	}
	message := Message{m.Event, m.Channel, string(m.Data), m.UserID, m.Serial}
	if m.Data.Kind() == '"' {
		if err := protocol.ReadJSON(m.Data, &message.Data); err != nil {
			return Message{}, fmt.Errorf("the data of a message of the server cannot be read: %w", err)
		}
	}
	return message, nil
}

// cause returns the innermost error: what the library adds says nothing to a user.
func cause(err error) error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	if errors.Is(err, io.EOF) {
		return errors.New("it ended without a close frame")
	}
	return err
}

func (c *Conn) hear() {
	select {
	case c.heard <- struct{}{}:
	default:
	}
}

// read hands on what comes until the connection ends.
func (c *Conn) read() {
	defer c.close()
	defer close(c.messages)
	for {
		m, err := c.next(context.Background()) // Close ends it
		c.hear()
		if err != nil {
			c.mu.Lock()
			if c.silent {
				err = ErrSilent
			}
			c.err = err
			c.mu.Unlock()
			return
		}
		if m.Event == protocol.EventPing {
			c.send(protocol.EventPong, struct{}{})
			continue
		}
		select {
		case c.messages <- m:
		case <-c.closing.Done():
			return
		}
	}
}

// watch asks for a sign of life when nothing has come for the activity timeout.
func (c *Conn) watch() {
	timer := time.NewTimer(c.ActivityTimeout)
	defer timer.Stop()
	for asked := false; ; {
		select {
		case <-c.closing.Done():
			return
		case <-c.heard:
			asked = false
			timer.Reset(c.ActivityTimeout)
		case <-timer.C:
			if asked {
				c.mu.Lock()
				c.silent = true
				c.mu.Unlock()
				c.socket.CloseNow()
				return
			}
			asked = true
			timer.Reset(pongTimeout)
			c.send(protocol.EventPing, struct{}{})
		}
	}
}

// Messages are what comes, but for pusher:ping, which is answered. The channel is closed
// when the connection ends; [Conn.Err] then says why.
func (c *Conn) Messages() <-chan Message { return c.messages }

// Err is why the connection ended: a *[CloseError], [ErrSilent] or an error of the
// network.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close closes the connection and waits for its goroutines.
func (c *Conn) Close() {
	c.close()
	_ = c.socket.Close(websocket.StatusNormalClosure, "") // an error: it has ended
	_ = c.socket.CloseNow()
	c.ending.Wait()
}

// sendTimeout is how long the network may take to take a message.
const sendTimeout = 10 * time.Second

// send sends an event. It returns no error: one ends the connection, which the reader sees.
func (c *Conn) send(event string, data any) {
	message, err := json.Marshal(map[string]any{"event": event, "data": data})
	if err != nil {
		return // of text and maps of text: it cannot be
	}
	ctx, cancel := context.WithTimeout(c.closing, sendTimeout)
	defer cancel()
	_ = c.socket.Write(ctx, websocket.MessageText, message)
}

// Ping asks the server for a pusher:pong.
func (c *Conn) Ping() { c.send(protocol.EventPing, struct{}{}) }

// Subscribe asks for a channel, signed if its kind needs that. userID is the member on
// a presence channel. The answer is among the messages. The error is [ErrNoSecret].
func (c *Conn) Subscribe(channel, userID string) error {
	data := map[string]string{"channel": channel}
	if protocol.KindOf(channel).IsPresence() {
		member, err := json.Marshal(map[string]string{"user_id": userID})
		if err != nil {
			return err
		}
		data["channel_data"] = string(member)
	}
	if protocol.KindOf(channel).Authorized() {
		if c.client.Credentials.Secret == "" {
			return ErrNoSecret
		}
		data["auth"] = c.client.Credentials.SignChannel(c.SocketID, channel, data["channel_data"])
	}
	c.send(protocol.EventSubscribe, data)
	return nil
}

// SubscribeWith asks for a channel with the auth and channel data that an application
// gave.
func (c *Conn) SubscribeWith(channel, auth, channelData string) {
	data := map[string]string{"channel": channel, "auth": auth}
	if channelData != "" {
		data["channel_data"] = channelData
	}
	c.send(protocol.EventSubscribe, data)
}

// SignIn signs in as a user. The answer is among the messages. The error is
// [ErrNoSecret].
func (c *Conn) SignIn(userID string) error {
	if c.client.Credentials.Secret == "" {
		return ErrNoSecret
	}
	user, err := json.Marshal(map[string]string{"id": userID})
	if err != nil {
		return err
	}
	c.send(protocol.EventSignin, map[string]string{
		"user_data": string(user),
		"auth":      c.client.Credentials.SignUser(c.SocketID, string(user)),
	})
	return nil
}

// Recover asks, before subscribing, for what was missed on channels since these serials.
// socketIDs are those of earlier connections.
func (c *Conn) Recover(serials map[string]string, socketIDs []string) {
	c.send(protocol.EventRecover, map[string]any{"channels": serials, "socket_ids": socketIDs})
}
