package config

import (
	"cmp"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxProblems bounds what is told of one file.
const maxProblems = 100

// source is where a value is from.
type source struct {
	line     int    // in the file; 0 if it is from a variable
	variable string // of the environment
	text     string // the value as errors show it; empty if they must not
}

// loader fills a Config from one file and the environment, and remembers where
// each value is from. It is for one use by one goroutine.
type loader struct {
	name     string
	env      Env
	verbatim bool              // ${NAME} stands for itself
	sources  map[string]source // by path, such as apps[0].key; "" is the document
	bad      map[string]bool   // paths whose value, or what stands in for it, cannot be used
	read     map[string]bool   // variables that had a say, or were told not to have
	errs     Errors
	warnings []string
}

func newLoader(name string, env Env) *loader {
	return &loader{name: name, env: env, sources: map[string]source{}, bad: map[string]bool{}, read: map[string]bool{}}
}

func (l *loader) add(line int, path, text string) {
	if len(l.errs) > maxProblems {
		return
	}
	l.errs = append(l.errs, Problem{Name: l.name, Line: line, Key: path, Text: text})
}

func (l *loader) warn(text string) {
	if len(l.warnings) < maxProblems {
		l.warnings = append(l.warnings, text)
	}
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
	src := l.nearest(path)
	if src.variable != "" {
		l.errs = append(l.errs, Problem{Name: src.variable, Text: "the value " + problem})
		return
	}
	l.add(src.line, path, cmp.Or(l.sources[path].text, "the value")+" "+problem)
}

// checkFilledIn warns of a text that has the name of a variable in it, which
// nobody filled in, and of one that is still in quotes.
func (l *loader) checkFilledIn(path, value string) {
	src, where := l.nearest(path), path
	instead := "in the configuration file a variable is ${NAME}, with braces"
	if src.variable != "" {
		where, instead = src.variable, "set that variable before"
	} else if src.line > 0 {
		where = fmt.Sprintf("%s:%d: %s", l.name, src.line, path)
	}
	if unfilled.MatchString(value) {
		l.warn(where + " has what looks like a variable, and is taken as it is: " + instead)
	} else if outerQuotes.MatchString(value) {
		l.warn(where + " has quotes around it that are part of the value: take them out, docker's --env-file keeps them")
	}
}

// unfilled is a variable alone, or one in capitals in a longer text.
var unfilled = regexp.MustCompile(`^\$\{?[A-Za-z_][A-Za-z0-9_]*\}?$|(?:^|[ :/=@"])\$\{?[A-Z_][A-Z0-9_]{2,}\}?(?:$|[^A-Za-z0-9_])`)

// nearest is where path is set, or the nearest thing around it.
func (l *loader) nearest(path string) source {
	for ; path != ""; path = parent(path) {
		if s, ok := l.sources[path]; ok {
			return s
		}
	}
	return l.sources[""]
}

func (l *loader) isSet(path string) bool {
	_, ok := l.sources[path]
	return ok
}

func parent(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
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

// scalar returns the text of n with its variables filled in. What is typed is
// not text: it is neither empty nor in quotes.
func (l *loader) scalar(n *yaml.Node, path, want string, typed, secret bool) (string, bool) {
	if !l.is(n, path, yaml.ScalarNode, want) {
		return "", false
	}
	if null(n) {
		if typed {
			l.refuse(path, "is empty: give "+want)
		}
		return "", !typed
	}
	s, names, problem := n.Value, []string(nil), ""
	if !l.verbatim {
		s, names, problem = expand(n.Value, l.env)
	}
	for _, name := range names {
		l.read[name] = true
	}
	if src := l.sources[path]; n.Value != "" && !secret {
		src.text = quote(n.Value)
		if len(names) > 0 {
			src.text += " (filled in)"
		}
		l.sources[path] = src
	}
	if problem == "" && typed && n.Style != 0 {
		problem = "is text: give " + want + ", without quotes"
	}
	if problem != "" {
		l.refuse(path, problem)
		return "", false
	}
	return s, true
}

// pairs yields the keys of a mapping that are plain text, with their values.
func (l *loader) pairs(n *yaml.Node, path, accepted string) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		for pair := range slices.Chunk(n.Content, 2) {
			k := pair[0]
			if len(l.errs) > maxProblems {
				return
			}
			if k.Kind != yaml.ScalarNode || k.Anchor != "" {
				l.add(k.Line, path, "a key is not plain text: "+accepted)
			} else if !yield(k, pair[1]) {
				return
			}
		}
	}
}

// once notes where the value at path is set, or tells that it is set already.
func (l *loader) once(key *yaml.Node, path string) bool {
	if first, again := l.sources[path]; again {
		l.add(key.Line, path, fmt.Sprintf("set twice, first on line %d: keep one", first.line))
		return false
	}
	l.sources[path] = source{line: key.Line}
	return true
}
