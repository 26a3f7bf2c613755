package config

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

const (
	examplePath = "../../config.example.yaml"
	schemaPath  = "../../config.schema.json"
	docsPath    = "../../docs/configuration.md"
)

var update = flag.Bool("update", false, "write config.example.yaml, config.schema.json and the tables of docs/configuration.md from the table of keys")

//go:generate go test -run TestWrittenFromTheTable -update

// TestWrittenFromTheTable holds what is written from the table of keys to it.
func TestWrittenFromTheTable(t *testing.T) {
	docs := written(t, docsPath)
	for name, table := range map[string]string{"keys": keyTable(), "variables": variableTable()} {
		begin, end := "<!-- "+name+": written from the table in server/config -->\n", "<!-- end of "+name+" -->\n"
		before, rest, found := strings.Cut(docs, begin)
		_, after, closed := strings.Cut(rest, end)
		if !found || !closed {
			t.Fatalf("%s has no place for %s", docsPath, name)
		}
		docs = before + begin + "\n" + table + "\n" + end + after
	}
	for path, want := range map[string]string{examplePath: exampleFile(), schemaPath: string(Schema()), docsPath: docs} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is not what the table says: run go generate ./server/config", path)
		}
	}
}

func written(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

const exampleHead = `# yaml-language-server: $schema=config.schema.json
#
# Belfry's configuration: every key, with its default as the value. An app has
# no default for id, key and secret; without any app, Belfry takes one from the
# environment or makes one up.
#
# In brackets stands what a key accepts. Sizes are in bytes, durations have a
# unit (30s, 2m, 1h). An unknown key or an impossible value stops the start.
# ${NAME} and ${NAME:-default} in a value are filled in from the environment;
# $${ is a literal ${. Apps, log.level, files and domains of server.tls and
# server.max_history_bytes change when the file changes, all other keys at the
# next start.
`

// exampleFile has every key of the table.
func exampleFile() string {
	c := Config{Apps: []App{DefaultApp()}}
	for _, k := range c.keys() {
		if k.name != "apps" {
			k.value.reset()
		}
	}
	var b strings.Builder
	b.WriteString(exampleHead)
	for _, k := range c.keys() {
		b.WriteString("\n")
		writeKey(&b, k, "")
	}
	return b.String()
}

func writeKey(b *strings.Builder, k key, indent string) {
	for _, line := range wrap(k.description(), 78-len(indent)) {
		b.WriteString(indent + "# " + line + "\n")
	}
	line := k.name + ": " + k.value.text()
	if k.example != "" {
		line = k.name + ": " + k.example
	}
	if k.instead {
		line = "# " + line
	}
	switch v := k.value.(type) {
	case section:
		b.WriteString(indent + k.name + ":\n")
		writeKeys(b, v, indent+"  ")
	case list[App]:
		b.WriteString(indent + k.name + ":\n" + item((*v.at)[0].keys(), indent+"  "))
	case list[History]:
		h := DefaultHistory()
		b.WriteString(indent + line + "\n" + indent + "# An entry, in the place of []:\n" + commented(item(h.keys(), indent)))
	case list[Webhook]:
		w := DefaultWebhook()
		b.WriteString(indent + line + "\n" + indent + "# An endpoint, in the place of []:\n" + commented(item(w.keys(), indent)))
	default:
		b.WriteString(indent + line + "\n")
	}
}

func writeKeys(b *strings.Builder, keys section, indent string) {
	for _, k := range keys {
		writeKey(b, k, indent)
	}
}

// item is a mapping as an item of a list, its dash before the first key.
func item(keys section, indent string) string {
	var b strings.Builder
	writeKeys(&b, keys, indent+"  ")
	first := indent + "  " + keys[0].name + ":"
	return strings.Replace(b.String(), first, indent+"- "+keys[0].name+":", 1)
}

// commented keeps the comments within as comments of what is commented out.
func commented(text string) string {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		if content := strings.TrimLeft(line, " "); content != "" {
			indent := line[:len(line)-len(content)]
			lines[i] = indent[:4] + "# " + indent[4:] + content
		}
	}
	return strings.Join(lines, "")
}

func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// keyTable is the table of keys in Markdown.
func keyTable() string {
	var b strings.Builder
	b.WriteString("| key | default | accepted | what it is | reload |\n|---|---|---|---|---|\n")
	c, a, w, h := Default(), DefaultApp(), DefaultWebhook(), DefaultHistory()
	rows := c.keys().leaves("", false)
	rows = append(rows, a.keys().leaves("apps[]", true)...)
	rows = append(rows, h.keys().leaves("apps[].history[]", true)...)
	rows = append(rows, w.keys().leaves("apps[].webhooks[]", true)...)
	for _, k := range rows {
		reload, initial, form := "restart", "`"+k.value.text()+"`", k.value.form()
		if k.live {
			reload = "yes"
		}
		if strings.HasPrefix(form, "list: ") {
			form = strings.TrimSuffix(form, ": ")
		}
		if initial == "`\"\"`" {
			initial = ""
		}
		if strings.HasPrefix(initial, "`[") && len(initial) > 40 {
			initial = "all"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", k.name, initial, form, k.about, reload)
	}
	return b.String()
}

// variableTable is the table of variables in Markdown.
func variableTable() string {
	keys := map[string][]string{}
	var names []string
	add := func(name, key string) {
		if keys[name] == nil {
			names = append(names, name)
		}
		keys[name] = append(keys[name], "`"+key+"`")
	}
	for _, v := range composed {
		add("`"+strings.ReplaceAll(v.names, " ", "`, `")+"`", v.key)
	}
	for _, v := range variables {
		add("`"+v.name+"`", v.key)
	}
	var b strings.Builder
	b.WriteString("| variables | keys |\n|---|---|\n")
	for _, name := range names {
		fmt.Fprintf(&b, "| %s | %s |\n", name, strings.Join(keys[name], ", "))
	}
	b.WriteString("\n| not offered | what to do |\n|---|---|\n")
	for _, v := range unequal {
		if v.advice != "" {
			fmt.Fprintf(&b, "| `%s` | %s |\n", v.name, v.advice)
		}
	}
	return b.String()
}

func TestTableIsSound(t *testing.T) {
	c, a, w, h := Default(), DefaultApp(), DefaultWebhook(), DefaultHistory()
	rows := slices.Concat(c.keys().leaves("", false), a.keys().leaves("", true), w.keys().leaves("", true), h.keys().leaves("", true))
	for _, k := range rows {
		if k.about == "" || !strings.HasSuffix(k.about, ".") && !strings.HasSuffix(k.about, "}") || k.value.form() == "" && k.name != "apps" && k.name != "webhooks" && k.name != "history" {
			t.Errorf("%s: about %q, form %q", k.name, k.about, k.value.form())
		}
	}
	for _, v := range variables {
		if inner, ok := strings.CutPrefix(v.key, "apps[]."); ok {
			a.keys().find(inner)
		} else {
			c.keys().find(v.key)
		}
	}
}
