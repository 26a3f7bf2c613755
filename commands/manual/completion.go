package manual

import (
	"fmt"
	"io"
	"strings"
)

// Shells are those for which there is a completion.
func Shells() []string { return []string{"bash", "zsh", "fish"} }

// Completion writes the completion for one of [Shells]: commands, their flags, and
// files where a flag takes one.
func (p *Program) Completion(w io.Writer, shell string) error {
	var text string
	switch shell {
	case "bash":
		text = p.bash()
	case "zsh":
		// zsh understands the functions of bash that this one needs.
		text = "#compdef " + p.Name + "\nautoload -U +X bashcompinit && bashcompinit\n" + p.bash()
	case "fish":
		text = p.fish()
	default:
		return fmt.Errorf("no completion for %q: there are %s", shell, strings.Join(Shells(), ", "))
	}
	_, err := io.WriteString(w, text)
	return err
}

func (p *Program) names() string {
	var names []string
	for _, c := range p.Commands {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}

// isFile says whether the flag's value is the name of a file.
func (o option) isFile() bool { return o.value == "FILE" }

func (p *Program) bash() string {
	var b strings.Builder
	fmt.Fprintf(&b, `_%[1]s() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words=
	if [ "$COMP_CWORD" = 1 ]; then
		COMPREPLY=($(compgen -W "%[2]s" -- "$current"))
		return
	fi
	case ${COMP_WORDS[1]}:$previous in
`, p.Name, p.names())
	for _, c := range p.Commands {
		for _, o := range c.options() {
			switch {
			case o.isFile():
				fmt.Fprintf(&b, "\t%s:--%s) COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n", c.Name, o.name)
			case o.value != "":
				fmt.Fprintf(&b, "\t%s:--%s) return ;;\n", c.Name, o.name)
			}
		}
	}
	b.WriteString("\tesac\n\tcase ${COMP_WORDS[1]} in\n")
	for _, c := range p.Commands {
		words := append([]string{}, c.Words...)
		for _, o := range c.options() {
			words = append(words, "--"+o.name)
		}
		fmt.Fprintf(&b, "\t%s) words=\"%s\" ;;\n", c.Name, strings.Join(words, " "))
	}
	fmt.Fprintf(&b, "\tesac\n\tCOMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n}\ncomplete -F _%[1]s %[1]s\n", p.Name)
	return b.String()
}

func (p *Program) fish() string {
	var b strings.Builder
	fmt.Fprintf(&b, "complete -c %s -f\n", p.Name)
	for _, c := range p.Commands {
		fmt.Fprintf(&b, "complete -c %s -n __fish_use_subcommand -a %s -d %s\n", p.Name, c.Name, fishQuote(c.Summary))
		if len(c.Words) > 0 {
			fmt.Fprintf(&b, "complete -c %s -n '__fish_seen_subcommand_from %s' -a '%s'\n", p.Name, c.Name, strings.Join(c.Words, " "))
		}
		for _, o := range c.options() {
			kind := ""
			if o.isFile() {
				kind = " -r -F"
			} else if o.value != "" {
				kind = " -x"
			}
			fmt.Fprintf(&b, "complete -c %s -n '__fish_seen_subcommand_from %s' -l %s%s -d %s\n", p.Name, c.Name, o.name, kind, fishQuote(o.text))
		}
	}
	return b.String()
}

func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}
