package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"belfry/auth"
)

// publisher publishes events through the Pusher HTTP API, as Laravel's
// broadcaster does.
type publisher struct {
	base        *url.URL // of Belfry
	path        string   // as signed: without the path that base may have
	credentials auth.Credentials
	client      *http.Client
}

func newPublisher(base *url.URL, appID string, credentials auth.Credentials) *publisher {
	return &publisher{
		base:        base,
		path:        "/apps/" + url.PathEscape(appID) + "/events",
		credentials: credentials,
		client:      &http.Client{Timeout: 5 * time.Second},
	}
}

// publish sends one event to one channel; the connection with socketID, if
// given, does not get it.
func (p *publisher) publish(ctx context.Context, channel, event string, data any, socketID string) error {
	encoded, err := json.Marshal(data)
	if err != nil {
		return err
	}
	body, err := json.Marshal(struct {
		Name     string   `json:"name"`
		Data     string   `json:"data"`
		Channels []string `json:"channels"`
		SocketID string   `json:"socket_id,omitempty"`
	}{event, string(encoded), []string{channel}, socketID})
	if err != nil {
		return err
	}
	query := p.credentials.SignRequest(http.MethodPost, p.path, nil, body, time.Now())
	target := *p.base
	target.Path = strings.TrimSuffix(p.base.Path, "/") + p.path
	target.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := p.client.Do(request)
	if err != nil {
		// A url.Error names the URL, signature and all.
		return fmt.Errorf("belfry at %s is out of reach", p.base.Host)
	}
	defer response.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("belfry answered %s: %s", response.Status, bytes.TrimSpace(answer))
	}
	return nil
}
