package config

import "strings"

// Key is a key of the configuration that has one value, such as server.listen or
// apps[].cache_ttl.
type Key struct {
	name  string
	value settable
}

// LookupKey finds a key by its name in docs/configuration.md; apps[] stands for any app.
func LookupKey(name string) (Key, bool) {
	keys, path := new(Config).keys(), name
	if inner, ok := strings.CutPrefix(name, "apps[]."); ok {
		keys, path = new(App).keys(), inner
	}
	v, ok := keys.lookup(path).(settable)
	return Key{name, v}, ok
}

// IsDefault says whether the key has this value without being set.
func (k Key) IsDefault(value string) bool {
	k.value.reset()
	return k.value.is(value)
}

// Problem returns what is wrong with a value, in words that follow it, or "". What has to
// fit the values of other keys is not looked at.
func (k Key) Problem(value string) string {
	k.value.reset()
	if problem := k.value.set(value); problem != "" {
		return problem
	}
	return k.value.problemOf()
}

// Plain says whether the file has the value without quotes.
func (k Key) Plain() bool { return k.value.plain() }
