package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"

	"belfry/protocol"
)

// Stream opens a session of the HTTP fallback, xhr_streaming of pusher-js, waits for the
// greeting and leaves. The error is a *[StatusError] if the server answers anything but
// 200, and a *[CloseError] if it refuses the client.
func (c *Client) Stream(ctx context.Context) error {
	session := fmt.Sprintf("%d/%08d", rand.IntN(1000), rand.IntN(100_000_000))
	at := c.WebSocket.JoinPath("pusher/app", c.Credentials.Key, session, "xhr_streaming")
	shown := at.String()
	at.RawQuery = query
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := c.http().Do(r)
	if err != nil {
		return fmt.Errorf("POST %s: %w", shown, plain(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4*maxText)) // as much as there is
		return &StatusError{http.MethodPost, shown, resp.StatusCode, resp.Header, errorText(text)}
	}
	lines := bufio.NewScanner(io.LimitReader(resp.Body, 64<<10))
	for opened := false; lines.Scan(); {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "o"):
			opened = true
		case strings.HasPrefix(line, "a") && opened:
			messages, err := protocol.ParseMessages([]byte(line[1:]))
			if err != nil || len(messages) == 0 {
				return fmt.Errorf("the stream has %s", clip(line))
			}
			m, err := parse([]byte(messages[0]))
			if err != nil {
				return err
			}
			return greeting(m, new(Conn))
		case strings.HasPrefix(line, "h"), line == "":
		default:
			return fmt.Errorf("the response is no stream of pusher-js: it begins with %s", clip(line))
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return errors.New("the stream ended without a greeting")
}
