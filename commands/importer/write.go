package importer

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"belfry/server/config"
)

// sections are the configuration's, in its order.
var sections = []string{"server", "apps", "apps_from", "webhooks", "cluster", "metrics", "log"}

// serverKeys are those of server that are set, likewise.
var serverKeys = []string{"listen", "path", "tls", "redirect_http", "max_request_bytes", "max_connections", "max_outbox_bytes", "max_total_outbox_bytes", "shutdown_grace"}

// document is the configuration that is made.
type document struct {
	root mapping
	// expands says that ${NAME} in a value is a variable's name there, too.
	expands bool
	keys    map[string]key
}

// key is a key of the configuration; ok says whether there is such a one.
type key struct {
	config.Key
	ok bool
}

func newDocument(expands bool) *document {
	return &document{root: newMapping(), expands: expands, keys: make(map[string]key)}
}

// key looks a key up, once.
func (d *document) key(path string) key {
	k, again := d.keys[path]
	if !again {
		k.Key, k.ok = config.LookupKey(path)
		d.keys[path] = k
	}
	return k
}

// problem is what is wrong with a value of a key, in words that follow the value, or "".
func (d *document) problem(path, value string) string {
	switch k := d.key(path); {
	case !k.ok:
		return "is for a key that there is not"
	case d.refers(value):
		return ""
	default:
		return k.Problem(value)
	}
}

// mapping is one of YAML.
type mapping struct{ node *yaml.Node }

func newMapping() mapping { return mapping{&yaml.Node{Kind: yaml.MappingNode}} }

// get returns the value of a key, or nil.
func (m mapping) get(key string) *yaml.Node {
	for pair := range slices.Chunk(m.node.Content, 2) {
		if pair[0].Value == key {
			return pair[1]
		}
	}
	return nil
}

// put sets a key, with a comment above it, if there is one.
func (m mapping) put(key string, value *yaml.Node, comment string) {
	for pair := range slices.Chunk(m.node.Content, 2) {
		if pair[0].Value == key {
			*pair[1] = *value
			return
		}
	}
	m.node.Content = append(m.node.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key, HeadComment: comment}, value)
}

// section is the mapping at a key, which is made if there is none.
func (m mapping) section(key string) mapping {
	if n := m.get(key); n != nil {
		return mapping{n}
	}
	inner := newMapping()
	m.put(key, inner.node, "")
	return inner
}

func (d *document) has(section string) bool { return d.root.get(section) != nil }

// set sets the key of a path such as server.tls.cert_file.
func (d *document) set(path string, e entry) {
	m, rest := d.root, path
	for {
		name, inner, deeper := strings.Cut(rest, ".")
		if !deeper {
			d.setIn(m, path, name, e)
			return
		}
		m, rest = m.section(name), inner
	}
}

// setIn sets a key of m, unless it has that value by default. path is its name among all
// keys.
func (d *document) setIn(m mapping, path, name string, e entry) {
	key := d.key(path)
	if key.ok && key.IsDefault(e.value) {
		return
	}
	n := d.textNode(e.value)
	if key.ok && key.Plain() && !d.refers(e.value) {
		n = &yaml.Node{Kind: yaml.ScalarNode, Value: e.value}
	}
	m.put(name, n, e.note)
}

var reference = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)(:-[^}]*)?\}`)

// refers says whether a text has a variable to be filled in.
func (d *document) refers(text string) bool { return d.expands && reference.MatchString(text) }

// textNode is a text. A ${ that is no variable of the other server's is none of ours.
func (d *document) textNode(text string) *yaml.Node {
	var b strings.Builder
	for text != "" {
		i := strings.Index(text, "${")
		if i < 0 {
			break
		}
		b.WriteString(text[:i])
		text = text[i:]
		if at := reference.FindStringIndex(text); d.expands && at != nil && at[0] == 0 {
			b.WriteString(text[:at[1]])
			text = text[at[1]:]
			continue
		}
		b.WriteString("$${")
		text = text[2:]
	}
	n := new(yaml.Node)
	n.SetString(b.String() + text)
	if n.Style == yaml.LiteralStyle {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

func (d *document) listNode(items []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, item := range items {
		n.Content = append(n.Content, d.textNode(item))
	}
	return n
}

// text is the YAML, with a comment at its head.
func (d *document) text(head string) ([]byte, error) {
	d.root.prune()
	root := d.root.ordered(sections)
	if n := root.get("server"); n != nil {
		*n = *mapping{n}.ordered(serverKeys).node
	}
	var b bytes.Buffer
	b.WriteString("# " + head + "\n")
	if len(root.node.Content) == 0 {
		return b.Bytes(), nil
	}
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(root.node); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}

// ordered is the mapping with its keys in the order of names, which has all of them.
func (m mapping) ordered(names []string) mapping {
	out := newMapping()
	for _, name := range names {
		for pair := range slices.Chunk(m.node.Content, 2) {
			if pair[0].Value == name {
				out.node.Content = append(out.node.Content, pair...)
			}
		}
	}
	return out
}

// prune takes out sections that nothing was set in.
func (m mapping) prune() {
	var kept []*yaml.Node
	for pair := range slices.Chunk(m.node.Content, 2) {
		if pair[1].Kind == yaml.MappingNode {
			mapping{pair[1]}.prune()
			if len(pair[1].Content) == 0 {
				continue
			}
		}
		kept = append(kept, pair...)
	}
	m.node.Content = kept
}

// encodedReference is a reference in a URL, in the encodings of its parts.
var encodedReference = regexp.MustCompile(`(%24|\$)(%7B|\{)[A-Za-z_][A-Za-z0-9_]*(%3A-|:-)?[^/@?&:]*?(%7D|\})`)
