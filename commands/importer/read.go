package importer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
	"github.com/go-json-experiment/json/jsontext"

	"belfry/server/config"
)

const (
	// MaxBytes bounds what is imported.
	MaxBytes = 1 << 20
	maxDepth = 32  // of objects and lists in each other; theirs have eight
	maxKeys  = 200 // dots and braces in a line of TOML, of which the reader takes time by the square
)

// A value is an *object, a []any of values, a string, which is the text of a string, a
// number or a truth value, or nil.

// object is a mapping, in the order of the file if that is known.
type object struct {
	names []string
	of    map[string]any
}

func newObject() *object { return &object{of: make(map[string]any)} }

func (o *object) set(name string, v any) {
	if _, there := o.of[name]; !there {
		o.names = append(o.names, name)
	}
	o.of[name] = v
}

// format is a way to write a configuration down.
type format int

const (
	formatJSON format = iota
	formatTOML
	formatEnv
)

var (
	tomlLine = regexp.MustCompile(`(?m)^[ \t]*(\[|[a-z][a-z0-9_.]*[ \t]*=)`)
	envLine  = regexp.MustCompile(`(?m)^[ \t]*(export[ \t]+)?[A-Z][A-Z0-9_]*[ \t]*=`)
)

// formatOf tells the format by the name of the file, or else by what is in it.
func formatOf(name string, data []byte) (format, error) {
	switch base := path.Base(strings.ReplaceAll(name, `\`, "/")); {
	case strings.HasSuffix(base, ".json"):
		return formatJSON, nil
	case strings.HasSuffix(base, ".toml"):
		return formatTOML, nil
	case strings.HasPrefix(base, ".env"), strings.HasSuffix(base, ".env"):
		return formatEnv, nil
	case bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")):
		return formatJSON, nil
	case tomlLine.Match(data):
		return formatTOML, nil
	case envLine.Match(data):
		return formatEnv, nil
	}
	return 0, errors.New("neither JSON nor TOML nor lines NAME=value: give the file that configures Soketi or Sockudo")
}

// read returns what the file says. Variables of an environment file are the names of
// the object.
func read(name string, data []byte) (*object, format, error) {
	if len(data) > MaxBytes {
		return nil, 0, fmt.Errorf("more than %d bytes: give a smaller file", MaxBytes)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		return nil, 0, errors.New("not UTF-8 text: save the file as UTF-8")
	}
	kind, err := formatOf(name, data)
	if err != nil {
		return nil, 0, err
	}
	var root *object
	switch kind {
	case formatJSON:
		root, err = readJSON(data)
	case formatTOML:
		root, err = readTOML(data)
	case formatEnv:
		root, err = readEnv(name, data)
	}
	return root, kind, err
}

var errDeep = fmt.Errorf("objects and lists more than %d deep: no setting is", maxDepth)

func readJSON(data []byte) (*object, error) {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	v, err := jsonValue(d, 0)
	if err == nil {
		if _, err = d.ReadToken(); err == nil {
			err = errors.New("something follows the end of the object")
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	root, ok := v.(*object)
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &syntax): // whose own text may repeat a secret
		line := 1 + bytes.Count(data[:min(int(syntax.ByteOffset), len(data))], []byte("\n"))
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return nil, fmt.Errorf("line %d: a key for the second time: keep one", line)
		}
		return nil, fmt.Errorf("line %d: not valid JSON, which has no comments and no comma at the end", line)
	case err != nil:
		return nil, err
	case !ok:
		return nil, errors.New("not an object of settings")
	}
	return root, nil
}

func jsonValue(d *jsontext.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDeep
	}
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch t.Kind() {
	case 'n':
		return nil, nil
	case '[':
		list := []any{}
		for d.PeekKind() != ']' {
			v, err := jsonValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.ReadToken()
		return list, err
	case '{':
		o := newObject()
		for d.PeekKind() != '}' {
			name, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			key := name.String()
			v, err := jsonValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			o.set(key, v)
		}
		_, err = d.ReadToken()
		return o, err
	case '0':
		n := jsontext.Value(t.String())
		err := n.Canonicalize() // as JavaScript writes it: 1000 for 1e3
		return string(n), err
	default:
		return t.String(), nil
	}
}

func readTOML(data []byte) (*object, error) {
	line := 0
	for text := range bytes.Lines(data) {
		if line++; unquoted(text, ".{") > maxKeys {
			return nil, fmt.Errorf("line %d: more than %d dots and braces: give several lines", line, maxKeys)
		}
	}
	var root map[string]any
	if _, err := toml.Decode(string(data), &root); err != nil {
		var syntax toml.ParseError // whose own text may repeat a secret
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("line %d: not valid TOML", syntax.Position.Line)
		}
		return nil, errors.New("not valid TOML")
	}
	v, err := plainValue(root, 0)
	if err != nil {
		return nil, err
	}
	return v.(*object), nil
}

// unquoted counts the bytes of line that are among those, and not in quotes.
func unquoted(line []byte, those string) (n int) {
	var quote byte
	for i, b := range line {
		switch {
		case quote != 0 && b == quote && (quote == '\'' || line[i-1] != '\\'):
			quote = 0
		case quote != 0:
		case b == '"' || b == '\'':
			quote = b
		case strings.IndexByte(those, b) >= 0:
			n++
		}
	}
	return n
}

// plainValue makes a value of one of TOML.
func plainValue(v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDeep
	}
	switch v := v.(type) {
	case map[string]any:
		o := newObject()
		for _, name := range slices.Sorted(maps.Keys(v)) {
			inner, err := plainValue(v[name], depth+1)
			if err != nil {
				return nil, err
			}
			o.set(name, inner)
		}
		return o, nil
	case []map[string]any:
		list := make([]any, len(v))
		for i := range v {
			inner, err := plainValue(v[i], depth+1)
			if err != nil {
				return nil, err
			}
			list[i] = inner
		}
		return list, nil
	case []any:
		list := make([]any, len(v))
		for i := range v {
			inner, err := plainValue(v[i], depth+1)
			if err != nil {
				return nil, err
			}
			list[i] = inner
		}
		return list, nil
	case string:
		return v, nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case time.Time:
		return v.Format(time.RFC3339), nil
	default: // int64, bool
		return fmt.Sprint(v), nil
	}
}

// readEnv reads an environment file as Laravel reads it or, if it is not one for
// Laravel, as Docker does: each line a name, an equals sign and the value as it is.
func readEnv(name string, data []byte) (*object, error) {
	env, err := config.ParseEnv(name, data, nil)
	if err != nil {
		plain := make(config.Env)
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSpace(line)
			key, value, found := strings.Cut(line, "=")
			key = strings.TrimSpace(strings.TrimPrefix(key, "export "))
			switch {
			case line == "" || line[0] == '#':
			case !found || key == "" || strings.ContainsAny(key, " \t\"'"):
				var problems config.Errors
				if errors.As(err, &problems) && len(problems) > 0 {
					return nil, fmt.Errorf("line %d: %s", problems[0].Line, problems[0].Text)
				}
				return nil, err
			default:
				value = strings.TrimSpace(value)
				if n := len(value); n > 1 && value[0] == value[n-1] && strings.ContainsRune(`"'`, rune(value[0])) {
					value = value[1 : n-1]
				}
				plain[key] = value
			}
		}
		env = plain
	}
	o := newObject()
	for _, key := range slices.Sorted(maps.Keys(env)) {
		o.set(key, env[key])
	}
	return o, nil
}
