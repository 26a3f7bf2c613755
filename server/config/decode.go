package config

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// maxProblems bounds what is told of one file.
const maxProblems = 100

// source is where in the file a key was set.
type source struct {
	line int
	text string // the value as errors show it; empty if they must not
}

// loader fills a Config from one file and remembers where each value is from.
// It is for one use by one goroutine.
type loader struct {
	name    string
	env     Env
	sources map[string]source // by path, such as apps[0].key; "" is the document
	bad     map[string]bool   // paths whose value, or what stands in for it, cannot be used
	errs    Errors
}

func newLoader(name string, env Env) *loader {
	return &loader{name: name, env: env, sources: map[string]source{}, bad: map[string]bool{}}
}

func (l *loader) add(line int, path, text string) {
	if len(l.errs) > maxProblems {
		return
	}
	l.errs = append(l.errs, Problem{Name: l.name, Line: line, Key: path, Text: text})
}

// refuse tells that the value at path has a problem, once for each value: a
// value that could not be read is not judged for the default in its place.
func (l *loader) refuse(path, problem string) {
	for p := path; p != ""; p = parent(p) {
		if l.bad[p] {
			return
		}
	}
	l.bad[path] = true
	l.add(l.line(path), path, cmp.Or(l.sources[path].text, "the value")+" "+problem)
}

// line is where path is set, or the nearest thing around it.
func (l *loader) line(path string) int {
	for ; path != ""; path = parent(path) {
		if s, ok := l.sources[path]; ok {
			return s.line
		}
	}
	return max(l.sources[""].line, 1)
}

func (l *loader) isSet(path string) bool {
	_, ok := l.sources[path]
	return ok
}

func parent(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// secret says whether the value at path, or the list that it is in, must not
// be shown.
func secret(path string) bool {
	if strings.HasSuffix(path, "]") {
		path = parent(path)
	}
	return strings.HasSuffix(path, ".secret") || strings.HasSuffix(path, ".secrets") || strings.HasSuffix(path, ".token") ||
		strings.HasSuffix(path, ".url") || strings.Contains(path, ".headers.")
}

func (l *loader) root(n *yaml.Node, c *Config) {
	l.sources[""] = source{line: n.Line}
	l.value(n, "", reflect.ValueOf(c).Elem())
}

// value reads n into out, whose type says what is accepted.
func (l *loader) value(n *yaml.Node, path string, out reflect.Value) {
	switch p := out.Addr().Interface().(type) {
	case *string:
		if s, _, ok := l.scalar(n, path, "text"); ok {
			*p = s
		}
	case *bool:
		if s, ok := l.typed(n, path, "true or false"); ok {
			if *p = s == "true"; !*p && s != "false" {
				l.refuse(path, "is neither true nor false: give one of them")
			}
		}
	case *int, *int64:
		if s, ok := l.typed(n, path, "a whole number"); ok {
			i, err := strconv.ParseInt(s, 10, out.Type().Bits())
			switch {
			case errors.Is(err, strconv.ErrRange):
				l.refuse(path, "is out of range: give a smaller whole number")
			case err != nil:
				l.refuse(path, "is not a whole number: give one in decimal digits")
			default:
				out.SetInt(i)
			}
		}
	case *time.Duration:
		if s, _, ok := l.scalar(n, path, durationForm); ok {
			*p = l.duration(path, s, *p)
		}
	case *slog.Level:
		if s, _, ok := l.scalar(n, path, "a level such as info"); ok {
			*p = l.level(path, s, *p)
		}
	case *netip.Prefix:
		if s, _, ok := l.scalar(n, path, prefixForm); ok {
			*p = l.prefix(path, s)
		}
	case *map[string]string:
		*p = l.headers(n, path)
	default:
		if out.Kind() == reflect.Slice {
			l.list(n, path, out)
		} else {
			l.mapping(n, path, out)
		}
	}
}

// is says whether n is of the kind wanted, and refuses it otherwise.
func (l *loader) is(n *yaml.Node, path string, kind yaml.Kind, want string) bool {
	kinds := map[yaml.Kind]string{yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list", yaml.ScalarNode: "just text"}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		l.refuse(path, "has an anchor or alias, which are not accepted: write the value out, in quotes if it begins with & or *")
	case n.Style&yaml.TaggedStyle != 0:
		l.refuse(path, "has a tag, which are not accepted: put a value that begins with ! in quotes")
	case n.Kind != kind && null(n):
		l.refuse(path, "is empty: give "+want)
	case n.Kind != kind:
		l.refuse(path, "is "+kinds[n.Kind]+": give "+want)
	default:
		return true
	}
	return false
}

// null says whether nothing is written where a value could be.
func null(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Style == 0 && n.Anchor == "" && n.Tag == "!!null"
}

// scalar returns the text of n with its variables filled in, and whether it
// was written without quotes.
func (l *loader) scalar(n *yaml.Node, path, want string) (s string, plain, ok bool) {
	if !l.is(n, path, yaml.ScalarNode, want) {
		return "", false, false
	}
	if null(n) {
		return "", true, true
	}
	s, expanded, problem := expand(n.Value, l.env)
	src := l.sources[path]
	if n.Value != "" && !secret(path) {
		src.text = quote(n.Value)
		if expanded {
			src.text += " (filled in)"
		}
	}
	l.sources[path] = src
	if problem != "" {
		l.refuse(path, problem)
		return "", false, false
	}
	return s, n.Style == 0, true
}

// typed is scalar for what is not text: quotes make it text.
func (l *loader) typed(n *yaml.Node, path, want string) (string, bool) {
	s, plain, ok := l.scalar(n, path, want)
	switch {
	case !ok:
		return "", false
	case null(n):
		l.refuse(path, "is empty: give "+want)
		return "", false
	case !plain:
		l.refuse(path, "is text: give "+want+", without quotes")
		return "", false
	}
	return s, true
}

func (l *loader) list(n *yaml.Node, path string, out reflect.Value) {
	if path == "apps" && null(n) {
		return
	}
	out.Set(reflect.MakeSlice(out.Type(), 0, 0)) // given, if wrong: secret is not missed beside bad secrets
	if !l.is(n, path, yaml.SequenceNode, "a list such as [a, b]") {
		return
	}
	list := reflect.MakeSlice(out.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		switch item := list.Index(i).Addr().Interface().(type) {
		case *App:
			*item = DefaultApp()
		case *Webhook:
			*item = DefaultWebhook()
		}
		at := fmt.Sprintf("%s[%d]", path, i)
		l.sources[at] = source{line: item.Line}
		l.value(item, at, list.Index(i))
	}
	out.Set(list)
}

func (l *loader) mapping(n *yaml.Node, path string, out reflect.Value) {
	fields, keys := map[string]reflect.Value{}, []string{}
	for i := range out.NumField() {
		if key := out.Type().Field(i).Tag.Get("yaml"); key != "-" {
			fields[key] = out.Field(i)
			keys = append(keys, key)
		}
	}
	accepted := "the keys here are " + strings.Join(keys, ", ")
	if null(n) {
		return
	}
	if !l.is(n, path, yaml.MappingNode, "a mapping, "+accepted) {
		return
	}
	for i := 0; i+1 < len(n.Content) && len(l.errs) <= maxProblems; i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			l.add(k.Line, path, "a key is not plain text: "+accepted)
			continue
		}
		at := strings.TrimPrefix(path+"."+k.Value, ".")
		field, known := fields[k.Value]
		first, again := l.sources[at]
		switch {
		case !known:
			l.add(k.Line, path, unknownKey(k.Value, keys)+accepted)
		case again:
			l.add(k.Line, at, fmt.Sprintf("set twice, first on line %d: keep one", first.line))
		default:
			l.sources[at] = source{line: k.Line}
			l.value(v, at, field)
		}
	}
}

