package server_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"belfry/server/internal/servertest"
)

const metricsDocs = "../docs/metrics.md"

var update = flag.Bool("update", false, "write the rows of "+metricsDocs+" from the metrics that are served")

//go:generate go test -run TestMetricsAreDocumented -update

// docs/metrics.md has a row for every metric, with what is served as its type, labels and
// help. The page decides where a row stands. It also names each value of a label, in that
// help or elsewhere in backquotes, but for labels that have too many.
func TestMetricsAreDocumented(t *testing.T) {
	many := []string{"app", "code", "route", "status", "version", "revision", "goversion"}
	page := text(t, metricsDocs)
	families := served(t)
	row := regexp.MustCompile("(?m)^\\| `(belfry_\\w+)` \\|.*$")
	want := row.ReplaceAllStringFunc(page, func(line string) string {
		name := row.FindStringSubmatch(line)[1]
		f, ok := families[name]
		if !ok {
			t.Errorf("%s has a row for %s, which is not served: remove the row", metricsDocs, name)
			return line
		}
		return fmt.Sprintf("| `%s` | %s | %s | %s |", name, strings.ToLower(f.GetType().String()), labels(f), f.GetHelp())
	})
	for name, f := range families {
		if !strings.Contains(page, "\n| `"+name+"` |") {
			t.Errorf("%s has no row for %s: add \"| `%s` |\" to one of its tables, and run go generate ./server", metricsDocs, name, name)
		}
		for _, m := range f.Metric {
			for _, l := range m.Label {
				inHelp, _ := regexp.MatchString(`\b`+regexp.QuoteMeta(l.GetValue())+`\b`, f.GetHelp())
				if !inHelp && !slices.Contains(many, l.GetName()) && !strings.Contains(page, "`"+l.GetValue()+"`") {
					t.Errorf("%s does not say what %s{%s=%q} is", metricsDocs, name, l.GetName(), l.GetValue())
				}
			}
		}
	}
	if *update {
		if err := os.WriteFile(metricsDocs, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if page != want {
		t.Errorf("%s is not what the server says: run go generate ./server", metricsDocs)
	}
}

// Neither the documentation nor the dashboard nor the alerts name a metric that there is not.
func TestNamedMetricsAreServed(t *testing.T) {
	families := served(t)
	for _, file := range []string{metricsDocs, "../docs/monitoring.md", "../deploy/grafana/belfry.json", "../deploy/prometheus/alerts.yaml"} {
		for _, name := range regexp.MustCompile(`belfry_\w+`).FindAllString(text(t, file), -1) {
			if families[name] == nil && families[strings.TrimSuffix(name, "_bucket")] == nil {
				t.Errorf("%s has %s, which is not served", file, name)
			}
		}
	}
}

// served returns the server's own metrics by name, as a scraper gets them that asks for
// protobuf. Each has a series.
func served(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	s := servertest.Start(t, startAppSource(t).configure)
	s.LogLinesDropped(func() uint64 { return 0 })
	s.Get(t, "1", "channels") // for the metrics of requests
	format := expfmt.NewFormat(expfmt.TypeProtoDelim)
	a := s.HTTP(t, http.MethodGet, "/metrics", nil, nil, "Accept: "+string(format))
	families := make(map[string]*dto.MetricFamily)
	for decoder := expfmt.NewDecoder(strings.NewReader(a.Body), format); ; {
		f := new(dto.MetricFamily)
		if err := decoder.Decode(f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(f.GetName(), "belfry_") {
			families[f.GetName()] = f
		}
	}
	if len(families) == 0 {
		t.Fatalf("no metrics in %.200q", a.Body)
	}
	return families
}

// labels are the names of a metric's labels, in Markdown.
func labels(f *dto.MetricFamily) string {
	var names []string
	for _, l := range f.Metric[0].Label {
		names = append(names, "`"+l.GetName()+"`")
	}
	return strings.Join(names, ", ")
}

func text(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
