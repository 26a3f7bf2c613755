package config

import (
	"cmp"
	"net"
	"strings"
)

// Laravel is the other side of a server as Laravel's variables tell it. The server
// itself has no use for it; those who look at the server from outside do.
type Laravel struct {
	// Variables begins the names of the variables of the app, such as PUSHER_APP_.
	// It is empty if there is none in the environment.
	Variables string
	Key       string // of that app
	// Side begins the names of the variables that the addresses are from, REVERB_ or
	// PUSHER_. It is empty if the app is not one of theirs.
	Side string
	// Connection is what BROADCAST_CONNECTION says, or else BROADCAST_DRIVER, as the
	// variable was called up to Laravel 10; then Driver is true.
	Connection string
	Driver     bool
	// PublishURL is where Laravel publishes to, such as http://127.0.0.1:8080: the
	// variables HOST, PORT and SCHEME. It is empty without HOST.
	PublishURL string
	// PageURL is where pages connect, by the same variables with VITE_ ahead. It is
	// PublishURL if there are none.
	PageURL string
}

// Laravel reads what the variables say about the app that [Load] takes from them.
func (e Env) Laravel() (l Laravel) {
	l.Connection = e.get("BROADCAST_CONNECTION")
	if driver := e.get("BROADCAST_DRIVER"); l.Connection == "" && driver != "" {
		l.Connection, l.Driver = driver, true
	}
	order, _ := e.families()
	if len(order) == 0 {
		return l
	}
	l.Variables, l.Key = order[0], e.credentials(order[0])[1]
	for _, family := range order {
		side := strings.TrimSuffix(family, "APP_")
		if side != "REVERB_" && side != "PUSHER_" || e.credentials(family) != e.credentials(order[0]) {
			continue
		}
		l.Side, l.PublishURL = side, e.urlFrom(side)
		l.PageURL = cmp.Or(e.urlFrom("VITE_"+side), l.PublishURL)
		break
	}
	return l
}

// urlFrom has Laravel's defaults for port and scheme.
func (e Env) urlFrom(side string) string {
	host := strings.Trim(e.get(side+"HOST"), "[]")
	if host == "" {
		return ""
	}
	scheme := cmp.Or(strings.ToLower(e.get(side+"SCHEME")), "https")
	return scheme + "://" + net.JoinHostPort(host, cmp.Or(e.get(side+"PORT"), "443"))
}
