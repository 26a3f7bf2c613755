//go:build !blocking

package server_test

import (
	"testing"

	"belfry/server/internal/servertest"
)

// An app that was looked up is handed over, too: the new process need not ask for it.
func TestHandoverOfLookedUpApp(t *testing.T) {
	from := startAppSource(t, "1")
	p := start(t, "apps_from: {url: '"+from.URL+"'}", "apps: []")
	c := p.connect()
	c.Subscribe("private-a")
	from.setAway(true)
	p.mustUpgrade()
	p.publish("e", "x", "private-a")
	c.Expect(servertest.EventText("e", "private-a", "x"))
	p.connect().Drop()
	p.mustUpgrade()
	p.publish("e", "y", "private-a")
	c.Expect(servertest.EventText("e", "private-a", "y"))
	c.Sync()
}
