package auth

import (
	"cmp"
	"crypto/md5"
	"encoding/hex"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Names of the parameters that authenticate a request.
const (
	paramKey       = "auth_key"
	paramTimestamp = "auth_timestamp"
	paramVersion   = "auth_version"
	paramSignature = "auth_signature"
	paramBodyMD5   = "body_md5"
)

// Version is the only auth_version there is.
const Version = "1.0"

// TimestampGrace is how far auth_timestamp may be from the server's time, either
// way (Pusher's documentation, "HTTP API: Authentication").
const TimestampGrace = 600 * time.Second

// maxParams bounds the work that an unsigned query can cause.
const maxParams = 1000

// Request is what a signature of the HTTP API covers.
type Request struct {
	Method string
	// Paths are the candidates for the signed path, tried in order. Pusher's
	// libraries sign the path they were given, of which the server may see a
	// percent-encoded form or one with a proxy's prefix ahead of it.
	Paths []string
	// Query holds the decoded parameters, as [ParseQuery] reads them.
	Query url.Values
	// HasBody says that there is a body, which has not been read.
	HasBody bool
	// Body is looked at by [Credentials.VerifyRequest] alone.
	Body []byte
}

// ParseQuery decodes a query string the way the signing libraries mean it. It
// differs from [url.ParseQuery] in what it does with text that was not encoded,
// as Pusher's Go, Node and Python libraries send it: a ";", which channel names
// may contain, is part of the value, and a "%" that begins no valid escape
// leaves its name or value as it was sent. Nothing is dropped, because what is
// dropped cannot be verified.
func ParseQuery(raw string) url.Values {
	query := make(url.Values)
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name = unescape(name)
		query[name] = append(query[name], unescape(value))
	}
	return query
}

func unescape(s string) string {
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded
	}
	return s
}

// SignRequest returns a copy of query with the parameters that authenticate a
// request at the time now: auth_key, auth_timestamp, auth_version, body_md5 if
// there is a body, and auth_signature. path is the path of the API without the
// prefix a proxy may add. Neither names nor values may contain "&" or a line
// break: see [Credentials.VerifyRequest].
func (c Credentials) SignRequest(method, path string, query url.Values, body []byte, now time.Time) url.Values {
	signed := make(url.Values, len(query)+5)
	for name, values := range query {
		signed[name] = slices.Clone(values)
	}
	signed.Set(paramKey, c.Key)
	signed.Set(paramTimestamp, strconv.FormatInt(now.Unix(), 10))
	signed.Set(paramVersion, Version)
	signed.Del(paramBodyMD5)
	if len(body) > 0 {
		sum := md5.Sum(body)
		signed.Set(paramBodyMD5, hex.EncodeToString(sum[:]))
	}
	message := appendHead(nil, method, path)
	message = collect(nil, signed, true).appendTo(message, joined)
	signed.Set(paramSignature, string(c.appendDigest(nil, message)))
	return signed
}

// VerifyRequest is [Credentials.VerifyQuery] and [VerifyBody], for those who have
// the body already.
func (c Credentials) VerifyRequest(r Request, now time.Time) error {
	r.HasBody = r.HasBody || len(r.Body) > 0
	if err := c.VerifyQuery(r, now); err != nil {
		return err
	}
	return VerifyBody(r.Query, r.Body)
}

