package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Lookups counts look-ups of applications.
type Lookups struct {
	results  *prometheus.CounterVec
	duration prometheus.Histogram
}

// Lookups makes and registers what there is of look-ups. known is how many applications were
// looked up and not forgotten; up says whether their source could be asked when it last was.
func (m *Metrics) Lookups(known func() int, up func() bool) *Lookups {
	l := &Lookups{
		results: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "belfry_app_lookups_total",
			Help: "Look-ups of applications in apps_from, by result: found, none, or failed as it could not be asked."}, []string{"result"}),
		duration: prometheus.NewHistogram(histogramOpts("app_lookup_duration_seconds", "Seconds until apps_from answers.",
			[]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5})),
	}
	for _, result := range []string{lookupFound, lookupNone, lookupFailed} {
		l.results.WithLabelValues(result)
	}
	m.registry.MustRegister(l.results, l.duration,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "belfry_apps_looked_up",
			Help: "Applications in memory that were looked up in apps_from."}, func() float64 { return float64(known()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "belfry_apps_from_up",
			Help: "Whether apps_from answered when it was last asked: 1 or 0."}, func() float64 {
			if up() {
				return 1
			}
			return 0
		}))
	return l
}

// Results of look-ups.
const (
	lookupFound  = "found"
	lookupNone   = "none"
	lookupFailed = "failed"
)

// Answered counts a question that the source has answered.
func (l *Lookups) Answered(found bool, d time.Duration) {
	result := lookupNone
	if found {
		result = lookupFound
	}
	l.results.WithLabelValues(result).Inc()
	l.duration.Observe(d.Seconds())
}

// Failed counts a question that the source has not answered.
func (l *Lookups) Failed(d time.Duration) {
	l.results.WithLabelValues(lookupFailed).Inc()
	l.duration.Observe(d.Seconds())
}
