package importer

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"belfry/protocol"
	"belfry/server/config"
)

// As many as a configuration of Belfry takes.
const (
	maxWebhooks = 20
	maxHeaders  = 50
)

func newList() *yaml.Node { return &yaml.Node{Kind: yaml.SequenceNode} }

// webhook is one of an app.
type webhook struct {
	url            string
	events         []string
	headers        [][2]string
	prefix, suffix string
	note           string
}

// webhooks takes the app's webhooks.
func (a *newApp) webhooks() {
	s := a.src.settings["webhooks"]
	if s == nil {
		return
	}
	v := s.value
	if text, ok := v.(string); ok { // as databases and variables have it
		v = variableValue(text)
	}
	items, ok := v.([]any)
	if !ok {
		a.say(s.name, "not taken", "is no list of webhooks")
		return
	}
	var hooks []webhook
	for i, item := range items {
		name := fmt.Sprintf("%s[%d]", s.name, i)
		if len(hooks) == maxWebhooks {
			a.say(name, "not taken", fmt.Sprintf("an app has up to %d webhooks", maxWebhooks))
			continue
		}
		o, ok := item.(*object)
		if !ok {
			a.say(name, "not taken", "is no webhook")
			continue
		}
		if h, ok := a.webhook(name, o); ok {
			hooks = append(hooks, h)
		}
	}
	if hooks = a.apart(hooks); len(hooks) == 0 {
		return
	}
	list := newList()
	for _, h := range hooks {
		list.Content = append(list.Content, a.webhookNode(h))
	}
	a.m.put("webhooks", list, "")
}

// webhook reads one. ok is false if it is left out, which is told.
func (a *newApp) webhook(name string, o *object) (h webhook, ok bool) {
	settings := make(map[string]*setting)
	a.collect(o, name+".", "", a.server.webhook, settings)
	text := func(path string) string {
		if s := settings[path]; s != nil {
			text, _ := s.value.(string)
			return text
		}
		return ""
	}
	unmapped, lambda := "", false
	for _, s := range inOrder(settings) {
		switch {
		case s.row == nil:
			a.unknown(s, a.server.webhook)
		case s.row != nil && !s.row.composed:
			a.say(s.name, s.row.why.kind, s.row.why.text)
			lambda = lambda || strings.HasPrefix(s.path, "lambda")
			if strings.HasPrefix(s.path, "filter.") {
				unmapped = s.path
			}
		}
	}
	if h.url = strings.TrimSpace(text("url")); h.url == "" {
		if !lambda {
			a.say(name, "not taken", "has no url")
		}
		return h, false
	}
	if !a.out.refers(h.url) && !fits(func(w *config.Webhook) { w.URL = h.url }) {
		a.say(name+".url", "not taken", "is no URL that begins with http:// or https://, without a fragment")
		return h, false
	}
	if unmapped != "" {
		h.note = "It is told of more channels than before: see " + unmapped + " in the old configuration."
	}
	h.prefix, h.suffix = text(a.filter[0]), text(a.filter[1])
	for _, event := range texts(listOf(value(settings["event_types"]))) {
		if !slices.Contains(protocol.WebhookEvents(), event) {
			a.say(name+".event_types: "+clip(event), "not supported", "there is no such event: "+strings.Join(protocol.WebhookEvents(), ", "))
		} else if !slices.Contains(h.events, event) {
			h.events = append(h.events, event)
		}
	}
	if len(h.events) == 0 {
		a.say(name, "not taken", "is told of no event that there is here")
		return h, false
	}
	if headers, ok := o.of["headers"].(*object); ok {
		for _, header := range headers.names {
			value, _ := headers.of[header].(string)
			if len(h.headers) == maxHeaders {
				a.say(name+".headers."+header, "not taken", fmt.Sprintf("a webhook has up to %d headers", maxHeaders))
				continue
			}
			if !a.out.refers(value) && !fits(func(w *config.Webhook) { w.Headers = map[string]string{header: value} }) {
				a.say(name+".headers."+header, "not taken", "Belfry sets it itself, or it is no header")
			} else if value != "" {
				h.headers = append(h.headers, [2]string{header, value})
			}
		}
	}
	return h, true
}

func value(s *setting) any {
	if s == nil {
		return nil
	}
	return s.value
}

// fits says whether Belfry accepts a webhook that is changed so.
func fits(change func(*config.Webhook)) bool {
	c, app, w := config.Default(), config.DefaultApp(), config.DefaultWebhook()
	app.ID, app.Key, app.Secret, w.URL = "1", "1", "1", "https://app.example/"
	change(&w)
	app.Webhooks = []config.Webhook{w}
	c.Apps = []config.App{app}
	return c.Validate() == nil
}

// apart joins webhooks that differ in their events only, and gives those that go to the
// same URL otherwise a query that tells them apart, as each URL is given once.
func (a *newApp) apart(hooks []webhook) (all []webhook) {
next:
	for _, h := range hooks {
		for i := range all {
			if o := &all[i]; o.url == h.url && o.prefix == h.prefix && o.suffix == h.suffix && slices.Equal(o.headers, h.headers) {
				for _, event := range h.events {
					if !slices.Contains(o.events, event) {
						o.events = append(o.events, event)
					}
				}
				continue next
			}
		}
		url := h.url
		for n := 2; slices.ContainsFunc(all, func(o webhook) bool { return o.url == h.url }); n++ {
			separator := "?"
			if strings.Contains(url, "?") {
				separator = "&"
			}
			h.url = fmt.Sprintf("%s%swebhook=%d", url, separator, n)
			h.note = "The query tells it apart from the one above: each URL is given once."
		}
		all = append(all, h)
	}
	return all
}

func (a *newApp) webhookNode(h webhook) *yaml.Node {
	m := newMapping()
	m.node.HeadComment = h.note
	m.put("url", a.out.textNode(h.url), "")
	all := protocol.WebhookEvents()
	if len(h.events) < len(all) {
		m.put("events", a.out.listNode(h.events), "")
	}
	if len(h.headers) > 0 {
		headers := newMapping()
		for _, header := range h.headers {
			headers.node.Content = append(headers.node.Content, a.out.textNode(header[0]), a.out.textNode(header[1]))
		}
		m.put("headers", headers.node, "")
	}
	filter := newMapping()
	if h.prefix != "" {
		filter.put("channel_prefix", a.out.textNode(h.prefix), "")
	}
	if h.suffix != "" {
		filter.put("channel_suffix", a.out.textNode(h.suffix), "")
	}
	if len(filter.node.Content) > 0 {
		m.put("filter", filter.node, "")
	}
	return m.node
}
