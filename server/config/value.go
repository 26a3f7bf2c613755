package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"gopkg.in/yaml.v3"

	"belfry/protocol"
)

// value is what a key has: where it is kept, its type, default and bounds.
type value interface {
	reset()                                    // makes it the default
	read(l *loader, n *yaml.Node, path string) // takes it from the file, or tells why not
	check(l *loader, path string)              // tells what is wrong with it
	form() string                              // what is accepted, for the documentation
	text() string                              // as the file would have it
	schema() schema                            // what is accepted, for editors

	// fromRow returns what the file would have for what a row of apps_from has at a path;
	// nil leaves the default.
	fromRow(r *row, raw jsontext.Value, path string) *yaml.Node
}

// settable is a value that a variable can set.
type settable interface {
	value
	set(s string) (problem string)
	is(s string) bool  // whether s stands for the present value
	problemOf() string // what is wrong with the present value
	plain() bool       // it is written without quotes
}

// scalar is a value that is one text in the file.
type scalar[T comparable] struct {
	at      *T
	initial T
	accepts string                   // for the documentation
	want    string                   // for errors, after "give"
	typed   bool                     // only without quotes, which make text of it
	secret  bool                     // never shown
	parse   func(string) (T, string) // also returns what is wrong, in words to follow the value
	problem func(T) string           // likewise, of what could be parsed
	format  func(T) string
	fits    []schema // alternatives of what is accepted, as far as a schema can say it
}

func (v *scalar[T]) reset()       { *v.at = v.initial }
func (v *scalar[T]) form() string { return v.accepts }
func (v *scalar[T]) text() string { return v.format(*v.at) }

// set parses s, or returns what is wrong with it.
func (v *scalar[T]) set(s string) string {
	x, problem := v.parse(s)
	if problem == "" {
		*v.at = x
	}
	return problem
}

func (v *scalar[T]) problemOf() string { return v.problem(*v.at) }
func (v *scalar[T]) plain() bool       { return v.typed }

func (v *scalar[T]) is(s string) bool {
	x, problem := v.parse(s)
	return problem == "" && x == *v.at
}

func (v *scalar[T]) read(l *loader, n *yaml.Node, path string) {
	if s, ok := l.scalar(n, path, v.want, v.typed, v.secret); ok {
		if problem := v.set(s); problem != "" {
			l.refuse(path, problem)
		}
	}
}

func (v *scalar[T]) check(l *loader, path string) {
	if problem := v.problem(*v.at); problem != "" {
		l.refuse(path, problem)
	}
	if s, ok := any(*v.at).(string); ok {
		l.checkFilledIn(path, s)
	}
}

func asIs(s string) (string, string) { return s, "" }

func text(at *string, initial, accepts string, problem func(string) string) *scalar[string] {
	return &scalar[string]{at: at, initial: initial, accepts: accepts, want: "text", parse: asIs, problem: problem, format: quoteYAML,
		fits: []schema{{}}}
}

// like is v, of which the schema says that its values match pattern, in the syntax that
// JavaScript and Go share. The pattern matches at least what v accepts.
func like(pattern string, v *scalar[string]) *scalar[string] {
	v.fits[0].Pattern = pattern
	return v
}

func secretText(at *string, initial, accepts string, problem func(string) string) *scalar[string] {
	v := text(at, initial, accepts, problem)
	v.secret = true
	return v
}

// changed is v with every value that is read put through change.
func changed(v *scalar[string], change func(string) string) *scalar[string] {
	v.parse = func(s string) (string, string) { return change(s), "" }
	return v
}

func anyText(string) string { return "" }

func choice(at *string, initial string, accepted ...string) *scalar[string] {
	v := text(at, initial, either(accepted), func(s string) string { return choiceProblem(s, accepted...) })
	v.fits = oneOf(accepted...)
	return v
}

