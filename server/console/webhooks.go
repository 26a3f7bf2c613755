package console

import (
	"errors"
	"net/http"
	"time"

	"belfry/server/trace"
	"belfry/server/webhooks"
)

// endpoint is one that an app's webhooks go to.
type endpoint struct {
	Index        int              `json:"index"`
	URL          string           `json:"url"` // without user information and query
	Events       []string         `json:"events"`
	Prefix       string           `json:"prefix"`
	Suffix       string           `json:"suffix"`
	Queued       int              `json:"queued"`
	NextTryAt    int64            `json:"next_try_at"`
	FailingSince int64            `json:"failing_since"`
	Requests     []webhookRequest `json:"requests"` // the newest first
}

type webhookRequest struct {
	At       int64   `json:"at"`
	Status   int     `json:"status"`
	Failure  string  `json:"failure"`
	Events   int     `json:"events"`
	Duration float64 `json:"duration_ms"`
}

func webhookRequestOf(r webhooks.Request) webhookRequest {
	return webhookRequest{millisOf(r.At), r.Status, r.Failure, r.Events, trace.MS(r.Duration)}
}

// listWebhooks is GET api/webhooks.
func (c *Console) listWebhooks(r *http.Request) (any, error) {
	app, err := c.app(r.URL.Query().Get("app"))
	if err != nil {
		return nil, err
	}
	endpoints := []endpoint{}
	for i, report := range app.Webhooks.Report() {
		e := endpoint{
			Index: i, URL: report.URL, Events: report.Events, Prefix: report.Prefix, Suffix: report.Suffix, Queued: report.Queued,
			NextTryAt: millisOf(report.NextTry), FailingSince: millisOf(report.FailingSince), Requests: []webhookRequest{},
		}
		for _, one := range report.Requests {
			e.Requests = append(e.Requests, webhookRequestOf(one))
		}
		endpoints = append(endpoints, e)
	}
	return map[string]any{"endpoints": endpoints}, nil
}

// testWebhook is POST api/webhooks/test. It waits for the endpoint's answer.
func (c *Console) testWebhook(r *http.Request) (any, error) {
	var asked struct {
		App   string `json:"app"`
		Index int    `json:"index"`
		URL   string `json:"url"`
		Event string `json:"event"`
	}
	if err := readJSON(r, &asked); err != nil {
		return nil, err
	}
	app, err := c.app(asked.App)
	if err != nil {
		return nil, err
	}
	result, err := app.Webhooks.Test(r.Context(), asked.Index, asked.URL, asked.Event)
	switch {
	case errors.Is(err, webhooks.ErrNoEndpoint):
		return nil, fail(http.StatusNotFound, "%v", err)
	case errors.Is(err, webhooks.ErrManyTests):
		return nil, fail(http.StatusTooManyRequests, "%v", err)
	case err != nil:
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	c.Log.Info("webhook tested from the console", "app", app.ID, "endpoint", asked.URL, "event", asked.Event,
		"status", result.Status, "after", result.Duration.Round(time.Millisecond), "user", userOf(r))
	return webhookRequestOf(result), nil
}
