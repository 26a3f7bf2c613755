package server_test

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"belfry/server/internal/servertest"
)

// docs/metrics.md has every metric, and none that there is not.
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
	for _, name := range regexp.MustCompile(`belfry_\w+`).FindAllString(string(text), -1) {
		if !served[name] {
			t.Errorf("%s is documented and not served", name)
		}
	}
}
