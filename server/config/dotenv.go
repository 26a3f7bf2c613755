package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Bounds of an .env file; Laravel's has a few KiB.
const (
	maxEnvFileBytes = 64 << 10
	maxEnvBytes     = 1 << 20 // of all values: a file that doubles ${A} line by line would fill the memory
)

// EnvFile returns the variables of a Laravel .env file, read as Laravel reads
// them, under those of over, which is usually the process environment and wins,
// even with an empty value. An error names the line and never repeats what the
// file says.
func EnvFile(path string, over Env) (Env, error) {
	data, err := readFile(path, maxEnvFileBytes)
	if err != nil {
		return nil, fmt.Errorf("read the environment file: %w", err)
	}
	if len(data) > maxEnvFileBytes {
		return nil, fmt.Errorf("%s: more than %d bytes: give a .env file such as Laravel's", path, maxEnvFileBytes)
	}
	return ParseEnv(path, data, over)
}

// ParseEnv is [EnvFile] for the text of a file; name stands for it in errors.
func ParseEnv(name string, data []byte, over Env) (Env, error) {
	env, problem := dotenv(string(data), over)
	if problem != nil {
		problem.Name = name
		return nil, Errors{*problem}
	}
	return env, nil
}

// The grammar is that of vlucas/phpdotenv 5, which Laravel uses, oddities
// included; testdata/dotenv.json has what phpdotenv itself makes of many files.
var (
	lineEnd        = regexp.MustCompile(`\r\n|\n|\r`)
	variableName   = regexp.MustCompile(`^[\p{Ll}\p{Lu}\p{M}\p{N}_.]+$`)
	nestedVariable = regexp.MustCompile(`^\$\{([a-zA-Z0-9_.]+)\}`)
	envToken       = regexp.MustCompile(`^(?:[\r\n]+|[ \t\v\f]+|[\\'"#$]|[^ \t\v\f\r\n\\'"#$]+)`)
)

const (
	trimmed = " \t\n\r\v\x00" // what PHP's trim takes away
	spaces  = " \t\n\r\v\f"
)

// dotenv returns the variables of the text of an .env file under those of over.
func dotenv(text string, over Env) (Env, *Problem) {
	text = strings.TrimPrefix(validUTF8(text), "\ufeff")
	vars, size := make(Env), 0
	for name, value := range over {
		vars[name] = value
	}
	lines := lineEnd.Split(text, -1)
	for at := 0; at < len(lines); {
		entry, line := lines[at], at+1
		at++
		if strings.Contains(entry, `="`) && !closesQuote(entry, 2) {
			end := at
			for end < len(lines) && !closesQuote(lines[end], 1) {
				end++
			}
			if end == len(lines) {
				return nil, &Problem{Line: line, Text: "a double quote that begins here is not closed: Laravel would ignore the rest of the file"}
			}
			entry, at = strings.Join(lines[at-1:end+1], "\n"), end+1
		}
		if t := strings.Trim(entry, trimmed); t == "" || t[0] == '#' {
			continue
		}
		name, value, problem := parseEntry(entry, vars)
		if problem != "" {
			return nil, &Problem{Line: line, Text: problem}
		}
		if _, ours := over[name]; ours {
			continue
		}
		if value == nil {
			delete(vars, name) // as Laravel does for a name without an equals sign
			continue
		}
		if size += len(*value); size > maxEnvBytes {
			return nil, &Problem{Line: line, Text: fmt.Sprintf("the values up to here have more than %d bytes: give a .env file such as Laravel's", maxEnvBytes)}
		}
		vars[name] = *value
	}
	return vars, nil
}

// validUTF8 puts a question mark for every byte that begins no character, and for
// every beginning of one that is cut, as PHP's mb_convert_encoding does.
func validUTF8(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for text != "" {
		r, size := utf8.DecodeRuneInString(text)
		if r != utf8.RuneError || size > 1 {
			b.WriteString(text[:size])
		} else {
			b.WriteByte('?')
			for size < len(text) && !utf8.FullRuneInString(text[:size+1]) {
				size++
			}
		}
		text = text[size:]
	}
	return b.String()
}

