package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"belfry/commands/client"
	"belfry/protocol"
)

// Listen prints the events of channels as they come.
type Listen struct {
	Client   *client.Client
	Channels []string
	// User is the member on presence channels; empty if there is none among Channels.
	User string
	// JSON prints a JSON object a line: see [Received].
	JSON bool
	// Count ends it after so many events, those of the protocol itself not counted; 0:
	// never.
	Count int
	// Timeout ends it after that time: with an error if Count events have not come; 0:
	// never.
	Timeout time.Duration
	Out     io.Writer
	Err     io.Writer

	pause func(ctx context.Context, d time.Duration) // nil outside of tests

	got        int
	subscribed bool              // to anything, ever
	serials    map[string]string // the last of each channel that has them
	socketIDs  []string          // of the connections so far, the last first
}

// Received is an event as [Listen] prints it with JSON.
type Received struct {
	Channel string `json:"channel"`
	Event   string `json:"event"`
	// Data is the JSON that the text of the event is, or the text as a string if it is
	// none: what pusher-js hands on.
	Data     json.RawMessage `json:"data"`
	UserID   string          `json:"user_id,omitempty"` // who sent it, of a client event on a presence channel
	Serial   string          `json:"serial,omitempty"`  // of a channel with a history
	Received time.Time       `json:"received"`
}

var (
	errEnough  = errors.New("enough events")
	errTimeout = errors.New("the time is over")
)

// Run listens until the context ends, which is no error. It connects again as pusher-js
// does, and asks for the events that it missed where the server keeps a history. Run returns
// an error if the first connection fails, if no channel can be subscribed to, and when the
// server closes with a code after which clients stay away.
func (l *Listen) Run(ctx context.Context) error {
	outer := ctx
	if l.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, l.Timeout, errTimeout)
		defer cancel()
	}
	if l.pause == nil {
		l.pause = pause
	}
	l.serials = make(map[string]string)
	for failures := 0; ; {
		err := l.connection(ctx)
		switch {
		case errors.Is(err, errEnough) || outer.Err() != nil:
			return nil
		case ctx.Err() != nil && l.Count > 0:
			return fmt.Errorf("%d of %d events came within %v", l.got, l.Count, l.Timeout)
		case ctx.Err() != nil:
			return nil
		}
		var end *lost
		if !errors.As(err, &end) {
			return err
		}
		if end.worked {
			failures = 0
		}
		wait, again := end.reconnect(failures)
		if !again || len(l.socketIDs) == 0 && !closed(err) {
			return err
		}
		failures++
		fmt.Fprintf(l.Err, "belfry: %v; connecting again\n", err)
		l.pause(ctx, wait)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func closed(err error) bool {
	var e *client.CloseError
	return errors.As(err, &e)
}

// maxWait is the longest wait between two attempts to connect.
const maxWait = 30 * time.Second

// lost says why a connection ended or could not be made.
type lost struct {
	error
	worked bool // a channel was subscribed to on it
}

func (l *lost) Unwrap() error { return l.error }

// reconnect says how long to wait, and whether to connect again at all, after that many
// failures in a row. It is what pusher-js does by the code of the close (see
// [protocol.Error]); all else backs off. A server that sends every client away at once is
// not asked again at once.
func (l *lost) reconnect(failures int) (wait time.Duration, again bool) {
	wait = min(time.Second<<min(failures, 10), maxWait)
	var e *client.CloseError
	if !errors.As(l.error, &e) {
		return wait, true
	}
	switch {
	case e.Code >= 4000 && e.Code < 4100 || e.Code >= 4300:
		return 0, false
	case e.Code >= 4200 && l.worked:
		return 0, true
	case e.Code >= 4100 && e.Code < 4200:
		return time.Second, true
	}
	return wait, true
}

// connectTimeout is how long a connection may take to come about, and subscribeTimeout
// how long the answer to a subscription may take: ten seconds in a cluster.
const (
	connectTimeout   = 15 * time.Second
	subscribeTimeout = 20 * time.Second
)

var (
	errConnect = errors.New("no connection came about within " + connectTimeout.String())
	errNone    = errors.New("no channel could be subscribed to")
)

// connection is one connection, from the handshake to its end. The error is a *lost unless
// there is nothing left to do.
func (l *Listen) connection(ctx context.Context) error {
	dialing, cancel := context.WithTimeoutCause(ctx, connectTimeout, errConnect)
	defer cancel()
	conn, err := l.Client.Dial(dialing, client.Handshake{})
	if err != nil {
		return &lost{fmt.Errorf("%s: %w", l.Client.WebSocket, err), false}
	}
	defer conn.Close()
	a := &answers{pending: slices.Clone(l.Channels)}
	if err := l.subscribe(conn); err != nil {
		return err
	}
	late := time.NewTimer(subscribeTimeout)
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late.C:
			for _, channel := range a.pending {
				l.refused(channel, fmt.Sprintf("no answer within %v", subscribeTimeout))
			}
			a.pending = nil
		case m, open := <-conn.Messages():
			if !open {
				return &lost{conn.Err(), a.succeeded}
			}
			if err := l.message(m, a); err != nil {
				return err
			}
		}
		if len(a.pending) == 0 && !l.subscribed {
			return errNone
		}
	}
}

