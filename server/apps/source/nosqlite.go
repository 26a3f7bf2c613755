//go:build !sqlite

package source

import (
	"errors"

	"belfry/server/config"
)

func openSQLite(config.AppsFrom) (Source, error) {
	return nil, errors.New("apps_from.url: this binary was built without SQLite: build one with make build TAGS=sqlite, or use another database")
}
