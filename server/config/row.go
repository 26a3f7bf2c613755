package config

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"gopkg.in/yaml.v3"
)

// ParseApp reads an application that was looked up in apps_from. The document is one JSON
// object of at most 1 MiB, whose members are keys of an app; name stands for it in
// problems. The application has to fit the limits of the server.
//
// Members may be what a database has for a value: text for a number, a list or a mapping,
// a number for true and false, seconds for a duration, and -1 for no limit. The keys of
// Soketi, Sockudo and Reverb are read as well, and all of them in camel case. A member
// settings or options holds further members, as an object or as text; those beside it
// win. What is null or empty has its default, what is no key is left out, and ${NAME} is
// what it says: a row never reads the environment.
//
// Warnings are sentences about what is left out, but maybe was meant. The error, if any,
// is of type [Errors]. Neither has a secret.
func ParseApp(name string, document []byte, server Server) (app App, warnings []string, err error) {
	l := newLoader(name, nil)
	l.verbatim = true
	l.sources[""] = source{}
	r := &row{l: l, theirs: map[string]string{}}
	keys := app.keys()
	keys.reset()
	if members, ok := r.document(document); ok {
		keys.read(l, keys.pick(r, members, ""), "")
		keys.check(l, "")
		server.checkSizes(l, "", "this app", app)
	}
	if err := r.problems().err(); err != nil {
		return App{}, nil, err
	}
	return app, r.warnings, nil
}

// row is what an application is read from, apart from the file.
type row struct {
	l        *loader           // has the problems
	theirs   map[string]string // path of a member of another server, by that of our key
	warnings []string
}

func (r *row) warn(path, text string) {
	if len(r.warnings) < maxProblems {
		r.warnings = append(r.warnings, Problem{Name: r.l.name, Key: path, Text: text}.Error())
	}
}

// maxRowBytes bounds the document of one app.
const maxRowBytes = 1 << 20

// maxMembers bounds each object and each list: a key of ours has a fraction of that, and a
// table fewer columns.
const maxMembers = 2000

// document returns the members of the whole.
func (r *row) document(b []byte) (members, bool) {
	switch object := jsontext.Value(bytes.TrimSpace(b)); {
	case len(b) > maxRowBytes:
		r.l.add(0, "", fmt.Sprintf("it has more than %d bytes: give less", maxRowBytes))
	case !utf8.Valid(b):
		r.l.add(0, "", "it is not UTF-8 text")
	case object.Kind() != '{' || !valid(object):
		r.l.add(0, "", "it is not a JSON object")
	default:
		return r.layers(object)
	}
	return nil, false
}

// problems are those of the loader, with the names that the row has.
func (r *row) problems() Errors {
	for i, p := range r.l.errs {
		for ours, theirs := range r.theirs {
			if rest, ok := strings.CutPrefix(p.Key, ours); ok && (rest == "" || strings.ContainsAny(rest[:1], ".[")) {
				r.l.errs[i].Key = theirs + rest
			}
		}
	}
	return r.l.errs
}

// lenient reads what JavaScript does: the cut half of an emoji is no error.
var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

func valid(v jsontext.Value) bool { return v.IsValid(lenient...) }

// member is one of an object.
type member struct {
	name string         // as it is given
	key  string         // the same in snake case, or the key of ours that stands for it
	raw  jsontext.Value // not null, and no empty text
}

// members are those of an object or of several, of which the first that has a key counts.
type members []member

func (m members) find(key string) (member, bool) {
	i := slices.IndexFunc(m, func(m member) bool { return m.key == key })
	if i < 0 {
		return member{}, false
	}
	return m[i], true
}

// snake is max_connections for maxConnections and MaxConnections.
func snake(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if c < 'A' || c > 'Z' {
			b.WriteByte(c)
			continue
		}
		if i > 0 && name[i-1] != '_' && (name[i-1] < 'A' || name[i-1] > 'Z') {
			b.WriteByte('_')
		}
		b.WriteByte(c - 'A' + 'a')
	}
	return b.String()
}

// object returns the members of what is an object, or text that holds one.
func (r *row) object(raw jsontext.Value, path string) (members, bool) {
	raw = unwrap(raw)
	if raw.Kind() != '{' {
		return nil, false
	}
	m := members{}
	seen := map[string]bool{}
	for name, value := range tokens(raw) {
		if len(seen) == maxMembers {
			r.l.refuse(path, fmt.Sprintf("has more than %d members: give fewer", maxMembers))
			break
		}
		if seen[name] {
			r.l.add(0, path, "has the member "+quote(name)+" twice: keep one")
			continue
		}
		seen[name] = true
		if value.Kind() != 'n' && string(value) != `""` {
			m = append(m, member{name, snake(name), value})
		}
	}
	return m, true
}

// tokens yields what is in an object, with its names, or in an array. The value is valid.
func tokens(v jsontext.Value) iter.Seq2[string, jsontext.Value] {
	return func(yield func(string, jsontext.Value) bool) {
		d := jsontext.NewDecoder(bytes.NewReader(v), lenient...)
		if _, err := d.ReadToken(); err != nil {
			return
		}
		for d.PeekKind() != '}' && d.PeekKind() != ']' {
			name := ""
			if v.Kind() == '{' {
				token, err := d.ReadToken()
				if err != nil {
					return
				}
				name = token.String()
			}
			value, err := d.ReadValue()
			if err != nil || !yield(name, value.Clone()) {
				return
			}
		}
	}
}