// headers reads a mapping whose keys are names of headers. What is no name does
// not become a part of a path, which errors show.
func (l *loader) headers(n *yaml.Node, path string) map[string]string {
	if null(n) || !l.is(n, path, yaml.MappingNode, "a mapping of names to text") {
		return nil
	}
	headers := make(map[string]string, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content) && len(l.errs) <= maxProblems; i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		at := path + "." + k.Value
		first, again := l.sources[at]
		switch before, _, joined := strings.Cut(k.Value, ":"); {
		case k.Kind != yaml.ScalarNode || k.Anchor != "":
			l.add(k.Line, path, "a key is not plain text: give a mapping of names to text")
		case joined: // "Authorization:x", which YAML takes for a key: the value is not shown
			l.add(k.Line, path, "no space after the colon of "+quote(before))
		case headerNameProblem(k.Value) != "":
			l.add(k.Line, path, "the value "+headerNameProblem(k.Value))
		case again:
			l.add(k.Line, at, fmt.Sprintf("set twice, first on line %d: keep one", first.line))
		default:
			l.sources[at] = source{line: k.Line}
			if s, _, ok := l.scalar(v, at, "text"); ok {
				headers[k.Value] = s
			}
		}
	}
	return headers
}

// unknownKey says what is wrong with a key that is not among keys. Of
// "secret:x", which YAML takes for a key, the value is not shown.
func unknownKey(key string, keys []string) string {
	if before, _, ok := strings.Cut(key, ":"); ok {
		return "no space after the colon of " + quote(before) + ": "
	}
	text := "unknown key " + quote(key)
	if near := nearest(key, keys); near != "" {
		text += ", did you mean " + near + "?"
	} else {
		text += ":"
	}
	return text + " "
}
