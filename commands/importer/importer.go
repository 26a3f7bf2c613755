// Package importer turns the configuration of another server, Soketi or Sockudo, into
// Belfry's.
//
// What each server can be told is one table, see [Table]: a row says which key of Belfry
// means the same, or why there is none. A setting that is in no table is named as
// unknown. What the other server does without being told, and Belfry does otherwise by
// default, is written out: a limit, whether clients may send events, the address.
package importer

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"belfry/server/config"
)

// server is what there is to know of another server.
type server struct {
	name      string
	rows      []row // of the server
	app       []row // of an app
	webhook   []row // of a webhook of an app
	prefixes  []string
	variables []variable
	apps      string            // path of the list of apps
	filter    [2]string         // paths in a webhook of the beginning and end of channels' names
	spelling  map[string]string // names of an app's fields besides those in app
	groups    []string          // of an app's policy, whose fields are the app's
	foreign   reason            // why other variables of an environment file are left
	compose   func(c *conversion)
	// expands says that ${NAME} in its file stands for a variable, as in Belfry's.
	expands bool
}

var servers = []*server{soketi, sockudo}

// Servers are the names that [Import] takes.
func Servers() []string {
	names := make([]string, len(servers))
	for i, s := range servers {
		names[i] = strings.ToLower(s.name)
	}
	return names
}

// Result is an imported configuration.
type Result struct {
	From     string   // name of the other server
	YAML     []byte   // loads, if the variables in Needs are set
	Needs    []string // variables of the environment that it refers to without a default
	Notes    []Note   // settings that it does not have, and what is to be seen to
	Warnings []string // of loading it
}

// Note is a word on settings, or on the whole if there are none.
type Note struct {
	Settings []string // as the file names them; may be shortened, see More
	More     int      // settings of the same kind that are not among Settings
	Kind     string   // such as "not supported"; empty for advice on the whole
	Text     string
}

// String is the note on one line.
func (n Note) String() string {
	text := n.Text
	if n.Kind != "" {
		text = n.Kind + ": " + text
	}
	if len(n.Settings) == 0 {
		return text
	}
	names := strings.Join(n.Settings, ", ")
	if n.More > 0 {
		names = fmt.Sprintf("%s and %d more", names, n.More)
	}
	return names + ": " + text
}

const (
	maxShown = 5   // settings in one note
	maxNotes = 200 // of one file
)

// setting is one of the file.
type setting struct {
	name  string // as the file has it
	path  string
	value any
	row   *row // nil: unknown
}

// conversion is one import.
type conversion struct {
	*server
	settings map[string]*setting // by path
	sources  []*source           // of the apps
	base     map[string]entry    // of each app, by our key
	notes    []Note
	noted    map[string]int // index in notes
	out      *document
	largest  int64 // data of an event, in bytes
	batch    int64 // events of a batch of an app
	samples  config.Env
	needs    []string
	outbox   int64 // unsent bytes of a connection, in the other server; 0: its default
	unknowns int
}

// source is an app in the file.
type source struct {
	name     string
	settings map[string]*setting // by path in the app
}

// entry is a value of ours.
type entry struct{ value, note string }

// Import turns the text of a file into a configuration. from names the other server, in
// lower case; empty: the file tells. Its errors repeat no value of the file.
func Import(name string, data []byte, from string) (*Result, error) {
	root, kind, err := read(name, data)
	if err != nil {
		return nil, err
	}
	s, err := serverOf(root, kind, from)
	if err != nil {
		return nil, err
	}
	c := &conversion{
		server: s, settings: make(map[string]*setting), base: make(map[string]entry), noted: make(map[string]int),
		samples: make(config.Env), out: newDocument(s.expands && kind != formatEnv),
	}
	if kind == formatEnv {
		c.collectVariables(root)
	} else {
		c.collect(root, "", "", s.rows, c.settings)
	}
	c.collectApps()
	c.convert()
	text, err := c.out.text(fmt.Sprintf("From the configuration of %s by belfry import. It has secrets: let only the server read it.", s.name))
	if err != nil {
		return nil, err
	}
	r := &Result{From: s.name, YAML: text}
	if err := c.load(r); err != nil {
		return nil, err
	}
	r.Notes = c.finished()
	return r, nil
}

