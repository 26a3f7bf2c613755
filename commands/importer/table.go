package importer

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"belfry/server/config"
)

// row is a setting of the other server.
type row struct {
	// key is its path, with dots; with a * at its end, it stands for all below.
	key string
	// initial is the other server's default. A setting that has it needs no word.
	initial string
	// ours is the key of Belfry that says the same, such as apps[].cache_ttl.
	ours string
	// as makes a value of ours of the setting's text. It is nil where that is the same,
	// or where several settings make one value of ours, see composed.
	as func(text string) (value, problem string)
	// composed says that code makes ours of this row and others.
	composed bool
	// note is a comment beside ours, where it does not mean quite the same.
	note string
	// only is the setting with which this one has an effect, such as adapter.driver=nats.
	only string
	// why says what becomes of a setting without ours, of a group with composed parts,
	// or in which cases it is not taken.
	why reason
}

// reason is why a setting has no equal: what kind of reason, and the words.
type reason struct{ kind, text string }

func notNeeded(text string) reason   { return reason{"not needed", text} }
func otherwise(text string) reason   { return reason{"done otherwise", text} }
func unsupported(text string) reason { return reason{"not supported", text} }

// variable is a variable of the other server's environment, for the setting at path.
// Both may end in a *.
type variable struct{ name, path string }

// find returns the row of a setting at path.
func find(rows []row, path string) *row {
	best, length := (*row)(nil), -1
	for i := range rows {
		begin, wild := strings.CutSuffix(rows[i].key, "*")
		if rows[i].key == path {
			return &rows[i]
		}
		if wild && strings.HasPrefix(path, begin) && len(begin) > length {
			best, length = &rows[i], len(begin)
		}
	}
	return best
}

// known says whether there is a setting at path, below it or around it.
func known(rows []row, path string) bool {
	if find(rows, path) != nil {
		return true
	}
	for _, r := range rows {
		if strings.HasPrefix(r.key, path+".") {
			return true
		}
	}
	return false
}

// isOn says whether a text is true for Node and for Rust's parser of such variables.
func isOn(text string) bool {
	switch strings.ToLower(text) {
	case "", "0", "false", "no", "off", "null":
		return false
	}
	return true
}

func asSwitch(text string) (string, string) { return strconv.FormatBool(isOn(text)), "" }

// asLimit is a number of which zero and less mean no limit.
func asLimit(text string) (string, string) {
	n, problem := wholeNumber(text)
	return strconv.FormatInt(max(n, 0), 10), problem
}

// asCount is a number that has to be positive.
func asCount(text string) (string, string) {
	n, problem := wholeNumber(text)
	if problem == "" && n < 1 {
		problem = "is no limit, and Belfry needs one"
	}
	return strconv.FormatInt(n, 10), problem
}

// asKiB makes bytes of kilobytes, which may have a fraction.
func asKiB(text string) (string, string) { return bytesOf(text, 1<<10) }

func asMiB(text string) (string, string) { return bytesOf(text, 1<<20) }

func bytesOf(text string, unit float64) (string, string) {
	n, problem := number(text)
	if problem == "" && n <= 0 {
		problem = "is no size"
	}
	return strconv.FormatInt(int64(math.Ceil(min(n*unit, 1<<40))), 10), problem
}

// asSeconds makes a duration of whole seconds, rounded up.
func asSeconds(text string) (string, string) { return span(text, time.Second) }

func asMilliseconds(text string) (string, string) { return span(text, time.Millisecond) }

func span(text string, unit time.Duration) (string, string) {
	n, problem := number(text)
	if problem != "" {
		return "", problem
	}
	const most = 1e6 * float64(time.Hour)
	d := time.Duration(math.Ceil(min(max(n*float64(unit), 0), most)/float64(time.Second))) * time.Second
	return config.FormatDuration(d), ""
}

func asClientEvents(text string) (string, string) {
	if isOn(text) {
		return "members", ""
	}
	return "none", ""
}

func asLevel(text string) (string, string) {
	if isOn(text) {
		return "debug", ""
	}
	return "info", ""
}

func wholeNumber(text string) (int64, string) {
	n, problem := number(text)
	return int64(n), problem
}

func number(text string) (float64, string) {
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return 0, "is not a number"
	}
	return min(max(n, -1<<52), 1<<52), ""
}

// perSecond is the rate of some in a time of seconds. A rate of Belfry's holds over ten
// seconds, so as many have to fit as may come in a burst.
func perSecond(most, seconds int64) string {
	seconds = min(max(seconds, 1), 10)
	return fmt.Sprint((most-1)/seconds + 1)
}
