package server_test

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"belfry/server/internal/servertest"
)

// docs/metrics.md has every metric, and none that there is not; neither have the dashboard
// and the alerts.
func TestMetricsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	s := servertest.Start(t)
	s.LogLinesDropped(func() uint64 { return 0 })
	s.Get(t, "1", "channels") // for the metrics of requests
	served := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (belfry_\w+)`).FindAllStringSubmatch(s.HTTP(t, http.MethodGet, "/metrics", nil, nil).Body, -1) {
		served[m[1]] = true
		if !strings.Contains(string(text), "`"+m[1]+"`") {
			t.Errorf("%s is not documented", m[1])
		}
	}
	for _, file := range []string{"../docs/metrics.md", "../deploy/grafana/belfry.json", "../deploy/prometheus/alerts.yaml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`belfry_\w+`).FindAllString(string(text), -1) {
			if !served[name] && !served[strings.TrimSuffix(name, "_bucket")] {
				t.Errorf("%s has %s, which is not served", file, name)
			}
		}
	}
}