// unwrap returns the list, mapping or null that text holds as JSON, and anything else as it
// is.
func unwrap(raw jsontext.Value) jsontext.Value {
	if raw.Kind() != '"' {
		return raw
	}
	inside := jsontext.Value(strings.TrimSpace(literal(raw)))
	if k := inside.Kind(); (k == '[' || k == '{' || k == 'n') && valid(inside) {
		return inside
	}
	return raw
}

// literal is the text of a scalar: that of a string, or a number as it is written.
func literal(raw jsontext.Value) string {
	if raw.Kind() != '"' {
		return string(raw)
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil && !utf8.Valid(text) {
		return ""
	}
	return string(text)
}

func quoted(s string) jsontext.Value {
	raw, _ := jsontext.AppendQuote(nil, s) // fails for what is not UTF-8 only, and replaces that
	return raw
}

// pick returns the mapping that the file would have for the members of an object.
func (s section) pick(r *row, m members, path string) *yaml.Node {
	s.misspelt(r, m, path)
	node := &yaml.Node{Kind: yaml.MappingNode}
	for _, k := range s {
		found, ok := m.find(k.name)
		if !ok {
			continue
		}
		at := join(path, k.name)
		if value := k.value.fromRow(r, found.raw, at); value != nil {
			node.Content = append(node.Content, scalarNode(k.name, 0), value)
			if snake(found.name) != k.name {
				r.theirs[at] = join(path, found.name)
			}
		}
	}
	return node
}

// misspelt warns of members that are likely slips of a key.
func (s section) misspelt(r *row, m members, path string) {
	names := foreignNames(path)
	for _, k := range s {
		names = append(names, k.name)
	}
	const least = 5 // characters: of a shorter name, such as uid, each is near to some key
	for _, m := range m {
		if len(m.key) >= least && !slices.Contains(names, m.key) {
			if near := Nearest(m.key, names); near != "" {
				r.warn(path, "unknown key "+quote(m.name)+", did you mean "+near+"? it is left out")
			}
		}
	}
}

func (s section) fromRow(r *row, raw jsontext.Value, path string) *yaml.Node {
	m, ok := r.object(raw, path)
	if !ok {
		return otherNode(unwrap(raw))
	}
	return s.pick(r, r.translate(m, path), path)
}

func (v list[T]) fromRow(r *row, raw jsontext.Value, path string) *yaml.Node {
	switch raw = unwrap(raw); raw.Kind() {
	case 'n':
		return nil
	case '[':
	default:
		return otherNode(raw)
	}
	node := &yaml.Node{Kind: yaml.SequenceNode}
	for _, value := range tokens(raw) {
		if len(node.Content) == maxMembers {
			r.l.refuse(path, fmt.Sprintf("has more than %d entries: give fewer", maxMembers))
			break
		}
		item := v.item(new(T)).fromRow(r, value, fmt.Sprintf("%s[%d]", path, len(node.Content)))
		node.Content = append(node.Content, item)
	}
	return node
}

func (h headers) fromRow(r *row, raw jsontext.Value, path string) *yaml.Node {
	m, ok := r.object(raw, path)
	if !ok {
		return otherNode(unwrap(raw))
	}
	node := &yaml.Node{Kind: yaml.MappingNode}
	for _, m := range m {
		node.Content = append(node.Content, scalarNode(m.name, 0), textNode(m.raw))
	}
	return node
}

func (v *scalar[T]) fromRow(_ *row, raw jsontext.Value, _ string) *yaml.Node {
	if k := raw.Kind(); k == '[' || k == '{' || k == 'n' {
		return otherNode(raw)
	}
	text := literal(raw)
	switch any(v.at).(type) {
	case *bool:
		text = cmp.Or(truth[text], text)
	case *string:
		return textNode(raw)
	default:
		if decimal.MatchString(text) { // as a column of type NUMERIC has it
			text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
		}
		if text = v.withUnit(text); text == "-1" || text == "-1s" {
			var none T
			if v.problem(none) == "" {
				text = v.format(none)
			}
		}
	}
	return scalarNode(text, 0)
}

// withUnit is text, in seconds if it is a number and v a duration.
func (v *scalar[T]) withUnit(text string) string {
	if v.want == durationForm {
		if _, err := strconv.ParseFloat(text, 64); err == nil {
			return text + "s"
		}
	}
	return text
}

var decimal = regexp.MustCompile(`^-?[0-9]+\.[0-9]*$`)

// truth is what databases have for true and false.
var truth = map[string]string{"1": "true", "t": "true", "TRUE": "true", "0": "false", "f": "false", "FALSE": "false"}

// textNode is a text: null has none, and a number that of its digits.
func textNode(raw jsontext.Value) *yaml.Node {
	if k := raw.Kind(); k == '[' || k == '{' || k == 'n' {
		return otherNode(raw)
	}
	return scalarNode(literal(raw), yaml.DoubleQuotedStyle)
}

func scalarNode(text string, style yaml.Style) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: style, Value: text}
}

// otherNode is of the kind of raw, for the error that says what is to be there.
func otherNode(raw jsontext.Value) *yaml.Node {
	switch raw.Kind() {
	case '{':
		return &yaml.Node{Kind: yaml.MappingNode}
	case '[':
		return &yaml.Node{Kind: yaml.SequenceNode}
	case 'n':
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	}
	return scalarNode("", yaml.DoubleQuotedStyle)
}
