package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// readOptions make the decoder agree with JSON.parse where its defaults are
// stricter: the last of several equal keys counts, and half a surrogate pair,
// which JavaScript makes of a cut emoji, becomes U+FFFD.
var readOptions = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// ReadJSON decodes JSON from outside into v: everything that Belfry reads of
// clients and backends comes through here.
//
// Keys are exact, as for every other reader of the same text. encoding/json
// takes "ID" and even "\u017focket_id" for the fields id and socket_id, so that an
// application could sign one identity and Belfry read another; the package
// that is to become encoding/json/v2 does not, and takes half the time.
//
// A value of another type than v's field is an error; null leaves a field
// empty. The error names the value without repeating it.
func ReadJSON(b []byte, v any) error {
	switch {
	case bytes.HasPrefix(b, []byte("\x1f\x8b")):
		return errors.New("it is gzip; send it without compression")
	case !utf8.Valid(b):
		return errors.New("it is not valid UTF-8")
	}
	err := json.Unmarshal(b, v, readOptions)
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return fmt.Errorf("%w (byte %d)%s", syntax.Err, syntax.ByteOffset, foreign(b))
	case errors.As(err, &semantic):
		if at := field(semantic.JSONPointer); at != "" {
			return fmt.Errorf("%s must not be %s", at, kindName(semantic.JSONKind))
		}
		return fmt.Errorf("found %s", kindName(semantic.JSONKind))
	default:
		return errors.New("it cannot be read")
	}
}

// field is a JSON pointer (RFC 6901) as people write it: batch[0].channel.
func field(pointer jsontext.Pointer) string {
	var b strings.Builder
	for token := range pointer.Tokens() {
		switch {
		case digits(token):
			b.WriteString("[" + token + "]")
		case b.Len() > 0:
			b.WriteString("." + quoted(token))
		default:
			b.WriteString(quoted(token))
		}
	}
	return b.String()
}

func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '{':
		return "an object"
	case '[':
		return "a list"
	}
	return "that"
}

// foreign says what text looks like that is no JSON, for those who wonder why.
func foreign(b []byte) string {
	switch {
	case len(bytes.TrimSpace(b)) == 0:
		return ": it is empty"
	case bytes.HasPrefix(b, []byte("\ufeff")):
		return ": it begins with a byte order mark; send it without"
	case b[0] == '-' && bytes.HasPrefix(b, []byte("--")):
		return ": it looks like multipart/form-data; send application/json"
	case bytes.IndexByte(b, '=') > 0 && !bytes.ContainsAny(b[:bytes.IndexByte(b, '=')], "{}[]\"<> "):
		return ": it looks like a form, name=value; send application/json"
	case b[0] == '<':
		return ": it looks like XML or HTML; send application/json"
	}
	return ""
}

const hex = "0123456789abcdef"

// AppendString appends s as a JSON string. Invalid UTF-8 becomes U+FFFD, as a
// text frame must be valid UTF-8.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	b = appendEscaped(b, s)
	return append(b, '"')
}

// appendEscaped appends s with what JSON needs escaped, without quotes.
func appendEscaped[T string | []byte](b []byte, s T) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := decodeRune(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(b, s[start:i]...)
				b = append(b, "\ufffd"...)
				start = i + 1
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	return append(b, s[start:]...)
}

func decodeRune[T string | []byte](s T) (rune, int) {
	// At most four bytes are looked at, so the conversion copies no more.
	return utf8.DecodeRuneInString(string(s[:min(len(s), utf8.UTFMax)]))
}
