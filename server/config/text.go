package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var reference = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)(:-(.*))?$`)

// expand fills in ${NAME} and ${NAME:-default} in s, once: what a variable
// holds is not looked at again. It returns the names that it met, and what is
// wrong with them without a word of what they hold.
func expand(s string, env Env) (out string, names []string, problem string) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${")
		if !found {
			b.WriteString(s)
			return b.String(), names, ""
		}
		if literal, ok := strings.CutSuffix(before, "$"); ok {
			b.WriteString(literal + "${")
			s = rest
			continue
		}
		inside, after, closed := strings.Cut(rest, "}")
		m := reference.FindStringSubmatch(inside)
		if !closed || m == nil || strings.Contains(inside, "${") {
			return "", names, "has a ${ that is not a variable: write ${NAME} or ${NAME:-default}, or $${ for a literal ${"
		}
		name, hasDefault := m[1], m[2] != ""
		value, set := env[name]
		if !set && !hasDefault {
			return "", names, fmt.Sprintf("needs the environment variable %s, which is not set: set it, or write ${%s:-default}", name, name)
		}
		if value == "" {
			value = m[3]
		}
		b.WriteString(before + value)
		s, names = after, append(names, name)
	}
}

// quote shows s on one line, cut to a length that can be read.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}

// Nearest returns the word that key is most likely a slip of, or "".
func Nearest(key string, words []string) string {
	const longest = 64 // no key is half as long
	if len(key) > longest {
		return ""
	}
	best, most := "", max(1, len(key)/3)
	for _, w := range words {
		if d := distance(key, w); d <= most {
			best, most = w, d-1
		}
	}
	return best
}

// distance is the number of bytes to insert, delete or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