// VerifyQuery checks, in this order, that auth_key is this application's key,
// auth_version is 1.0, auth_timestamp is within [TimestampGrace] of now, there is
// a body_md5 if there is a body, and auth_signature signs method, path and query.
// It returns an error that wraps [ErrNoSignature], [ErrKey], [ErrVersion],
// [ErrTimestamp], [ErrBodyMD5] or [ErrSignature]. The body is then worth reading,
// and [VerifyBody] checks it: strangers do not make the server read bodies.
//
// Pusher's libraries disagree on what to sign where the documentation says
// nothing. All of this is accepted:
//
//   - An array: PHP sends info[0]=a&info[1]=b and signs info=a,b; Node sends
//     and signs info=a,b; Ruby sends and signs info[]=a&info[]=b. Repeated
//     names, info=a&info=b, may be signed either way.
//   - A name with capitals: the documentation and Ruby sign it in lower case;
//     PHP, Go, Node and Python sign it as it is.
//
// Because values are signed as they are, a "&" or a line break in one could
// not be told from the end of it: a signature over "a=1&b=2" would hold for a
// single parameter too. Such names and values are refused; they belong in the
// body.
func (c Credentials) VerifyQuery(r Request, now time.Time) error {
	if err := c.usable(); err != nil {
		return err
	}
	if !r.Query.Has(paramKey) && !r.Query.Has(paramSignature) {
		return refuse(ErrNoSignature, "the request is not signed: it has neither auth_key nor auth_signature in its query; "+
			"check that no proxy drops the query string")
	}
	key, err := single(r.Query, paramKey, ErrKey)
	if err != nil {
		return err
	}
	if key != c.Key {
		return c.wrongKey(paramKey, key)
	}
	version, err := single(r.Query, paramVersion, ErrVersion)
	if err != nil {
		return err
	}
	if version != Version {
		return refuse(ErrVersion, "auth_version %s is not supported: send %s", clip(version), Version)
	}
	if err := verifyTimestamp(r.Query, now); err != nil {
		return err
	}
	if r.HasBody {
		if _, err := single(r.Query, paramBodyMD5, ErrBodyMD5); err != nil {
			return err
		}
	}
	return c.verifySignature(r)
}

// single returns the one value of an authentication parameter. A second value
// would be signed but not looked at.
func single(query url.Values, name string, kind error) (string, error) {
	switch values := query[name]; len(values) {
	case 0:
		return "", refuse(kind, "%s is missing from the query", name)
	case 1:
		return values[0], nil
	default:
		return "", refuse(kind, "%s is given %d times: send it once", name, len(values))
	}
}

func verifyTimestamp(query url.Values, now time.Time) error {
	given, err := single(query, paramTimestamp, ErrTimestamp)
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(given, 10, 64)
	if err != nil {
		return refuse(ErrTimestamp, "auth_timestamp %s is not a number: send Unix seconds", clip(given))
	}
	const grace = int64(TimestampGrace / time.Second)
	server := now.Unix()
	if seconds >= server-grace && seconds <= server+grace {
		return nil
	}
	// The year 10000: also keeps time.Unix within what it can format.
	const tooLarge = 253402300800
	if seconds < 0 || seconds >= tooLarge {
		return refuse(ErrTimestamp, "Timestamp expired: Given timestamp (%s) not within %ds of server time (%d): "+
			"send Unix seconds, not milliseconds", clip(given), grace, server)
	}
	const iso8601 = "2006-01-02T15:04:05Z"
	return refuse(ErrTimestamp, "Timestamp expired: Given timestamp (%s) not within %ds of server time (%s): "+
		"set the clock of whichever is wrong", time.Unix(seconds, 0).UTC().Format(iso8601), grace, now.UTC().Format(iso8601))
}

// VerifyBody checks that body_md5 in the query of a request, which
// [Credentials.VerifyQuery] has verified, is the digest of its body. It is
// required when there is a body. The error wraps [ErrBodyMD5].
func VerifyBody(query url.Values, body []byte) error {
	// Some libraries send the digest of an empty body, some none.
	if len(body) == 0 && !query.Has(paramBodyMD5) {
		return nil
	}
	given, err := single(query, paramBodyMD5, ErrBodyMD5)
	if err != nil {
		return err
	}
	sum := md5.Sum(body)
	var want [2 * md5.Size]byte
	hex.Encode(want[:], sum[:])
	if given != string(want[:]) {
		return refuse(ErrBodyMD5, "body_md5 %s is not the MD5 hex digest of the %d byte body received: "+
			"sign the exact bytes sent, and check that no proxy drops or rewrites the body", clip(given), len(body))
	}
	return nil
}

func (c Credentials) verifySignature(r Request) error {
	if !r.Query.Has(paramSignature) {
		return refuse(ErrNoSignature, "auth_signature is missing from the query")
	}
	signature, err := single(r.Query, paramSignature, ErrSignature)
	if err != nil {
		return err
	}
	if len(r.Query) > maxParams {
		return refuse(ErrSignature, "invalid signature: the query has %d parameters, more than %d: send them in the body", len(r.Query), maxParams)
	}
	for name, values := range r.Query {
		if ambiguous(name) || strings.Contains(name, "=") || slices.ContainsFunc(values, ambiguous) {
			return refuse(ErrSignature, "invalid signature: parameter %s has a \"&\" or a line break in it, "+
				"which the signature cannot tell from the end of the parameter: send it in the body", clip(name))
		}
	}
	var array [8]param
	buf := make([]byte, 0, 512)
	params := collect(array[:0], r.Query, true)
	if c.signsAny(buf, signature, r, params) {
		return nil
	}
	if capitals(r.Query) {
		params = collect(array[:0], r.Query, false)
		if c.signsAny(buf, signature, r, params) {
			return nil
		}
	}
	return c.wrongSignature(r, params)
}

