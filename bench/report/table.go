package report

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Widths of the table's columns, in characters.
const (
	nameWidth  = 34
	valueWidth = 12
	ratioWidth = 20
	goalWidth  = 10
)

// Print writes the table: medians of all rounds, the ratio of the first server
// to each other one with the range of the rounds, and whether the goals are
// met.
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	r.printRows(&b, r.rows)
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "%s\n", note)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// PrintGoals writes the rows of the table whose goals can be judged, if any.
func (r *Report) PrintGoals(w io.Writer) error {
	var judged []*row
	for _, row := range r.rows {
		if _, ok := r.judge(row); ok {
			judged = append(judged, row)
		}
	}
	if len(judged) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString("\nThe goals\n\n")
	r.printRows(&b, judged)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) printRows(b *strings.Builder, rows []*row) {
	r.printHead(b)
	workload := ""
	for _, row := range rows {
		if row.Workload != workload {
			workload = row.Workload
			fmt.Fprintf(b, "\n%s\n", workload)
		}
		r.printRow(b, row)
	}
	b.WriteByte('\n')
}

func (r *Report) printHead(b *strings.Builder) {
	b.WriteString(strings.Repeat(" ", nameWidth))
	for _, s := range r.Servers {
		b.WriteString(right(s, valueWidth))
	}
	for _, p := range r.pairs() {
		b.WriteString(right(p[0]+"/"+p[1], ratioWidth))
	}
	b.WriteString("  goal\n")
}

func (r *Report) printRow(b *strings.Builder, row *row) {
	var line strings.Builder
	line.WriteString(left("  "+row.Metric, nameWidth))
	for _, s := range r.Servers {
		value := "-"
		if values := row.Values[s]; len(values) > 0 {
			value = format(Median(values))
		}
		line.WriteString(right(value, valueWidth))
	}
	for _, p := range r.pairs() {
		line.WriteString(right(ratioText(row.Values[p[0]], row.Values[p[1]]), ratioWidth))
	}
	if goals, _ := r.judge(row); goals != "" {
		line.WriteString("  " + goals)
	}
	b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

// judge returns the row's goals and whether they are met. judged reports whether that can
// be said of any.
func (r *Report) judge(row *row) (goals string, judged bool) {
	var texts []string
	base := Median(row.Values[cmp.Or(r.Base, r.Reference)])
	for _, s := range r.Servers {
		goal := row.Goals[s]
		if goal == nil {
			continue
		}
		value, verdict := Median(row.Values[s]), ""
		switch {
		case goal.Absolute:
			verdict = goal.verdict(value)
		case base != 0:
			verdict = goal.verdict(value / base)
		}
		judged = judged || verdict != ""
		text := left(goal.String(), goalWidth)
		if r.Base != "" { // there are several
			text = s + " " + goal.String() + " "
		}
		texts = append(texts, text+verdict)
	}
	return strings.Join(texts, ", "), judged
}

// ratioText is the ratio of the medians, and the lowest and highest one of a
// round.
func ratioText(ours, theirs []float64) string {
	if len(ours) == 0 || len(theirs) == 0 || Median(theirs) == 0 {
		return "-"
	}
	text := fmt.Sprintf("%.2f", Median(ours)/Median(theirs))
	var rounds []float64
	for i := range min(len(ours), len(theirs)) {
		if theirs[i] != 0 {
			rounds = append(rounds, ours[i]/theirs[i])
		}
	}
	if len(rounds) > 1 {
		text += fmt.Sprintf(" (%.2f-%.2f)", slices.Min(rounds), slices.Max(rounds))
	}
	return text
}

// format shows three digits, or all of them before the point.
func format(v float64) string {
	switch size := math.Abs(v); {
	case size >= 1000:
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	case size >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case size >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

func thousands(digits string) string {
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

func left(s string, width int) string { return s + pad(s, width) }

func right(s string, width int) string { return pad(s, width) + s }

func pad(s string, width int) string {
	return strings.Repeat(" ", max(0, width-len([]rune(s))))
}