// load loads what was made.
func (c *conversion) load(r *Result) error {
	if !c.out.has("apps") && !c.out.has("apps_from") {
		c.say("", "no app", "the configuration has none: add it under apps, or set BELFRY_APP_ID, BELFRY_APP_KEY and BELFRY_APP_SECRET in the environment")
		for _, name := range []string{"BELFRY_APP_ID", "BELFRY_APP_KEY", "BELFRY_APP_SECRET"} {
			c.samples[name] = "1"
		}
	}
	c.fillIn(r.YAML)
	cfg, err := config.Parse("the output", r.YAML, c.samples)
	var problems config.Errors
	switch {
	case errors.As(err, &problems):
		texts := make([]string, len(problems))
		for i, p := range problems {
			texts[i] = strings.TrimPrefix(p.Key+": "+p.Text, ": ")
		}
		return fmt.Errorf("what it says cannot be one configuration of Belfry: change it, and import again\n%s", strings.Join(texts, "\n"))
	case err != nil:
		return err
	}
	r.Warnings, r.Needs = cfg.Warnings, c.needs
	return nil
}

// fillIn gives the variables in the output a value that fits where they stand, and
// remembers those without a default.
func (c *conversion) fillIn(text []byte) {
	section := ""
	for line := range strings.Lines(string(text)) {
		if line[0] != ' ' && line[0] != '#' {
			section, _, _ = strings.Cut(line, ":")
		}
		for _, at := range reference.FindAllStringSubmatchIndex(line, -1) {
			if at[0] > 0 && line[at[0]-1] == '$' {
				continue // a literal one
			}
			name, sample := line[at[2]:at[3]], "1"
			if before := strings.TrimRight(line[:at[0]], `"' `); strings.HasSuffix(before, "url:") {
				sample = map[string]string{"apps": "https://app.example/", "cluster": "redis://redis", "apps_from": "postgres://user@db/apps"}[section]
			}
			c.samples[name] = sample
			if at[4] < 0 && !slices.Contains(c.needs, name) {
				c.needs = append(c.needs, name)
			}
		}
	}
}

// serverOf tells whose configuration it is.
func serverOf(root *object, kind format, from string) (*server, error) {
	if from != "" {
		i := slices.Index(Servers(), from)
		if i < 0 {
			return nil, fmt.Errorf("no server %q: give %s", from, strings.Join(Servers(), " or "))
		}
		return servers[i], nil
	}
	if kind == formatTOML {
		return sockudo, nil
	}
	best, most, tie := (*server)(nil), 0, true
	for _, s := range servers {
		n := 0
		for _, name := range root.names {
			if kind == formatEnv && s.isOwn(name) || kind != formatEnv && known(s.rows, name) {
				n++
			}
		}
		if n > most {
			best, most, tie = s, n, false
		} else if n == most {
			tie = true
		}
	}
	switch {
	case !tie:
		return best, nil
	case kind == formatEnv && most == 0:
		return nil, fmt.Errorf("no variable of %s: give --from, or run belfry serve --env-file with the .env of Laravel", strings.Join(Servers(), " or "))
	}
	return nil, fmt.Errorf("it could be of %s, or of neither: say which by --from %s", strings.Join(Servers(), " or of "), strings.Join(Servers(), " or --from "))
}

// common are variables of Sockudo's that many programs have.
var common = []string{"HOST", "PORT", "DEBUG", "ENVIRONMENT", "HOSTNAME", "LOG_LEVEL", "RUST_LOG", "REDIS_URL"}

// isOwn says whether a variable tells that a file is for the server.
func (s *server) isOwn(name string) bool {
	for _, prefix := range s.prefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return s.isExactly(name) && !slices.Contains(common, name)
}

// isExactly says whether a variable is in the table by its whole name.
func (s *server) isExactly(name string) bool {
	return slices.ContainsFunc(s.variables, func(v variable) bool { return v.name == name })
}

// isVariable says whether a variable is the server's.
func (s *server) isVariable(name string) bool {
	for _, prefix := range s.prefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return s.pathOf(name) != ""
}

