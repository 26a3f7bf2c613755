package config

import (
	"errors"
	"reflect"
	"strings"
)

var errNoAppLeft = errors.New("there is no app any more: set BELFRY_APP_ID, BELFRY_APP_KEY and BELFRY_APP_SECRET in the environment file")

// Reload is [Load] for a server that runs with c. It makes up no app: where
// Load would, it keeps the one that was made up for c, or fails.
func (c *Config) Reload(path string, env Env) (*Config, error) {
	next, err := Load(path, env)
	if err != nil || !next.Generated {
		return next, err
	}
	if !c.Generated {
		return nil, errNoAppLeft
	}
	next.Apps = c.Apps
	return next, nil
}

// NeedRestart returns the keys, such as server.listen, that differ in next and
// are read at the start only: all but apps and log.level.
func (c *Config) NeedRestart(next *Config) []string {
	return differences("", reflect.ValueOf(*c), reflect.ValueOf(*next), nil)
}

func differences(path string, a, b reflect.Value, keys []string) []string {
	for i := range a.NumField() {
		f := a.Type().Field(i)
		tag := f.Tag.Get("yaml")
		key := strings.TrimPrefix(path+"."+tag, ".")
		x, y := a.Field(i), b.Field(i)
		switch {
		case tag == "-" || key == "apps" || key == "log.level":
		case f.Type.Kind() == reflect.Struct && f.Type.PkgPath() == a.Type().PkgPath():
			keys = differences(key, x, y, keys)
		case f.Type.Kind() == reflect.Slice && x.Len() == 0 && y.Len() == 0: // nil or not
		case !reflect.DeepEqual(x.Interface(), y.Interface()):
			keys = append(keys, key)
		}
	}
	return keys
}
