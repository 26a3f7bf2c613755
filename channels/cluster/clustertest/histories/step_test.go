package histories

import (
	"slices"
	"testing"
)

// What is printed can be pasted back.
func TestParse(t *testing.T) {
	seen := make(map[kind]bool)
	for i := range 200 {
		h := generator(nil, nil).Example(i)
		again, err := Parse(h.String())
		if err != nil || !slices.Equal(h, again) {
			t.Fatalf("%s\nis read as\n%s\n%v", h, again, err)
		}
		for _, s := range h {
			seen[s.Do] = true
		}
	}
	for _, w := range weights {
		if !seen[w.do] {
			t.Errorf("%s is never drawn", w.do)
		}
	}
	for _, text := range []string{"jump 1", "cut 3", "back 1", "back 1 3", "hop 1", "subscribe 9 a", "subscribe 0", "publish 0 a 9", "wait long", "cut one"} {
		if h, err := Parse(text); err == nil {
			t.Errorf("%q is read as %q", text, h)
		}
	}
}
