//go:build sqlite

package source

import (
	"database/sql"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	_ "modernc.org/sqlite"

	"belfry/server/config"
)

func openSQLite(c config.AppsFrom) (Source, error) {
	file := c.URL[len(config.SchemeSQLite+":"):]
	u := url.URL{Scheme: "file", OmitHost: true, Path: file, RawQuery: url.Values{
		"mode":    {"ro"},
		"_pragma": {"busy_timeout(" + strconv.FormatInt(timeout.Milliseconds()/2, 10) + ")", "query_only(1)"},
	}.Encode()}
	if !filepath.IsAbs(file) {
		u.Opaque, u.Path = (&url.URL{Path: file}).EscapedPath(), ""
	}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	anyName := func(error, string) error { return nil } // SQLite compares everything with everything
	// In double quotes, a column that is not there would be text.
	return newDatabase(db, dialect{quote: "`", placeholder: "?", aboutName: anyName, advice: adviceOnSQLite}, c, file, ""), nil
}

func adviceOnSQLite(err error) string {
	switch text := err.Error(); {
	case strings.Contains(text, "no such table"):
		return noTable
	case strings.Contains(text, "no such column"):
		return noColumn
	case strings.Contains(text, "unable to open"):
		return "see the path of apps_from.url, and whether the user who runs Belfry may read the file"
	}
	return ""
}
