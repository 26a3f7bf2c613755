// Package source looks applications up where apps_from of the configuration says: in a
// database or by HTTP. It knows documents, not applications: package config reads those.
package source

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"belfry/server/config"
)

// By is what an application is looked up by.
type By int

// The values of [By].
const (
	ByID By = iota
	ByKey
)

// String is the key of the configuration: id or key.
func (by By) String() string {
	if by == ByKey {
		return "key"
	}
	return "id"
}

// ErrNone says that there is no such application.
var ErrNone = errors.New("there is no such application")

// AppError says that the source answers, but that nothing can be done with what it has of one
// application.
type AppError struct{ Problem string }

func (e *AppError) Error() string { return e.Problem }

// Source is where applications are looked up. All methods may be called concurrently, but
// none after Close. No error has a secret in it.
type Source interface {
	// Find returns the document of the application with a [Possible] name, see
	// [config.ParseApp]. ErrNone: there is none. An [AppError] is about this application alone. Any other error: the source cannot
	// be asked now, or answers what nobody understands. It takes at most 5 seconds. The
	// caller compares the name of what it reads in the document: an HTTP API may be wrong.
	Find(ctx context.Context, by By, name string) (document []byte, err error)

	// Watch calls changed with the id of each application that changed, "" for all of them,
	// until ctx ends; it returns nil at once if the source cannot tell (only PostgreSQL
	// can), else the error that ended it. It calls changed("") once it listens, since
	// changes before that are not reported.
	Watch(ctx context.Context, changed func(id string)) error

	// Check asks for what Find needs: errors name the missing table, column or right in one
	// line.
	Check(ctx context.Context) error

	Close() error
}

// Open returns the source of a valid configuration whose URL is not empty. It does not
// connect.
func Open(c config.AppsFrom) (Source, error) {
	switch scheme := c.Scheme(); scheme {
	case config.SchemePostgres:
		return openPostgres(c)
	case config.SchemeMySQL:
		return openMySQL(c)
	case config.SchemeSQLite:
		return openSQLite(c)
	case config.SchemeHTTPS, config.SchemeHTTP:
		return openHTTP(c)
	default:
		return nil, fmt.Errorf("apps_from.url: %q is not a scheme that is known", scheme)
	}
}

// MaxOpen is how many questions a source is asked at a time at most: each takes a connection.
const MaxOpen = 8

// Bounds of one look-up, whatever the source.
const (
	timeout     = 5 * time.Second // to connect and to answer
	maxDocument = 1 << 20         // bytes
	maxIdle     = 2               // of them kept when nobody asks
	idleTimeout = time.Minute
	maxLifetime = 30 * time.Minute // so that a database that moved is found again
)

// maxName is the most bytes of an id or a key that is looked up.
const maxName = 255

// Possible reports whether an application can have such an id or key.
func Possible(name string) bool {
	odd := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == '/' || r == ':' }
	return name != "" && len(name) <= maxName && utf8.ValidString(name) && !strings.ContainsFunc(name, odd)
}
