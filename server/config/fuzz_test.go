package config

import (
	"os"
	"regexp"
	"testing"
)

// FuzzParse checks that no file makes Parse panic, that what it accepts is
// valid, and that every line of what it refuses has file and line.
func FuzzParse(f *testing.F) {
	example, err := os.ReadFile(examplePath)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte("apps: [{id: 1, key: k, secrets: [new, \"${TEXT}\"]}]"))
	located := regexp.MustCompile(`^(fuzz\.yaml:[1-9][0-9]*: .+\n)+$`)
	vars := env("NUMBER=6001", "EMPTY=", "TEXT=a: b")
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("fuzz.yaml", data, vars)
		if err != nil {
			if c != nil || !located.MatchString(err.Error()+"\n") {
				t.Fatalf("%v, %q", c, err)
			}
			return
		}
		if len(c.Apps) == 0 || c.Generated {
			t.Fatalf("apps %v, generated %v", c.Apps, c.Generated)
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("accepted, but: %v", err)
		}
	})
}

// FuzzParseApp checks that no document makes ParseApp panic, that what it accepts is valid,
// and that it reads no variable.
func FuzzParseApp(f *testing.F) {
	name := regexp.MustCompile(`^(fuzz: .+\n)+$`)
	f.Fuzz(func(t *testing.T, data []byte) {
		a, _, err := ParseApp("fuzz", data, Default().Server)
		if err != nil {
			if !name.MatchString(err.Error() + "\n") {
				t.Fatalf("%q", err)
			}
			return
		}
		c := Default()
		c.Apps = []App{a}
		if err := c.Validate(); err != nil {
			t.Fatalf("accepted, but: %v", err)
		}
	})
}