// closesQuote says whether the line ends a value in double quotes: it has this
// many of them that are neither its first byte nor escaped, or is just one.
func closesQuote(line string, quotes int) bool {
	if line == `"` {
		return true
	}
	line = strings.ReplaceAll(line, `\\`, "")
	for i := 1; i < len(line); i++ {
		if line[i] == '"' && line[i-1] != '\\' {
			quotes--
		}
	}
	return quotes <= 0
}

// parseEntry splits an entry, which is one line or more, into a name and a
// value, nil if there is no equals sign, or says what is wrong with it.
func parseEntry(entry string, vars Env) (name string, value *string, problem string) {
	name, rest, found := strings.Cut(entry, "=")
	if found {
		name, rest = strings.Trim(name, trimmed), strings.Trim(rest, trimmed)
	}
	if name == "" {
		return "", nil, "no name before the equals sign: give NAME=value"
	}
	if after, ok := strings.CutPrefix(name, "export"); ok && utf8.RuneCountInString(name) > 8 && strings.ContainsRune(spaces, rune(after[0])) {
		name = strings.TrimLeft(after, spaces)
	}
	if last := len(name) - 1; utf8.RuneCountInString(name) > 2 && name[0] == name[last] && (name[0] == '"' || name[0] == '\'') {
		name = name[1:last]
	}
	if !variableName.MatchString(name) {
		return "", nil, "not in the form NAME=value: give a name of letters, digits, _ and ., or put # before a comment"
	}
	if !found {
		return name, nil, ""
	}
	s, problem := parseValue(rest, vars)
	return name, &s, problem
}

// parseValue removes quotes, escapes and a comment, and fills in variables.
func parseValue(text string, vars Env) (value, problem string) {
	const (
		initial = iota
		unquoted
		single
		double
		escape
		after
	)
	var b strings.Builder
	var dollars []int // where in b a ${NAME} may begin
	state := initial
read:
	for text != "" {
		token := envToken.FindString(text)
		text = text[len(token):]
		space := strings.Trim(token, spaces) == ""
		switch {
		case token == "#" && (state == initial || state == unquoted || state == after):
			break read
		case state == initial && token == "'":
			state = single
		case state == initial && token == `"`:
			state = double
		case state == unquoted && space, state == single && token == "'", state == double && token == `"`:
			state = after
		case state == after && !space:
			return "", "text after the end of a value: put a value with spaces or quotes in double quotes, and # before a comment"
		case state == after:
		case state == double && token == `\`:
			state = escape
		case state == escape:
			s, ok := unescape(token)
			if !ok {
				return "", `a backslash that is no escape: in double quotes give \\ \" \$ \n \r \t \f or \v, or use single quotes`
			}
			b.WriteString(s)
			state = double
		default:
			if token == "$" && state != single {
				dollars = append(dollars, b.Len())
			}
			if state == initial {
				state = unquoted
			}
			b.WriteString(token)
		}
	}
	if state == single || state == double || state == escape {
		return "", "a quote that is not closed: close it, or put a value with quotes in the other kind of quotes"
	}
	return fillIn(b.String(), dollars, vars)
}

func unescape(token string) (string, bool) {
	if strings.ContainsAny(token[:1], `"\$`) {
		return token, true
	}
	if i := strings.IndexByte("fnrtv", token[0]); i >= 0 {
		return "\f\n\r\t\v"[i:i+1] + token[1:], true
	}
	return "", false
}

// fillIn replaces each ${NAME} that begins at one of dollars, the last first, so
// that ${A${B}} works. One that is not set stays.
func fillIn(s string, dollars []int, vars Env) (value, problem string) {
	for i := len(dollars) - 1; i >= 0; i-- {
		tail := s[dollars[i]:]
		m := nestedVariable.FindStringSubmatch(tail)
		if m == nil {
			continue
		}
		if v, ok := vars[m[1]]; ok {
			s = s[:dollars[i]] + v + tail[len(m[0]):]
		}
		if len(s) > maxEnvBytes {
			return "", fmt.Sprintf("a value of more than %d bytes: give a shorter one", maxEnvBytes)
		}
	}
	return s, ""
}
