package apps

import (
	"math/rand/v2"
	"time"
)

const (
	// firstRetry is when a source is asked again that has not answered; the time doubles up
	// to lastRetry.
	firstRetry = 250 * time.Millisecond
	lastRetry  = 15 * time.Second
)

// outage is what is known of a source that does not answer; zero for one that does. It is not
// for concurrent use.
type outage struct {
	failures int       // since the source last answered
	retry    time.Time // when it is asked again after these
}

// mayAsk reports whether the source is to be asked now, and how often it has failed. While it
// does not answer, it is asked one question at a time.
func (o *outage) mayAsk(now time.Time) (failures int, ok bool) {
	if o.failures > 0 {
		if now.Before(o.retry) {
			return o.failures, false
		}
		o.retry = now.Add(lookupTimeout) // when this question has been answered in any case
	}
	return o.failures, true
}

// failed notes that a question was not answered, and reports whether the outage begins with
// it. Of the questions that were asked at a time, one counts: failures is what mayAsk returned.
func (o *outage) failed(failures int, now time.Time) (begins bool) {
	if o.failures != failures {
		return false
	}
	wait := min(firstRetry<<min(failures, 10), lastRetry)
	o.failures++
	o.retry = now.Add(wait/2 + rand.N(wait/2))
	return failures == 0
}

// answered notes that the source has answered, and reports whether that ends an outage.
func (o *outage) answered() (ends bool) {
	ends = o.failures > 0
	*o = outage{}
	return ends
}

// away reports whether the source has not answered when it was last asked.
func (o *outage) away() bool { return o.failures > 0 }

// hurry has the source be asked at once.
func (o *outage) hurry() { o.retry = time.Time{} }