// capitals reports whether signing names in lower case makes a difference.
func capitals(query url.Values) bool {
	for name := range query {
		if strings.ToLower(name) != name {
			return true
		}
	}
	return false
}

func ambiguous(s string) bool { return strings.ContainsAny(s, "&\n\r") }

// signsAny tries every path with every spelling of the parameters.
func (c Credentials) signsAny(buf []byte, signature string, r Request, params params) bool {
	for _, path := range r.Paths {
		head := appendHead(buf[:0], r.Method, path)
		if c.signs(signature, params.appendTo(head, joined)) {
			return true
		}
		if params.lists() && c.signs(signature, params.appendTo(head, listed)) {
			return true
		}
	}
	return false
}

func (c Credentials) wrongSignature(r Request, params params) error {
	const maxNames, maxPaths = 20, 4
	var names, paths []string
	for i, p := range params {
		if i == maxNames {
			names = append(names, "…")
			break
		}
		names = append(names, clip(p.sent))
	}
	for i, path := range r.Paths {
		if i == maxPaths {
			break
		}
		paths = append(paths, clip(path))
	}
	return refuse(ErrSignature, "invalid signature: auth_signature does not sign method %s, path %s, parameters %s; "+
		"check the secret of key %s, that no proxy changes the method or the query string, "+
		"and that the client signs the path without a proxy's prefix",
		clip(strings.ToUpper(r.Method)), strings.Join(paths, " or "), strings.Join(names, " "), clip(c.Key))
}

func appendHead(b []byte, method, path string) []byte {
	b = append(b, strings.ToUpper(method)...)
	b = append(b, '\n')
	b = append(b, path...)
	return append(b, '\n')
}

// param is one name of the query with its values.
type param struct {
	name   string // without "[]" or "[0]" at its end
	sent   string // with it
	index  int    // the number in the brackets
	values []string
}

// params are sorted by name, then by index; what is equal in both (info and
// Info, in lower case) by anything that does not depend on the order of a map.
type params []param

// collect appends the parameters of query that are signed to p and sorts them.
func collect(p params, query url.Values, lower bool) params {
	for sent, values := range query {
		if sent == paramSignature {
			continue
		}
		if lower {
			sent = strings.ToLower(sent)
		}
		name, index := splitIndex(sent)
		p = append(p, param{name: name, sent: sent, index: index, values: values})
	}
	slices.SortFunc(p, func(a, b param) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.index, b.index),
			strings.Compare(a.sent, b.sent), slices.Compare(a.values, b.values))
	})
	return p
}

// splitIndex takes "name[]" and "name[7]" apart; any other name stays whole.
func splitIndex(sent string) (name string, index int) {
	if !strings.HasSuffix(sent, "]") {
		return sent, 0
	}
	open := strings.LastIndexByte(sent, '[')
	if open <= 0 {
		return sent, 0
	}
	inside := sent[open+1 : len(sent)-1]
	if inside == "" {
		return sent[:open], 0
	}
	index, err := strconv.Atoi(inside)
	if err != nil || index < 0 {
		return sent, 0
	}
	return sent[:open], index
}

// lists reports whether a name has several values, so that the two spellings
// differ.
func (p params) lists() bool {
	return slices.ContainsFunc(p, func(p param) bool { return len(p.values) > 1 || len(p.sent) != len(p.name) })
}

// A spelling is how a name with several values is signed.
type spelling int

const (
	joined spelling = iota // info=a,b
	listed                 // info[]=a&info[]=b
)

func (p params) appendTo(b []byte, as spelling) []byte {
	first := true
	previous := ""
	for _, p := range p {
		for _, value := range p.values {
			if as == joined && !first && p.name == previous {
				b = append(b, ',')
				b = append(b, value...)
				continue
			}
			if !first {
				b = append(b, '&')
			}
			first = false
			previous = p.name
			if as == joined {
				b = append(b, p.name...)
			} else {
				b = append(b, p.sent...)
			}
			b = append(b, '=')
			b = append(b, value...)
		}
	}
	return b
}