// subscribe asks for all channels.
func (l *Listen) subscribe(conn *client.Conn) error {
	if len(l.serials) > 0 {
		serials := l.serials
		if len(serials) > protocol.MaxRecover {
			serials = maps.Clone(serials)
			for _, channel := range slices.Sorted(maps.Keys(serials))[protocol.MaxRecover:] {
				delete(serials, channel)
			}
		}
		conn.Recover(serials, l.socketIDs)
	}
	l.socketIDs = slices.Insert(l.socketIDs, 0, conn.SocketID)
	l.socketIDs = l.socketIDs[:min(len(l.socketIDs), protocol.MaxRecoverSockets)]
	for _, channel := range l.Channels {
		if protocol.KindOf(channel) == protocol.User {
			if err := conn.SignIn(channel[len(protocol.PrefixUser):]); err != nil {
				return err
			}
		}
		if err := conn.Subscribe(channel, l.User); err != nil {
			return err
		}
	}
	return nil
}

// answers are what is known of the subscriptions of a connection.
type answers struct {
	pending []string // not answered yet, in the order in which they were asked for
	// doubled counts the refusals whose pusher:error is still to come: Belfry sends it
	// behind pusher:subscription_error, Pusher and Reverb send it alone.
	doubled   int
	succeeded bool // one of them
}

func (a *answers) answered(channel string) bool {
	i := slices.Index(a.pending, channel)
	if i >= 0 {
		a.pending = slices.Delete(a.pending, i, i+1)
	}
	return i >= 0
}

// message takes what the server sent.
func (l *Listen) message(m client.Message, a *answers) error {
	switch m.Event {
	case protocol.EventSubscriptionSucceeded:
		if a.answered(m.Channel) {
			fmt.Fprintf(l.Err, "belfry: subscribed to %s\n", client.Printable(m.Channel))
		}
		l.subscribed, a.succeeded = true, true
		var data struct {
			Recovered *bool `json:"recovered"`
		}
		if protocol.ReadJSON([]byte(m.Data), &data) == nil && data.Recovered != nil {
			if *data.Recovered {
				return nil // what was missed follows, up to the serial of the answer
			}
			fmt.Fprintf(l.Err, "belfry: %s: events are missing that the server does not have any more\n", client.Printable(m.Channel))
		}
		l.keep(m)
		return nil
	case protocol.EventSubscriptionError:
		var data struct {
			Type   string `json:"type"`
			Error  string `json:"error"`
			Status int    `json:"status"`
		}
		text := m.Data
		if protocol.ReadJSON([]byte(m.Data), &data) == nil && data.Error != "" {
			text = fmt.Sprintf("%s (%s, %d)", data.Error, data.Type, data.Status)
		}
		a.answered(m.Channel)
		a.doubled++
		l.refused(m.Channel, text)
		return nil
	case protocol.EventError:
		code, text := client.ParseError(m)
		switch {
		case a.doubled > 0:
			a.doubled--
		case len(a.pending) > 0:
			l.refused(a.pending[0], fmt.Sprintf("%s (%d)", text, code))
			a.pending = a.pending[1:]
		default:
			fmt.Fprintf(l.Err, "belfry: the server says: %s (%d)\n", text, code)
		}
		return nil
	}
	if m.Channel == "" {
		return nil
	}
	l.keep(m)
	if err := l.print(m); err != nil {
		return err
	}
	if strings.HasPrefix(m.Event, protocol.PrefixReserved) || strings.HasPrefix(m.Event, protocol.PrefixInternal) {
		return nil // such as member_added
	}
	if l.got++; l.got == l.Count {
		return errEnough
	}
	return nil
}

func (l *Listen) refused(channel, text string) {
	fmt.Fprintf(l.Err, "belfry: %s: refused: %s\n", client.Printable(channel), client.Printable(text))
}

func (l *Listen) keep(m client.Message) {
	if m.Serial != "" {
		l.serials[m.Channel] = m.Serial
	}
}

func (l *Listen) print(m client.Message) error {
	now := time.Now()
	if l.JSON {
		data := json.RawMessage(m.Data)
		if !json.Valid(data) {
			text, err := json.Marshal(m.Data)
			if err != nil {
				return err
			}
			data = text
		}
		return writeJSON(l.Out, Received{m.Channel, m.Event, data, m.UserID, m.Serial, now})
	}
	user := ""
	if m.UserID != "" {
		user = " user_id=" + client.Printable(m.UserID)
	}
	_, err := fmt.Fprintf(l.Out, "%s %s %s %s%s\n", now.Format("15:04:05.000"),
		client.Printable(m.Channel), client.Printable(m.Event), client.Printable(m.Data), user)
	return err
}
