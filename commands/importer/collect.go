package importer

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// collect puts the settings of an object into settings, by their paths.
func (c *conversion) collect(o *object, name, path string, rows []row, settings map[string]*setting) {
	for _, key := range o.names {
		v, at := o.of[key], path+key
		inner, isObject := v.(*object)
		r := find(rows, at)
		if isObject && (r == nil || r.key != at) {
			c.collect(inner, name+key+".", at+".", rows, settings)
			continue
		}
		c.add(&setting{name: name + key, path: at, value: v, row: r}, settings)
	}
}

// add adds a setting that has a value. What is set a second time, by another spelling,
// counts.
func (c *conversion) add(s *setting, settings map[string]*setting) {
	if s.value == nil || s.value == "" {
		return
	}
	if first := settings[s.path]; first != nil {
		c.lost(first, s)
	}
	settings[s.path] = s
}

// lost tells that a setting does not count, as winner sets the same.
func (c *conversion) lost(s, winner *setting) {
	if s.row == nil || s.row.ours == "" || s.isDefault() || reflect.DeepEqual(s.value, winner.value) {
		return
	}
	text := "it is set twice, once by a name with dots and once by objects in each other: only the last counts"
	if s.name != winner.name {
		text = "set by " + clip(winner.name) + " as well, which counts"
	}
	c.say(s.name, "not taken", text)
}

// rank orders variables that set the same: the one that the other server reads itself is
// ahead of those that are for it by custom.
func (s *server) rank(name string) int {
	return slices.IndexFunc(s.variables, func(v variable) bool { return v.name == name })
}

// rowOf is the row of a variable's path, which may be that of a field of the first app.
func (s *server) rowOf(path string) *row {
	if field, ok := strings.CutPrefix(path, s.apps+".0."); ok {
		return find(s.app, field)
	}
	return find(s.rows, path)
}

func (c *conversion) collectVariables(root *object) {
	var others []string
	for _, name := range root.names {
		path := c.pathOf(name)
		switch text := root.of[name].(string); {
		case path != "":
			s := &setting{name: name, path: path, value: variableValue(text), row: c.rowOf(path)}
			if first := c.settings[path]; first != nil && text != "" && c.rank(first.name) < c.rank(name) && !first.isDefault() {
				c.lost(s, first)
			} else {
				c.add(s, c.settings)
			}
		case c.isVariable(name):
			c.add(&setting{name: name, path: name, value: text}, c.settings)
		case text != "":
			others = append(others, name)
		}
	}
	taken := c.laravelApp(root)
	for _, name := range others {
		if slices.Contains(taken, name) {
			c.say(name, "", fmt.Sprintf("taken for the app, as %s is not given another", c.name))
		} else if laravels.MatchString(name) {
			c.say(name, "not needed", "for Laravel and for pages: they stay in the .env of the application")
		} else if alike := c.prefixes[0] + name; c.isExactly(alike) {
			c.say(name, "unknown", fmt.Sprintf("%s reads such variables by names that begin with %s only", c.name, c.prefixes[0]))
		} else {
			c.say(name, c.foreign.kind, c.foreign.text)
		}
	}
}

var laravels = regexp.MustCompile(`^(VITE|MIX|PUSHER|REVERB|BROADCAST|APP)_`)

// variableValue is JSON, if it is a list or an object.
func variableValue(text string) any {
	if trimmed := strings.TrimSpace(text); strings.HasPrefix(trimmed, "[") {
		if o, err := readJSON([]byte(`{"v":` + trimmed + `}`)); err == nil {
			return o.of["v"]
		}
	} else if strings.HasPrefix(trimmed, "{") {
		if o, err := readJSON([]byte(trimmed)); err == nil {
			return o
		}
	}
	return text
}

// laravelApp takes what the server is not given of an app from Laravel's own variables, and
// returns their names.
func (c *conversion) laravelApp(root *object) (taken []string) {
	names := [3]string{"PUSHER_APP_ID", "PUSHER_APP_KEY", "PUSHER_APP_SECRET"}
	for i, field := range []string{"id", "key", "secret"} {
		at := c.apps + ".0." + field
		if text, _ := root.of[names[i]].(string); text != "" && c.settings[at] == nil {
			c.add(&setting{name: names[i], path: at, value: text}, c.settings)
			taken = append(taken, names[i])
		}
	}
	return taken
}

// collectApps takes the settings of apps out of those of the server.
func (c *conversion) collectApps() {
	numbered := make(map[int]*source)
	for path, s := range c.settings {
		rest, ok := strings.CutPrefix(path, c.apps+".")
		if !ok {
			continue
		}
		number, field, _ := strings.Cut(rest, ".")
		i, err := strconv.Atoi(number)
		if err != nil || i < 0 || i > 1000 {
			continue
		}
		if numbered[i] == nil {
			numbered[i] = &source{name: fmt.Sprintf("%s[%d]", c.apps, i), settings: make(map[string]*setting)}
		}
		s.path, s.row = field, find(c.app, field)
		numbered[i].settings[field] = s
		delete(c.settings, path)
	}
	list := c.settings[c.apps]
	delete(c.settings, c.apps)
	if list != nil {
		items, ok := list.value.([]any)
		if !ok {
			c.say(list.name, "not taken", "is no list of apps")
		}
		for i, item := range items {
			src := &source{name: fmt.Sprintf("%s[%d]", list.name, i), settings: make(map[string]*setting)}
			if o, ok := item.(*object); ok {
				c.collectApp(o, src)
			} else {
				c.say(src.name, "not taken", "is no app")
			}
			if more := numbered[i]; more != nil {
				for _, s := range inOrder(more.settings) {
					c.add(s, src.settings)
				}
				delete(numbered, i)
			}
			c.sources = append(c.sources, src)
		}
	}
	for _, i := range slices.Sorted(maps.Keys(numbered)) {
		c.sources = append(c.sources, numbered[i])
	}
}

// collectApp puts the settings of an app into src. One of Sockudo's may have them in
// groups below policy, and then only those count.
func (c *conversion) collectApp(o *object, src *source) {
	policy, _ := o.of["policy"].(*object)
	own, rest := newObject(), newObject()
	for _, name := range o.names {
		v, given := o.of[name], src.name+"."+name
		name = cmp.Or(c.spelling[name], name)
		if first, again := own.of[name]; again && !reflect.DeepEqual(first, v) {
			c.say(given, "", "the app has it by two spellings: this one counts")
		}
		switch {
		case policy == nil || slices.Contains([]string{"id", "key", "secret", "enabled"}, name):
			own.set(name, v)
		case name != "policy":
			c.say(src.name+"."+name, "not taken", "beside a policy, Sockudo does not read it")
		}
	}
	if policy != nil {
		for _, name := range policy.names {
			group, ok := policy.of[name].(*object)
			if ok && slices.Contains(c.groups, name) {
				c.collect(group, src.name+".policy."+name+".", "", c.app, src.settings)
			} else {
				rest.set(name, policy.of[name])
			}
		}
		c.collect(rest, src.name+".policy.", "", c.app, src.settings)
	}
	c.collect(own, src.name+".", "", c.app, src.settings)
}
