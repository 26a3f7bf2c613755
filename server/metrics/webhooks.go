package metrics

import "time"

// The values of the label reason of belfry_webhooks_failed_total: why an event
// was given up after it was tried.
const (
	FailedStatus   = "status"   // the endpoint refused it
	FailedRedirect = "redirect" // the endpoint answered with a redirect that is not followed
	FailedExpired  = "expired"  // the endpoint did not take it in time
)

// The values of the label reason of belfry_webhooks_dropped_total: why an event
// was not tried, or not to the end.
const (
	DroppedQueueFull = "queue_full"
	DroppedRemoved   = "removed" // its endpoint is not configured any more
	DroppedShutdown  = "shutdown"
)

// Webhooks counts one application's webhooks, its endpoints together.
type Webhooks struct{ app *App }

// Sent counts events that were delivered.
func (w Webhooks) Sent(events int) { w.app.series().hooksSent.Add(uint64(events)) }

// Retried counts a request that repeated one that had failed.
func (w Webhooks) Retried() { w.app.series().hooksRetried.Add(1) }

// Took counts a request by the time from its beginning to the end of its answer.
func (w Webhooks) Took(d time.Duration) { w.app.series().hookDurations.Observe(d.Seconds()) }

// SpoolError counts a read, write or removal in the spool that failed.
func (w Webhooks) SpoolError() { w.app.series().hooksUnsaved.Add(1) }

// Failed counts events that were given up. The reason is one of the Failed
// constants.
func (w Webhooks) Failed(reason string, events int) {
	w.app.series().hooksFailed.add(events, values{reason})
}

// Dropped counts events that were not tried, or not to the end. The reason is
// one of the Dropped constants.
func (w Webhooks) Dropped(reason string, events int) {
	w.app.series().hooksDropped.add(events, values{reason})
}
