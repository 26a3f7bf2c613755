package api_test

import (
	"strings"
	"testing"
	"time"

	"belfry/server/internal/servertest"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	parent  = "00-" + traceID + "-00f067aa0ba902b7-01"
)

// A publish that is part of a trace can be found in the log by it, and what was refused of
// it, too.
func TestTraceparent(t *testing.T) {
	s := servertest.Start(t)
	send := func(method, path, body string, header ...string) int {
		t.Helper()
		query := servertest.SignedQuery("1", method, path, nil, []byte(body), time.Now())
		return s.HTTP(t, method, path, query, []byte(body), header...).Status
	}
	lines := func() (found []string) {
		for line := range strings.Lines(s.Log.String()) {
			if strings.Contains(line, "traceparent=") {
				found = append(found, line)
			}
		}
		return found
	}

	batch := `{"batch":[` + event + `,{"name":"f","data":"x","channel":"b"}]}`
	for _, request := range []struct {
		path, body string
		status     int
		want       []string
	}{
		{"/apps/1/events", event, 200, []string{"level=DEBUG msg=published app=1 event=e channels=a traceparent=" + parent + "\n"}},
		{"/apps/1/batch_events", batch, 200, []string{"event=e channels=a ", "event=f channels=b "}},
		{"/apps/1/events", "{}", 400, []string{`msg="request refused" app=1 code=400`}},
		{"/apps/2/events", event, 404, []string{`msg="request refused" app="" code=404`}},
	} {
		before := len(lines())
		if status := send("POST", request.path, request.body, "Traceparent: "+parent); status != request.status {
			t.Errorf("POST %s is answered with %d", request.path, status)
		}
		logged := lines()[before:]
		if len(logged) != len(request.want) {
			t.Errorf("POST %s logs %q", request.path, logged)
			continue
		}
		for i, want := range request.want {
			if !strings.Contains(logged[i], want) || !strings.Contains(logged[i], "traceparent="+parent) {
				t.Errorf("POST %s logs %s, want %s", request.path, logged[i], want)
			}
		}
	}

	before := len(lines())
	send("POST", "/apps/1/events", event, "traceparent: cc-"+traceID+"-00f067aa0ba902b7-00-what comes later")
	if logged := lines()[before:]; len(logged) != 1 || !strings.HasSuffix(logged[0], "=cc-"+traceID+"-00f067aa0ba902b7-00\n") {
		t.Errorf("of a later version, %q is logged", logged)
	}

	before = len(lines())
	for _, invalid := range []string{
		"", "00", strings.ToUpper(parent), parent + "-00", parent + "0", parent[:54], " x" + parent,
		"ff" + parent[2:], "cc" + parent[2:] + "x", "00_" + parent[3:], "00-" + strings.Repeat("0", 32) + parent[35:],
		parent[:36] + strings.Repeat("0", 16) + "-01", parent[:54] + "g", parent + strings.Repeat("x", 1000),
	} {
		if status := send("POST", "/apps/1/events", event, "Traceparent: "+invalid); status != 200 {
			t.Errorf("with traceparent %q, the answer is %d", invalid, status)
		}
	}
	send("POST", "/apps/1/events", event)
	send("POST", "/apps/1/events", event, "Traceparent: "+parent, "Traceparent: "+parent)
	send("GET", "/apps/1/channels", "", "Traceparent: "+parent)
	send("POST", "/apps/1/users/1/terminate_connections", "{}", "Traceparent: "+parent)
	if logged := lines()[before:]; len(logged) != 0 {
		t.Errorf("what is no traceparent of a publish is logged: %q", logged)
	}
}