// pathOf is the path of the setting that a variable sets, or "".
func (s *server) pathOf(name string) string {
	path, length := "", -1
	for _, v := range s.variables {
		begin, wild := strings.CutSuffix(v.name, "*")
		if v.name == name {
			return v.path
		}
		if rest, ok := strings.CutPrefix(name, begin); wild && ok && len(begin) > length {
			path, length = strings.TrimSuffix(v.path, "*")+strings.ToLower(rest), len(begin)
		}
	}
	return path
}

// convert makes ours of all settings.
func (c *conversion) convert() {
	for i := range c.rows {
		r := &c.rows[i]
		if r.composed || !strings.HasPrefix(r.ours, "apps[].") {
			continue
		}
		if r.initial != "" {
			c.put(c.base, r, r.initial)
		}
		if s := c.settings[r.key]; s != nil {
			c.take(c.base, s)
		}
	}
	for _, s := range inOrder(c.settings) {
		switch r := s.row; {
		case r == nil:
			c.unknown(s, c.rows)
		case r.composed || strings.HasPrefix(r.ours, "apps[]."):
		case r.ours == "":
			c.refuse(s)
		default:
			values := make(map[string]entry)
			if c.take(values, s); values[r.ours].value != "" {
				c.out.set(r.ours, values[r.ours])
			}
		}
	}
	c.compose(c)
	c.unused()
}

// unused tells of settings that have an equal, in a part of the configuration that the
// file does not ask for.
func (c *conversion) unused() {
	for _, s := range inOrder(c.settings) {
		if s.row == nil || !s.row.composed || s.isInitial() {
			continue
		}
		part, _, _ := strings.Cut(s.row.ours, ".")
		switch {
		case part == "cluster" && s.row.ours != "cluster.driver" && !strings.HasPrefix(strings.ToLower(c.text("adapter.driver")), "redis"):
			c.say(s.name, "not needed", "Redis is for several servers that act as one, which the file does not ask for: set cluster.driver: redis for that")
		case part == "apps_from" && s.row.ours != "apps_from.url" && !c.out.has("apps_from"),
			s.row.ours == "apps_from.url" && !strings.HasSuffix(s.path, ".driver") && !c.out.has("apps_from"):
			c.say(s.name, "not needed", "no apps are read from a database")
		}
	}
}

// inOrder are settings by their names.
func inOrder(settings map[string]*setting) []*setting {
	return slices.SortedFunc(maps.Values(settings), func(a, b *setting) int { return cmp.Compare(a.name, b.name) })
}

// take puts a setting's value into values, or tells why not.
func (c *conversion) take(values map[string]entry, s *setting) {
	text, ok := s.value.(string)
	if !ok {
		c.say(s.name, "not taken", "is a list or an object, where one value was expected")
		return
	}
	if c.out.refers(text) && s.row.as != nil {
		c.say(s.name, "not taken", "a variable is to be filled in, and the value means another number here: set "+s.row.ours)
		return
	}
	if problem := c.put(values, s.row, text); problem != "" {
		c.say(s.name, "not taken", fmt.Sprintf("the value %s: %s stays at its default", problem, s.row.ours))
	}
}

// put puts a value into values, or says what is wrong with it.
func (c *conversion) put(values map[string]entry, r *row, text string) (problem string) {
	value := text
	if r.as != nil {
		if value, problem = r.as(text); problem != "" {
			return problem
		}
	}
	if problem = c.out.problem(r.ours, value); problem != "" {
		return problem
	}
	values[r.slot()] = entry{value, r.note}
	return ""
}

// slot is where the value of a row is put: at ours, but for the one row of two that are
// for the same key.
func (r *row) slot() string {
	if r.note == bothNames {
		return r.ours + bothNames
	}
	return r.ours
}

// refuse tells of a setting without an equal, unless it has its default.
func (c *conversion) refuse(s *setting) {
	if s.isInitial() || c.isOff(s.row) {
		return
	}
	if path, driver, _ := strings.Cut(s.row.only, "="); path != "" && !strings.EqualFold(c.text(path), driver) {
		c.say(s.name, "not needed", "it is for another "+path+" than the one in use")
		return
	}
	c.say(s.name, s.row.why.kind, s.row.why.text)
}

// isOff says whether the feature of a group of settings is turned off.
func (c *conversion) isOff(r *row) bool {
	group, _, _ := strings.Cut(strings.TrimSuffix(r.key, "*"), ".")
	enabled, _ := value(c.settings[group+".enabled"]).(string)
	return enabled != "" && !isOn(enabled)
}