func webhookEvent(at *string) *scalar[string] {
	v := text(at, "", "name of an event", webhookEventProblem)
	v.fits = oneOf(protocol.WebhookEvents()...)
	return v
}

// oneOf is what fits one of some values.
func oneOf[T any](accepted ...T) []schema {
	var s schema
	for _, x := range accepted {
		s.Enum = append(s.Enum, x)
	}
	return []schema{s}
}

func toggle(at *bool, initial bool) *scalar[bool] {
	const want = "true or false"
	parse := func(s string) (bool, string) {
		if s != "true" && s != "false" {
			return false, "is neither true nor false: give one of them"
		}
		return s == "true", ""
	}
	return &scalar[bool]{
		at: at, initial: initial, accepts: want, want: want, typed: true, parse: parse,
		problem: func(bool) string { return "" }, format: strconv.FormatBool,
		fits: []schema{{Type: types{"boolean"}}},
	}
}

// number is from least to maxLimit.
func number[N int | int64](at *N, initial, least N) *scalar[N] {
	parse := func(s string) (N, string) {
		i, err := strconv.ParseInt(s, 10, strconv.IntSize)
		switch {
		case errors.Is(err, strconv.ErrRange):
			return 0, rangeProblem(-1, least)
		case err != nil:
			return 0, "is not a whole number: give one in decimal digits"
		}
		return N(i), ""
	}
	return &scalar[N]{
		at: at, initial: initial, accepts: fmt.Sprintf("number from %d", least), want: "a whole number", typed: true, parse: parse,
		problem: func(n N) string { return rangeProblem(n, least) }, format: func(n N) string { return strconv.FormatInt(int64(n), 10) },
		fits: within(int64(least), maxLimit),
	}
}

func within(least, most int64) []schema {
	return []schema{{Type: types{"integer"}, Minimum: &least, Maximum: &most}}
}

// bounded is a number from least to most.
func bounded(at *int, initial, least, most int) *scalar[int] {
	v := number(at, initial, least)
	v.accepts, v.fits = fmt.Sprintf("number from %d to %d", least, most), within(int64(least), int64(most))
	v.problem = func(n int) string {
		if n < least || n > most {
			return fmt.Sprintf("is out of range: give a whole number from %d to %d", least, most)
		}
		return ""
	}
	return v
}

// closeCode is one of the codes whose meaning to a client is certain.
func closeCode(at *int, initial int) *scalar[int] {
	v := number(at, initial, 0)
	v.accepts, v.problem = "4009, 4100 or 4200", closeCodeProblem
	v.fits = oneOf(protocol.CodeUnauthorized, protocol.CodeOverCapacity, protocol.CodeReconnect)
	return v
}

// span is a duration from least to most.
func span(at *time.Duration, initial, least, most time.Duration) *scalar[time.Duration] {
	fits := []schema{{Type: types{"string"}, Pattern: durationPattern}}
	if least == 0 {
		fits = append(fits, oneOf(0)...) // which needs no unit
	}
	return &scalar[time.Duration]{
		fits: fits, at: at, initial: initial, accepts: FormatDuration(least) + " to " + FormatDuration(most), want: durationForm, parse: parseDuration,
		problem: func(d time.Duration) string { return durationProblem(d, least, most) }, format: FormatDuration,
	}
}

// seconds is a span without a fraction of a second.
func seconds(at *time.Duration, initial, least, most time.Duration) *scalar[time.Duration] {
	v := span(at, initial, least, most)
	v.accepts += ", whole seconds"
	v.problem = func(d time.Duration) string {
		if problem := durationProblem(d, least, most); problem != "" || d%time.Second == 0 {
			return problem
		}
		return "has a fraction of a second: give whole seconds"
	}
	return v
}

const (
	durationForm    = "a duration such as 30s or 2m"
	durationPattern = `^[+-]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$` // of time.ParseDuration
)

