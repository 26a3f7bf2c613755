package webhooks

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"belfry/server/config"
)

func TestReport(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		h := w.host("backend", status(500, 200))
		first := to("http://user:hunter2@backend/a?token=hunter2")
		second := to("http://nowhere/b")
		second.Events = []string{"member_removed", "channel_occupied"}
		second.Filter = config.WebhookFilter{ChannelPrefix: "presence-", ChannelSuffix: "-x"}
		a := w.application("1", first, second)
		got := a.Report()
		if len(got) != 2 || got[0].URL != "http://backend/a" || got[1].URL != "http://nowhere/b" || got[1].Prefix != "presence-" || got[1].Suffix != "-x" ||
			!slices.Equal(got[1].Events, []string{"channel_occupied", "member_removed"}) || len(got[0].Events) < 4 {
			t.Fatalf("reported %+v", got)
		}
		began := time.Now()
		a.happens("channel_occupied:c", "channel_occupied:presence-c-x")
		synctest.Wait()
		if r := a.Report()[0]; r.Queued != 2 || !r.NextTry.IsZero() || len(r.Requests) != 0 {
			t.Errorf("before the first request: %+v", r)
		}
		h.answers(status(500))
		pass(batchDelay)
		for i, want := range []Request{{began.Add(batchDelay), 500, "status 500", 2, 0}, {began.Add(batchDelay), 0, "connection refused", 1, 0}} {
			r := a.Report()[i]
			if i == 0 { // it was halved at once
				r.Requests = r.Requests[len(r.Requests)-1:]
			}
			if r.Queued != want.Events || r.NextTry.IsZero() || r.FailingSince != want.At || len(r.Requests) != 1 || r.Requests[0] != want {
				t.Errorf("after a failure: %+v", r)
			}
		}
		h.answers(status(200))
		pass(giveUp)
		r := a.Report()[0]
		if r.Queued != 0 || !r.NextTry.IsZero() || !r.FailingSince.IsZero() || r.Requests[0].Failure != "" || r.Requests[0].Status != 200 {
			t.Errorf("when all was taken: %+v", r)
		}
		for range 2 * reportedRequests {
			a.happens("channel_vacated:c", "channel_occupied:c")
			pass(time.Second)
		}
		if n := len(a.Report()[0].Requests); n != reportedRequests {
			t.Errorf("%d requests are reported", n)
		}
	})
}

func TestTest(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		h := w.host("backend", nil)
		a := w.application("1", to("http://user:hunter2@backend/a?token=hunter2"))
		for event, want := range map[string]string{
			"channel_occupied": "channel_occupied:belfry-test", "channel_vacated": "channel_vacated:belfry-test",
			"member_added": "member_added:belfry-test:belfry-test", "member_removed": "member_removed:belfry-test:belfry-test",
			"client_event": "client_event:belfry-test:belfry-test", "cache_miss": "cache_miss:belfry-test", "subscription_count": "subscription_count:belfry-test",
		} {
			r, err := a.Test(t.Context(), 0, "http://backend/a", event)
			requests := h.requests()
			last := requests[len(requests)-1]
			if err != nil || r.Status != 200 || r.Failure != "" || r.Events != 1 || !slices.Equal(last.events(t), []string{want}) {
				t.Errorf("%s: %+v, %v, sent %s", event, r, err, last.body)
			}
			if err := credentials.VerifyWebhook(last.header.Get("X-Pusher-Signature"), []byte(last.body)); err != nil || last.user != "user:hunter2" || last.url != "/a?token=hunter2" {
				t.Errorf("%v, as %s, to %s", err, last.user, last.url)
			}
		}
		w.expect(t, `sent_total{app="1"}`, "0")
		if r := a.Report()[0]; len(r.Requests) > 0 {
			t.Errorf("a test is reported: %+v", r)
		}
		h.answers(status(302))
		if r, err := a.Test(t.Context(), 0, "http://backend/a", "cache_miss"); err != nil || r.Status != 302 || !strings.Contains(r.Failure, "302") {
			t.Errorf("redirected: %+v, %v", r, err)
		}
		for _, tt := range []struct {
			index      int
			url, event string
			want       error
		}{
			{1, "http://backend/a", "cache_miss", ErrNoEndpoint}, {-1, "http://backend/a", "cache_miss", ErrNoEndpoint},
			{0, "http://elsewhere/a", "cache_miss", ErrNoEndpoint}, {0, "http://backend/a", "<script>", ErrUnknownEvent},
		} {
			if _, err := a.Test(t.Context(), tt.index, tt.url, tt.event); !errors.Is(err, tt.want) {
				t.Errorf("%+v: %v", tt, err)
			}
		}

		// A few at a time, each for as long as any request.
		h.answers(stall)
		type result struct {
			Request
			error
		}
		results := make(chan result)
		ctx, cancel := context.WithCancel(t.Context())
		for i := range maxTests {
			go func() {
				with := t.Context()
				if i == 0 {
					with = ctx
				}
				r, err := a.Test(with, 0, "http://backend/a", "cache_miss")
				results <- result{r, err}
			}()
		}
		synctest.Wait()
		if _, err := a.Test(t.Context(), 0, "http://backend/a", "cache_miss"); !errors.Is(err, ErrManyTests) {
			t.Errorf("one too many: %v", err)
		}
		cancel()
		if r := <-results; r.error != nil || r.Failure != "ended before the answer came" || r.Duration != 0 {
			t.Errorf("one that is not waited for: %+v", r)
		}
		for range maxTests - 1 {
			if r := <-results; r.error != nil || !strings.HasPrefix(r.Failure, "no answer within") || r.Duration != RequestTimeout {
				t.Errorf("one without an answer: %+v", r)
			}
		}
		go func() {
			r, err := a.Test(t.Context(), 0, "http://backend/a", "cache_miss")
			results <- result{r, err}
		}()
		synctest.Wait()
		a.Configure(credentials, nil)
		if r := <-results; r.Failure != "ended before the answer came" {
			t.Errorf("one whose endpoint has gone: %+v", r)
		}
	})
}

// Reports are read while requests are made and endpoints change.
func TestReportAmidChanges(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.host("backend", func(n int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200 + n%2*300) })
		a := w.application("1", to("http://backend/a"))
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range 50 {
				a.happens("channel_occupied:c", "channel_vacated:c")
				pass(batchDelay)
				a.Configure(credentials, []config.Webhook{to("http://backend/a"), to("http://backend/b")}[:1+i%2])
			}
		}()
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
			for _, r := range a.Report() {
				for _, one := range r.Requests {
					if one.Status == 0 {
						t.Errorf("a request: %+v", one)
					}
				}
			}
		}
	})
}
