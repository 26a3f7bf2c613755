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
	"sync"
	"time"

	"belfry/auth"
)

const (
	// publishTimeout bounds how long a sender waits for Belfry.
	publishTimeout = 3 * time.Second
	// readyTimeout bounds how long a page that polls waits for it, and
	// readyAge how old an answer may be: one question a second serves any
	// number of pages.
	readyTimeout = time.Second
	readyAge     = time.Second
)

// publisher publishes events through the Pusher HTTP API, as Laravel's
// broadcaster does. All methods may be called concurrently.
type publisher struct {
	base        *url.URL // of Belfry
	path        string   // as signed: without the path that base may have
	credentials auth.Credentials
	client      *http.Client

	mu      sync.Mutex // guards what follows, and is held while it is found out
	asked   time.Time  // when Belfry was last asked whether it is ready
	isReady bool
}

func newPublisher(base *url.URL, appID string, credentials auth.Credentials) *publisher {
	return &publisher{
		base:        base,
		path:        "/apps/" + url.PathEscape(appID) + "/events",
		credentials: credentials,
		client:      &http.Client{Timeout: publishTimeout},
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
	target := p.target(p.path)
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

// ready tells whether Belfry takes clients, as of at most readyAge ago.
func (p *publisher) ready(ctx context.Context) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.asked) < readyAge {
		return p.isReady
	}
	// The answer is for all pages: it must not hang on the one that asks first.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
	defer cancel()
	p.isReady = p.askReady(ctx)
	p.asked = time.Now()
	return p.isReady
}

func (p *publisher) askReady(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.target("/ready").String(), nil)
	if err != nil {
		return false
	}
	response, err := p.client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1024)) // so that the connection is used again
	return response.StatusCode == http.StatusOK
}

// target is the URL of a path of Belfry's.
func (p *publisher) target(path string) *url.URL {
	target := *p.base
	target.Path = strings.TrimSuffix(p.base.Path, "/") + path
	return &target
}
