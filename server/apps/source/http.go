package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"belfry/server/config"
)

// api is an HTTP API that answers GET with the document of an application.
type api struct {
	url    url.URL // with what the configuration has for a query
	token  string
	client http.Client
}

func openHTTP(c config.AppsFrom) (Source, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("apps_from.url is not a URL") // err repeats it
	}
	return &api{url: *u, token: c.Token, client: http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: timeout}).DialContext,
			ForceAttemptHTTP2:      true,
			MaxConnsPerHost:        MaxOpen,
			MaxIdleConnsPerHost:    maxIdle,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true, // bounds what is read
		},
		// Where a redirect leads, the token and the secrets of applications may be anybody's.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (a *api) Find(ctx context.Context, by By, name string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	u := a.url
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += url.Values{by.String(): {name}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, a.failure(err)
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "Belfry")
	if a.token != "" {
		request.Header.Set("Authorization", "Bearer "+a.token)
	}
	answer, err := a.client.Do(request)
	if err != nil {
		return nil, a.failure(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxDocument+1))
	switch status := answer.StatusCode; {
	case status == http.StatusNotFound || status == http.StatusGone:
		return nil, ErrNone
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return nil, a.failure(fmt.Errorf("it answered %d: see apps_from.token", status))
	case status/100 == 3:
		return nil, a.failure(fmt.Errorf("it answered %d, and redirects are not followed: give the URL that it leads to", status))
	case status == http.StatusBadRequest || status == http.StatusUnprocessableEntity:
		return nil, &AppError{fmt.Sprintf("%s answered %d", a.url.Host, status)}
	case status != http.StatusOK:
		return nil, a.failure(fmt.Errorf("it answered %d", status))
	case err != nil:
		return nil, a.failure(err)
	case len(body) > maxDocument:
		return nil, &AppError{fmt.Sprintf("%s answered with more than %d bytes", a.url.Host, maxDocument)}
	}
	return body, nil
}

// failure is err without the URL, which may have secrets in its query.
func (a *api) failure(err error) error {
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer in %s: %w", timeout, context.DeadlineExceeded)
	}
	return fmt.Errorf("look up an app at %s: %w", a.url.Host, err)
}

// Watch returns at once: HTTP cannot tell.
func (a *api) Watch(context.Context, func(string)) error { return nil }

// Check asks for an application that there hardly is. An API that accepts no such id
// answers as well.
func (a *api) Check(ctx context.Context) error {
	if _, err := a.Find(ctx, ByID, "belfry-check"); !errors.Is(err, ErrNone) && !errors.As(err, new(*AppError)) {
		return err
	}
	return nil
}

func (a *api) Close() error {
	a.client.CloseIdleConnections()
	return nil
}
