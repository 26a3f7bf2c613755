package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maxFileBytes bounds the configuration file: 100,000 apps with their credentials fit.
const maxFileBytes = 16 << 20

// document parses data into the root of its only YAML document, nil if it is
// empty. It returns false after telling why that cannot be.
func (l *loader) document(data []byte) (*yaml.Node, bool) {
	if len(data) > maxFileBytes {
		l.add(1, "", fmt.Sprintf("the file has more than %d bytes: give a smaller one, or have apps looked up with apps_from", maxFileBytes))
		return nil, false
	}
	for i, line := range bytes.Split(data, []byte("\n")) {
		if !utf8.Valid(line) {
			l.add(i+1, "", "not UTF-8 text: save the file as UTF-8")
		} else if bytes.ContainsFunc(line, control) {
			l.add(i+1, "", "a control character: write it as \\u and four digits, in double quotes")
		}
	}
	if len(l.errs) > 0 {
		return nil, false
	}
	docs, err := parseYAML(data)
	if err != nil && strings.Contains(err.Error(), "escape c") {
		data = plainEscapes(data)
		docs, err = parseYAML(data)
	}
	if err != nil {
		l.add(errorLine(data, err), "", syntaxText(err))
		return nil, false
	}
	switch len(docs) {
	case 0:
		return nil, true
	case 1:
		return docs[0], true
	}
	l.add(docs[1].Line, "", "a second YAML document begins here: give one document, without --- in between")
	return nil, false
}

func control(r rune) bool {
	return r < ' ' && r != '\t' && r != '\r' || r == 0x7f
}

// parseYAML returns the roots of the first two documents of data.
func parseYAML(data []byte) (docs []*yaml.Node, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for len(docs) < 2 {
		var doc yaml.Node
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			return docs, nil
		} else if err != nil {
			return docs, err
		}
		docs = append(docs, doc.Content[0])
	}
	return docs, nil
}

// errorLine finds the line of a syntax error: the first one that makes the
// text up to there fail the same way. The parser's own line is missing from
// some errors and one or more off in others.
func errorLine(data []byte, err error) int {
	lines := bytes.SplitAfter(data, []byte("\n"))
	line := 1 + sort.Search(len(lines), func(i int) bool {
		_, e := parseYAML(bytes.Join(lines[:i+1], nil))
		return e != nil && e.Error() == err.Error()
	})
	return min(line, len(lines))
}

var (
	doubleQuoted = regexp.MustCompile(`"(?:[^"\\\n]|\\.)*"`)
	jsonEscape   = regexp.MustCompile(`\\(?:u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|.)`)
)

// plainEscapes replaces the escapes of JSON that the YAML parser does not know,
// \/ and pairs of surrogates, by what they stand for.
func plainEscapes(data []byte) []byte {
	return doubleQuoted.ReplaceAllFunc(data, func(s []byte) []byte {
		return jsonEscape.ReplaceAllFunc(s, func(escape []byte) []byte {
			var r string
			if len(escape) == 2 && escape[1] != '/' || json.Unmarshal(slices.Concat([]byte{'"'}, escape, []byte{'"'}), &r) != nil {
				return escape
			}
			return []byte(r)
		})
	})
}

var yamlPrefix = regexp.MustCompile(`^(yaml: )?(line \d+: )?`)

// syntaxText is the parser's reason without its line, which [errorLine] finds,
// and without what it quotes, which could be a secret.
func syntaxText(err error) string {
	text := yamlPrefix.ReplaceAllString(err.Error(), "")
	if strings.HasPrefix(text, "unknown anchor") {
		return "anchors and aliases are not accepted: put a value that begins with & or * in quotes"
	}
	return "not valid YAML: " + text
}
