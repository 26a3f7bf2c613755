package config

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// key is one row of the table of keys.
type key struct {
	name    string
	about   string // what it is, for config.example.yaml and docs/configuration.md
	value   value
	live    bool   // a reload changes it, all in it included; other keys need a restart
	example string // what config.example.yaml has instead of the default
	instead bool   // stands in the place of another key, so the example has it as a comment
}

// description is what the key is and, where about does not say it, what it accepts.
func (k key) description() string {
	form := k.value.form()
	if slices.Contains([]string{"", "text", "true or false"}, form) || strings.HasPrefix(form, "list: ") {
		return k.about
	}
	return k.about + " [" + form + "]"
}

// section is a mapping with fixed keys.
type section []key

func (s section) reset() {
	for _, k := range s {
		k.value.reset()
	}
}

func (s section) form() string { return "" }
func (s section) text() string { return "" }

func (s section) read(l *loader, n *yaml.Node, path string) {
	names := make([]string, len(s))
	for i, k := range s {
		names[i] = k.name
	}
	accepted := "the keys here are " + strings.Join(names, ", ")
	if null(n) || !l.is(n, path, yaml.MappingNode, "a mapping, "+accepted) {
		return
	}
	for name, node := range l.pairs(n, path, accepted) {
		i := slices.Index(names, name.Value)
		if i < 0 {
			l.add(name.Line, path, unknownKey(name.Value, names)+accepted)
		} else if at := join(path, name.Value); l.once(name, at) {
			s[i].value.read(l, node, at)
		}
	}
}

func (s section) check(l *loader, path string) {
	for _, k := range s {
		k.value.check(l, join(path, k.name))
	}
}

// find returns the key at path, which leads through sections only.
func (s section) find(path string) value {
	if v := s.lookup(path); v != nil {
		return v
	}
	panic("no key " + path)
}

// lookup is find for a path that may lead nowhere: then it returns nil.
func (s section) lookup(path string) value {
	name, rest, deeper := strings.Cut(path, ".")
	i := slices.IndexFunc(s, func(k key) bool { return k.name == name })
	if i < 0 {
		return nil
	}
	if !deeper {
		return s[i].value
	}
	inner, _ := s[i].value.(section)
	return inner.lookup(rest)
}

// leaves returns the keys that have no sections in them, named by their path.
func (s section) leaves(path string, live bool) (leaves []key) {
	for _, k := range s {
		k.name, k.live = join(path, k.name), live || k.live
		if inner, ok := k.value.(section); ok {
			leaves = append(leaves, inner.leaves(k.name, k.live)...)
		} else {
			leaves = append(leaves, k)
		}
	}
	return leaves
}

func join(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }

// unknownKey says what is wrong with a key that is not among keys. Of
// "secret:x", which YAML takes for a key, the value is not shown.
func unknownKey(key string, keys []string) string {
	if before, _, ok := strings.Cut(key, ":"); ok {
		return "no space after the colon of " + quote(before) + ": "
	}
	text := "unknown key " + quote(key)
	if near := Nearest(key, keys); near != "" {
		text += ", did you mean " + near + "?"
	} else {
		text += ":"
	}
	return text + " "
}

// headers is a mapping of a header's name to its value.
type headers struct{ at *map[string]string }

func (h headers) reset()       { *h.at = nil }
func (h headers) form() string { return "mapping of names to text" }
func (h headers) text() string { return "{}" }

// read does not make a part of a path, which errors show, of what is no name.
func (h headers) read(l *loader, n *yaml.Node, path string) {
	const want = "a mapping of names to text"
	if null(n) || !l.is(n, path, yaml.MappingNode, want) {
		return
	}
	*h.at = make(map[string]string, len(n.Content)/2)
	for name, node := range l.pairs(n, path, "give "+want) {
		if before, _, joined := strings.Cut(name.Value, ":"); joined { // "Authorization:x", which YAML takes for a key: the value is not shown
			l.add(name.Line, path, "no space after the colon of "+quote(before))
		} else if problem := headerNameProblem(name.Value); problem != "" {
			l.add(name.Line, path, "the value "+problem)
		} else if at := path + "." + name.Value; l.once(name, at) {
			if s, ok := l.scalar(node, at, "text", false, true); ok {
				(*h.at)[name.Value] = s
			}
		}
	}
}

func (h headers) check(l *loader, path string) {
	if len(*h.at) > maxHeaders {
		l.refuse(path, fmt.Sprintf("has more than %d headers: give fewer", maxHeaders))
	}
	for _, name := range slices.Sorted(maps.Keys(*h.at)) {
		value := (*h.at)[name]
		at, problem := path+"."+name, headerValueProblem(value)
		if odd := headerNameProblem(name); odd != "" {
			at, problem = path, odd
		}
		if problem != "" {
			l.refuse(at, problem)
		}
		l.checkFilledIn(at, value)
	}
	h.checkRepeats(l, path)
}

// checkRepeats finds names that differ in their case only.
func (h headers) checkRepeats(l *loader, path string) {
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(*h.at)) {
		canonical := http.CanonicalHeaderKey(name)
		if other, ok := seen[canonical]; ok {
			l.refuse(path+"."+name, "is set as "+strconv.Quote(other)+" too: give each header once")
		}
		seen[canonical] = name
	}
}
