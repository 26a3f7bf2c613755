package webhooks

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"belfry/channels"
	"belfry/server/config"
)

// Whoever keeps an event until it is done with is told when all endpoints are.
func TestReceipts(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.host("backend", nil)
		failing := w.host("failing", status(503))
		only := to("http://backend")
		only.Events = []string{"channel_vacated"}
		a := w.application("1", only, to("http://failing"))
		var done atomic.Int32
		happens := func(e string) {
			d := channels.NewDelivery("1", func() { done.Add(1) })
			a.Happened(happening(e), d)
			d.Release()
		}
		expect := func(what string, want int32) {
			t.Helper()
			if got := done.Load(); got != want {
				t.Errorf("%s: done with %d, want %d", what, got, want)
			}
		}
		happens("channel_vacated:c")
		pass(time.Second)
		expect("one endpoint refuses", 0)
		failing.answers(nil)
		pass(time.Minute)
		expect("both have it", 1)
		failing.answers(status(503))
		happens("channel_occupied:c")
		pass(20 * time.Minute)
		expect("it is given up", 2)
		a.Configure(credentials, []config.Webhook{only})
		happens("channel_occupied:c")
		expect("nobody wants it", 3)
		a.Configure(credentials, []config.Webhook{to("http://failing")})
		happens("channel_occupied:c")
		pass(time.Second)
		a.Configure(credentials, nil)
		expect("its endpoint is removed", 4)
	})
}

// What is kept elsewhere is not in the spool, and not lost when the process ends.
func TestReceiptsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		w.host("backend", status(503))
		a := w.application("1", to("http://backend"))
		happens := func(e string) {
			d := channels.NewDelivery("1", func() { t.Error("the listener is done with what it has not delivered") })
			a.Happened(happening(e), d)
			d.Release()
		}
		happens("channel_vacated:c")
		pass(time.Second)
		happens("channel_occupied:c")
		dir := a.endpoints["http://backend"].spool.dir
		if left := files(t, w.spool.dir); len(left) > 0 {
			t.Errorf("the spool %s has %v", dir, left)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w.ended = true
		w.Close(ctx)
		happens("channel_vacated:c")
		w.expect(t, `dropped_total{app="1",reason="shutdown"}`, "0")
	})
}
