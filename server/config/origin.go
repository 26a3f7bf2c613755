package config

import (
	"fmt"
	"strconv"
	"strings"
)

// origin is where a configuration was read from. It has no values.
type origin struct {
	file string
	keys map[string]string // what set them, by path
}

func (l *loader) origin() origin {
	o := origin{file: l.name, keys: make(map[string]string, len(l.sources))}
	for path, src := range l.sources {
		switch {
		case path == "": // the document
		case src.variable != "":
			o.keys[path] = src.variable
		case src.line > 0:
			o.keys[path] = fmt.Sprintf("%s:%d", l.name, src.line)
		}
	}
	return o
}

// File is the name of the file that the configuration was read from, as it was given;
// empty if there was none.
func (c *Config) File() string { return c.origin.file }

// Where tells what set the key at a path such as apps[0].max_connections: a line as
// belfry.yaml:12, or the name of a variable of the environment. It is empty if the key
// has its default. known says whether there is such a key.
func (c *Config) Where(path string) (where string, known bool) {
	keys, name := c.keys(), path
	if rest, ok := strings.CutPrefix(path, "apps["); ok {
		number, inner, _ := strings.Cut(rest, "].")
		i, err := strconv.Atoi(number)
		if err != nil || i < 0 || i >= len(c.Apps) {
			return "", false
		}
		keys, name = c.Apps[i].keys(), inner
	}
	if keys.lookup(name) == nil {
		return "", false
	}
	return c.origin.keys[path], true
}

// IsAppKey reports whether an app has a key of that name.
func IsAppKey(name string) bool { return new(App).keys().lookup(name) != nil }
