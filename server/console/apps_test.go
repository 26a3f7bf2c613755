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
	m := metrics.New("", "", "")
	m.App("1")
	families, err := m.Gather()
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, f := range families {
		if f.GetName() != "belfry_limits_met_total" {
			continue
		}
		for _, one := range f.GetMetric() {
			for _, l := range one.GetLabel() {
				if l.GetName() != "limit" {
					continue
				}
				shown++
				if got := limitOf(&app, metrics.Limit(l.GetValue())); got != 7 {
					t.Errorf("%s is shown as %v", l.GetValue(), got)
				}
			}
		}
	}
	if shown == 0 {
		t.Error("no limit is counted")
	}
}