func parseDuration(s string) (time.Duration, string) {
	d, err := time.ParseDuration(s)
	if err == nil {
		return d, ""
	}
	switch _, numErr := strconv.ParseFloat(s, 64); {
	case s == "":
		return 0, "is empty: give " + durationForm
	case numErr == nil:
		return 0, "has no unit: give " + durationForm
	}
	return 0, "is not a duration: give one such as 30s or 2m"
}

func level(at *slog.Level, initial slog.Level) *scalar[slog.Level] {
	names := []string{"debug", "info", "warn", "error"}
	levels := []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}
	parse := func(s string) (slog.Level, string) {
		i := slices.Index(names, s)
		return levels[max(i, 0)], choiceProblem(s, names...)
	}
	return &scalar[slog.Level]{
		at: at, initial: initial, accepts: either(names), want: "a level such as info", parse: parse,
		problem: func(slog.Level) string { return "" }, format: func(l slog.Level) string { return strings.ToLower(l.String()) },
		fits: oneOf(names...),
	}
}

// prefix is of addresses, a bare one being a prefix of one address. IPv4-mapped
// ones are refused: they would never match the IPv4 address of a peer.
func prefix(at *netip.Prefix) value {
	const want = "an IP address or a CIDR prefix such as 10.0.0.0/8"
	parse := func(s string) (netip.Prefix, string) {
		p, err := netip.ParsePrefix(s)
		if addr, addrErr := netip.ParseAddr(s); addrErr == nil && addr.Zone() == "" {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		switch {
		case err != nil:
			return p, "is not an address: give " + want
		case p.Addr().Is4In6():
			return p, "is an IPv4 address in IPv6 form: give " + want
		}
		return p.Masked(), ""
	}
	return &scalar[netip.Prefix]{
		at: at, accepts: "address or CIDR prefix", want: want, parse: parse,
		problem: func(netip.Prefix) string { return "" }, format: netip.Prefix.String,
		fits: []schema{{Pattern: `^[0-9A-Fa-f:.]+(/[0-9]+)?$`}},
	}
}

// list is a list of values of one kind.
type list[T any] struct {
	at      *[]T
	initial []T
	item    func(*T) value
	whole   func(l *loader, path string) // tells what is wrong with it as a whole
	least   int                          // items, which whole sees to
	most    int                          // likewise; 0: any number
	empty   bool                         // nothing where it would be is no error
}

func (v list[T]) reset()       { *v.at = slices.Clone(v.initial) }
func (v list[T]) form() string { return "list: " + v.item(new(T)).form() }

func (v list[T]) text() string {
	items := make([]string, len(*v.at))
	for i := range *v.at {
		items[i] = v.item(&(*v.at)[i]).text()
	}
	return "[" + strings.Join(items, ", ") + "]"
}

func (v list[T]) read(l *loader, n *yaml.Node, path string) {
	if v.empty && null(n) {
		return
	}
	*v.at = []T{} // given, if wrong: secret is not missed beside bad secrets
	if !l.is(n, path, yaml.SequenceNode, "a list such as [a, b]") {
		return
	}
	*v.at = make([]T, len(n.Content))
	for i, node := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		l.sources[at] = source{line: node.Line}
		item := v.item(&(*v.at)[i])
		item.reset()
		item.read(l, node, at)
	}
}

func (v list[T]) check(l *loader, path string) {
	for i := range *v.at {
		v.item(&(*v.at)[i]).check(l, fmt.Sprintf("%s[%d]", path, i))
	}
	if v.whole != nil {
		v.whole(l, path)
	}
}

var plainYAML = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./:%?-]*$|^[0-9.]+:[0-9]+$|^/[A-Za-z0-9_./-]*$`)

// quoteYAML writes s so that YAML takes it for the same text.
func quoteYAML(s string) string {
	if plainYAML.MatchString(s) && !strings.HasSuffix(s, ":") {
		return s
	}
	return strconv.Quote(s)
}
