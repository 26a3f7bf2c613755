package manual

import (
	"fmt"
	"io"
	"strings"
)

// Page writes the manual page, in the macros of man(7).
func (p *Program) Page(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n", strings.ToUpper(p.Name), p.Name, roff(p.Summary))
	for _, c := range p.Commands {
		fmt.Fprintf(&b, ".B %s\n.br\n", roff(p.synopsis(c)))
	}
	b.WriteString(".SH DESCRIPTION\n")
	paragraphs(&b, p.Text)
	b.WriteString(".SH COMMANDS\n")
	for _, c := range p.Commands {
		fmt.Fprintf(&b, ".SS %s\n%s.\n", roff(p.synopsis(c)), roff(c.Summary))
		if c.Text != "" {
			b.WriteString(".PP\n")
			paragraphs(&b, c.Text)
		}
		for _, o := range c.options() {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s.\n", roff(o.synopsis()), roff(o.description()))
		}
	}
	b.WriteString(".SH ENVIRONMENT\n")
	for _, v := range p.Environment {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s.\n", roff(v[0]), roff(v[1]))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// paragraphs writes text whose examples are indented.
func paragraphs(b *strings.Builder, text string) {
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		switch example, found := strings.CutPrefix(line, "  "); {
		case found:
			fmt.Fprintf(b, ".RS\n.nf\n%s\n.fi\n.RE\n", roff(example))
		case line == "":
			b.WriteString(".PP\n")
		default:
			b.WriteString(roff(line) + "\n")
		}
	}
}

// roff escapes a line of text, so that roff takes none of it for a command.
func roff(line string) string {
	line = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(line)
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		line = `\&` + line
	}
	return line
}
