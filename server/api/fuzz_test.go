package api_test

import (
	"encoding/json"
	"testing"

	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
)

// FuzzAPIBody posts arbitrary bodies, correctly signed. What comes through
// reaches a subscriber of the channel "fuzz" as a well-formed message.
func FuzzAPIBody(f *testing.F) {
	s := servertest.Start(f, func(c *config.Config) { c.Apps[0].MessageRate = 0 }) // each input pings
	c := s.Connect(f, "1")
	c.Subscribe("fuzz")
	f.Fuzz(func(t *testing.T, batch bool, body []byte) {
		route := "events"
		if batch {
			route = "batch_events"
		}
		a := s.Post(t, "1", route, string(body))
		if got := a.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("Content-Type is %q", got)
		}
		var answer struct {
			Error    *string
			Channels map[string]map[string]int
			Batch    []map[string]int
		}
		if err := json.Unmarshal([]byte(a.Body), &answer); err != nil {
			t.Fatalf("answered with %q: %v", a.Body, err)
		}
		switch a.Status {
		case 200:
			if answer.Error != nil || a.Body != "{}" && (batch && answer.Batch == nil || !batch && answer.Channels == nil) {
				t.Errorf("answered with %s", a.Body)
			}
		case 400, 413:
			if answer.Error == nil || *answer.Error == "" {
				t.Errorf("answered %d with %s", a.Status, a.Body)
			}
		default:
			t.Errorf("answered with status %d: %s", a.Status, a.Body)
		}
		for _, text := range c.In(t).ReadUntilPong() {
			e, err := wstest.ParseEvent([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if a.Status != 200 || e.Channel != "fuzz" || e.UserID != "" {
				t.Errorf("status %d, and delivered %+v", a.Status, e)
			}
		}
	})
}
