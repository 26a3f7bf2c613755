package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"belfry/protocol"
)

// maxAnswer bounds an answer of the HTTP API, in bytes.
const maxAnswer = 64 << 20

// StatusError is an answer with another status than 200, or one with 200 that is not JSON:
// something else than the server sent it.
type StatusError struct {
	Method, URL string // without the query
	Status      int
	Header      http.Header
	// Text is what the server says, one line without control characters: of JSON, its
	// "error".
	Text string
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("%s %s: %d %s", e.Method, e.URL, e.Status, http.StatusText(e.Status))
	if e.Text != "" {
		text += ": " + e.Text
	}
	return text
}

// ErrNoSecret says that a request or a subscription cannot be signed.
var ErrNoSecret = errors.New("no secret of the app is known")

// Get sends a signed GET to route, what follows /apps/{id}/ as in a URL. It returns the
// JSON of the answer. The error is a *[StatusError] if the server refuses the request.
func (c *Client) Get(ctx context.Context, route string, query url.Values) ([]byte, error) {
	return c.signed(ctx, http.MethodGet, route, query, nil)
}

// Event is what [Client.Publish] sends. Data is the text that subscribers get.
type Event struct {
	Name     string   `json:"name"`
	Channels []string `json:"channels"`
	Data     string   `json:"data"`
	SocketID string   `json:"socket_id,omitempty"` // of a connection that does not get it
}

// Publish publishes an event, and returns as [Client.Get].
func (c *Client) Publish(ctx context.Context, e Event) ([]byte, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	return c.signed(ctx, http.MethodPost, "events", nil, body)
}

func (c *Client) signed(ctx context.Context, method, route string, query url.Values, body []byte) ([]byte, error) {
	if c.Credentials.Secret == "" {
		return nil, ErrNoSecret
	}
	path := "/apps/" + url.PathEscape(c.AppID) + "/" + route
	query = c.Credentials.SignRequest(method, path, query, body, time.Now())
	answer, header, err := c.send(ctx, method, path, query, body)
	if err == nil && !json.Valid(answer) {
		err = &StatusError{method, c.API.JoinPath(path).String(), http.StatusOK, header, errorText(answer)}
	}
	return answer, err
}

// GetPlain sends a GET that is not signed to path, behind the prefix of API. It returns
// the body and the header of the answer. The error is a *[StatusError] if that has another
// status than 200.
func (c *Client) GetPlain(ctx context.Context, path string) ([]byte, http.Header, error) {
	return c.send(ctx, http.MethodGet, path, nil, nil)
}

func (c *Client) send(ctx context.Context, method, path string, query url.Values, body []byte) ([]byte, http.Header, error) {
	at := c.API.JoinPath(path)
	shown := at.String()
	at.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, method, at.String(), bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http().Do(r)
	if err != nil {
		return nil, nil, fmt.Errorf("%s %s: %w", method, shown, plain(err))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, nil, fmt.Errorf("%s %s: %w", method, shown, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, resp.Header, &StatusError{method, shown, resp.StatusCode, resp.Header, errorText(answer)}
	}
	return answer, resp.Header, nil
}

// plain removes what net/http adds to an error: the URL, whose query has a signature.
func plain(err error) error {
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

var title = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)

// errorText returns what an answer says: the text in the JSON of Belfry and other servers,
// the title of a page, or the body itself.
func errorText(body []byte) string {
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) {
		if m := title.FindSubmatch(body); m != nil {
			return "a page, " + strconv.Quote(clip(string(m[1])))
		}
		return "a page"
	}
	var said struct {
		Error   string `json:"error"`
		Message string `json:"message"`
		Status  string `json:"status"`
	}
	if protocol.ReadJSON(body, &said) == nil {
		if text := cmp.Or(said.Error, said.Message, said.Status); text != "" {
			return clip(text)
		}
	}
	return clip(string(body[:min(len(body), 4*maxText)]))
}
