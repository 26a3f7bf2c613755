package console

import (
	"reflect"
	"testing"
	"time"

	"belfry/server/config"
	"belfry/server/metrics"
)

// Each limit that is counted when it is met is shown as it is configured.
func TestLimits(t *testing.T) {
	var app config.App
	fields := reflect.ValueOf(&app).Elem()
	for i := range fields.NumField() {
		if f := fields.Field(i); f.Type() == reflect.TypeFor[time.Duration]() {
			f.SetInt(int64(7 * time.Second))
		} else if f.CanInt() {
			f.SetInt(7)
		}
	}
	for _, l := range metrics.Limits() {
		if got := limitOf(&app, l); got != 7 {
			t.Errorf("%s is shown as %v", l, got)
		}
	}
}
