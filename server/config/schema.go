package config

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"

	"gopkg.in/yaml.v3"
)

// schema is a JSON schema, as far as the table of keys needs one: of draft 2020-12.
type schema struct {
	Dialect     string            `json:"$schema,omitempty"`
	Title       string            `json:"title,omitempty"`
	Description string            `json:"description,omitempty"`
	Type        types             `json:"type,omitempty"`
	Enum        []any             `json:"enum,omitempty"`
	Pattern     string            `json:"pattern,omitempty"`
	Minimum     *int64            `json:"minimum,omitempty"`
	Maximum     *int64            `json:"maximum,omitempty"`
	AnyOf       []schema          `json:"anyOf,omitempty"`
	OneOf       []schema          `json:"oneOf,omitempty"`
	Ref         string            `json:"$ref,omitempty"`
	Default     any               `json:"default,omitempty"`
	Examples    []any             `json:"examples,omitempty"`
	MinItems    int               `json:"minItems,omitempty"`
	MaxItems    int               `json:"maxItems,omitempty"`
	Items       *schema           `json:"items,omitempty"`
	Required    []string          `json:"required,omitempty"`
	MaxEntries  int               `json:"maxProperties,omitempty"`
	Names       *schema           `json:"propertyNames,omitempty"`
	Keys        properties        `json:"properties,omitempty"`
	Others      any               `json:"additionalProperties,omitempty"` // false, or the schema of the values
	Defs        map[string]schema `json:"$defs,omitempty"`

	needed bool // there is no default that is accepted
}

// types are names of JSON's types.
type types []string

// MarshalJSON writes a single name as it is.
func (t types) MarshalJSON() ([]byte, error) {
	if len(t) == 1 {
		return json.Marshal(t[0])
	}
	return json.Marshal([]string(t))
}

// properties are the keys of a section in the order of the table.
type properties []property

type property struct {
	name  string
	value schema
}

// MarshalJSON makes an object of p, whose order a map would lose.
func (p properties) MarshalJSON() ([]byte, error) {
	b := bytes.NewBufferString("{")
	for i, key := range p {
		name, err := json.Marshal(key.name)
		if err != nil {
			return nil, err
		}
		value, err := compact(key.value)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// compact is json.Marshal without escapes for HTML.
func compact(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// variableSchema is that of a text with ${NAME} or ${NAME:-default} in it, which may
// stand for any value.
var variableSchema = schema{
	Description: "A text in which variables of the environment are filled in.",
	Type:        types{"string"},
	Pattern:     `(^|[^$])\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}`,
}

// Schema returns the JSON schema of a configuration file, for editors. What it accepts
// may still be refused by [Parse]: a schema cannot compare values, measure durations or
// tell text in quotes from text without.
func Schema() []byte {
	c := Default()
	s := c.keys().schema()
	s.Dialect = "https://json-schema.org/draft/2020-12/schema"
	s.Title = "Belfry's configuration"
	s.Defs = map[string]schema{"variable": variableSchema}
	text, err := compact(s)
	if err != nil {
		panic(err) // strings, numbers and lists of them
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		panic(err)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// asJSON is what YAML in the table of keys stands for.
func asJSON(text string) (v any) {
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		panic(err)
	}
	return v
}

func (k key) schema() schema {
	s := k.value.schema()
	s.Description = k.description()
	if k.example != "" {
		s.Examples = []any{asJSON(k.example)}
	}
	return s
}

func (s section) schema() schema {
	made := schema{Type: types{"object"}, Others: false}
	for i, k := range s {
		value := k.schema()
		made.Keys = append(made.Keys, property{k.name, value})
		if k.instead {
			other := s[i-1].name
			made.Required = slices.DeleteFunc(made.Required, func(name string) bool { return name == other })
			made.OneOf = []schema{{Required: []string{other}}, {Required: []string{k.name}}}
		} else if value.needed {
			made.Required = append(made.Required, k.name)
		}
	}
	if made.Required == nil {
		made.Type = append(made.Type, "null")
	}
	return made
}

func (v list[T]) schema() schema {
	item := v.item(new(T))
	item.reset()
	items := item.schema()
	items.Default = nil
	made := schema{Type: types{"array"}, Items: &items, MinItems: v.least, MaxItems: v.most, Default: asJSON(v.text())}
	if v.empty {
		made.Type = append(made.Type, "null")
	}
	if len(*v.at) < v.least {
		made.Default = nil
	}
	return made
}

func (h headers) schema() schema {
	return schema{
		Type:       types{"object", "null"},
		MaxEntries: maxHeaders,
		Names:      &schema{Pattern: headerNamePattern},
		Others:     schema{Type: types{"string", "number", "boolean", "null"}, Pattern: headerValuePattern},
	}
}

// schema is one of alternatives: what v.fits says, or a text with variables.
func (v *scalar[T]) schema() schema {
	made := schema{needed: v.problem(v.initial) != ""}
	if !made.needed {
		made.Default = asJSON(v.format(v.initial))
	}
	if first := v.fits[0]; first.Type == nil && first.Enum == nil && first.Pattern == "" {
		made.Type = v.types("") // any text, so also one with variables
		return made
	}
	for _, fits := range v.fits {
		if fits.Type == nil && fits.Enum == nil {
			fits.Type = v.types(fits.Pattern)
		}
		made.AnyOf = append(made.AnyOf, fits)
	}
	made.AnyOf = append(made.AnyOf, schema{Ref: "#/$defs/variable"})
	return made
}

// types are those of YAML's values whose text v accepts and pattern matches.
func (v *scalar[T]) types(pattern string) types {
	names, matched := types{"string"}, regexp.MustCompile(pattern)
	for name, text := range map[string]string{"number": "12345678", "boolean": "true", "null": ""} {
		if x, problem := v.parse(text); problem == "" && v.problem(x) == "" && matched.MatchString(text) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
