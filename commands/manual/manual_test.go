package manual

import (
	"flag"
	"os/exec"
	"strings"
	"testing"
)

func example() *Program {
	shop := &Command{Name: "open", Arguments: "[FLAG…] NAME", Summary: "open a shop", Text: "It's \\open then.\n\n  shop open --at x\n\n.dot"}
	shop.Flags = flag.NewFlagSet("", flag.ContinueOnError)
	shop.Flags.String("at", "noon", "`time` it's open")
	shop.Flags.String("list", "", "a `file`")
	shop.Flags.Bool("now", false, "at once")
	shut := &Command{Name: "shut", Summary: "shut it", Flags: flag.NewFlagSet("", flag.ContinueOnError), Words: []string{"today", "tomorrow"}}
	return &Program{Name: "shop", Summary: "sells things", Text: "More.", Environment: [][2]string{{"SHOP_KEY", "The key"}}, Commands: []*Command{shop, shut}}
}

func write(t *testing.T, f func(*strings.Builder) error) string {
	t.Helper()
	var b strings.Builder
	if err := f(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestHelp(t *testing.T) {
	p := example()
	got := write(t, func(b *strings.Builder) error { return p.Help(b) })
	want := "shop sells things.\n\nusage:\n  shop open [FLAG…] NAME   open a shop\n  shop shut                shut it\n\nMore.\n"
	if got != want {
		t.Errorf("got\n%s", got)
	}
	got = write(t, func(b *strings.Builder) error { return p.CommandHelp(b, p.Commands[0]) })
	want = "shop open: open a shop\n\nusage:\n  shop open [FLAG…] NAME\n\nIt's \\open then.\n\n  shop open --at x\n\n.dot\n\n" +
		"flags:\n  --at TIME     time it's open (default noon)\n  --list FILE   a file\n  --now         at once\n"
	if got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestPage(t *testing.T) {
	got := write(t, func(b *strings.Builder) error { return example().Page(b) })
	for _, want := range []string{
		".TH SHOP 1\n", "shop \\- sells things\n", ".SS shop open [FLAG…] NAME\nopen a shop.\n",
		"It's \\eopen then.\n", ".nf\nshop open \\-\\-at x\n.fi\n", "\\&.dot\n",
		".B \\-\\-at TIME\ntime it's open (default noon).\n", ".B SHOP_KEY\nThe key.\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// Bash itself is asked.
func TestCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	script := write(t, func(b *strings.Builder) error { return example().Completion(b, "bash") })
	for typed, want := range map[string]string{
		"shop ":                     "open shut",
		"shop o":                    "open",
		"shop open --":              "--at --list --now",
		"shop open --at ":           "",
		"shop open --now --l":       "--list",
		"shop open --list manual_t": "manual_test.go",
		"shop shut to":              "today tomorrow",
		"shop other ":               "",
	} {
		words := strings.Split(typed, " ")
		ask := script + "\nCOMP_WORDS=('" + strings.Join(words, "' '") + "')\nCOMP_CWORD=$((${#COMP_WORDS[@]}-1))\n_shop\necho \"${COMPREPLY[*]}\"\n"
		out, err := exec.Command(bash, "--norc", "-c", ask).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%q is completed by %q, not %q; error %v", typed, got, want, err)
		}
	}
}

func TestOtherShells(t *testing.T) {
	p := example()
	fish := write(t, func(b *strings.Builder) error { return p.Completion(b, "fish") })
	for _, want := range []string{
		"complete -c shop -n __fish_use_subcommand -a open -d 'open a shop'\n",
		"complete -c shop -n '__fish_seen_subcommand_from open' -l at -x -d 'time it\\'s open'\n",
		" -l list -r -F -d 'a file'\n", " -l now -d 'at once'\n",
		"complete -c shop -n '__fish_seen_subcommand_from shut' -a 'today tomorrow'\n",
	} {
		if !strings.Contains(fish, want) {
			t.Errorf("no %q in\n%s", want, fish)
		}
	}
	zsh := write(t, func(b *strings.Builder) error { return p.Completion(b, "zsh") })
	bash := write(t, func(b *strings.Builder) error { return p.Completion(b, "bash") })
	if !strings.HasPrefix(zsh, "#compdef shop\n") || !strings.HasSuffix(zsh, bash) {
		t.Errorf("for zsh:\n%s", zsh)
	}
	if err := p.Completion(new(strings.Builder), "csh"); err == nil || !strings.Contains(err.Error(), "bash, zsh, fish") {
		t.Errorf("csh: %v", err)
	}
}