// isDefault says whether the setting is known, and has its default.
func (s *setting) isDefault() bool { return s.row != nil && s.isInitial() }

// isInitial says whether the setting has its default.
func (s *setting) isInitial() bool {
	initial := s.row.initial
	switch v := s.value.(type) {
	case string:
		a, errA := strconv.ParseFloat(v, 64)
		b, errB := strconv.ParseFloat(initial, 64)
		return v == initial || errA == nil && errB == nil && a == b
	case []any:
		return "["+strings.Join(texts(v), " ")+"]" == initial
	case *object:
		return len(v.names) == 0
	}
	return false
}

// texts are the texts in a list.
func texts(list []any) (all []string) {
	for _, v := range list {
		if text, ok := v.(string); ok {
			all = append(all, text)
		}
	}
	return all
}

// unknown tells of a setting that is in no table.
func (c *conversion) unknown(s *setting, rows []row) {
	const looked = 50 // names are looked up among all others, which takes a while
	text := fmt.Sprintf("no setting of %s that is known here", c.name)
	if c.unknowns++; c.unknowns <= looked {
		if near := nearest(s.path, rows, c.variables); near != "" {
			text = "did you mean " + near + "?"
		}
	}
	c.say(s.name, "unknown", text)
}

// say notes something on a setting, or on the whole if it has no name; those with the
// same text share a note.
func (c *conversion) say(name, kind, text string) {
	name = clip(name)
	id := kind + ": " + text
	i, again := c.noted[id]
	if !again {
		i = len(c.notes)
		c.noted[id] = i
		c.notes = append(c.notes, Note{Kind: kind, Text: text})
	}
	n := &c.notes[i]
	switch {
	case name == "" || slices.Contains(n.Settings, name):
	case len(n.Settings) < maxShown || kind == "unknown" && len(n.Settings) < maxNotes:
		n.Settings = append(n.Settings, name)
	default:
		n.More++
	}
}

// kinds are the kinds of notes in the order in which they are told.
var kinds = []string{"", "no app", "not taken", "unknown", "not supported", "done otherwise", "not needed"}

// finished are the notes in their order, at most maxNotes.
func (c *conversion) finished() []Note {
	slices.SortStableFunc(c.notes, func(a, b Note) int { return slices.Index(kinds, a.Kind) - slices.Index(kinds, b.Kind) })
	if len(c.notes) > maxNotes {
		c.notes = append(c.notes[:maxNotes:maxNotes], Note{Text: fmt.Sprintf("%d more notes are not told", len(c.notes)-maxNotes)})
	}
	return c.notes
}

// clip bounds a name from the file, which may have any characters.
func clip(name string) string {
	const most = 120
	clean := strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, name)
	if len(clean) > most {
		clean = strings.ToValidUTF8(clean[:most], "") + "…"
	}
	return clean
}

// given returns the setting's text, or its default in the other server. ok says whether
// the file has it.
func (c *conversion) given(path string) (text string, ok bool) {
	if s := c.settings[path]; s != nil {
		if text, ok := s.value.(string); ok {
			return text, true
		}
		c.say(s.name, "not taken", "is a list or an object, where one value was expected")
	}
	if r := find(c.rows, path); r != nil {
		return r.initial, false
	}
	return "", false
}

// text is given without a word on whether it was.
func (c *conversion) text(path string) string {
	text, _ := c.given(path)
	return text
}

// list is the setting's list: of JSON or TOML, or of a text with commas.
func (c *conversion) list(path string) []any {
	s := c.settings[path]
	if s == nil {
		return nil
	}
	return listOf(s.value)
}

func listOf(v any) []any {
	switch v := v.(type) {
	case []any:
		return v
	case string:
		var list []any
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
		return list
	}
	return nil
}

// nearest is the path or the variable that a name is most likely a slip of, or "".
func nearest(name string, rows []row, variables []variable) string {
	var words []string
	for _, r := range rows {
		words = append(words, r.key)
	}
	for _, v := range variables {
		words = append(words, v.name)
	}
	return strings.TrimRight(config.Nearest(name, words), ".*_")
}
