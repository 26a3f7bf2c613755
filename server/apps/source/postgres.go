package source

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"belfry/server/config"
)

// Channel is what a trigger of PostgreSQL notifies, with the id of the application that
// changed, or without one when any may have.
const Channel = "belfry_apps"

// quiet is how long nothing may come on a connection that listens before Belfry asks
// whether there is still anybody at its other end.
const quiet = time.Minute

func openPostgres(c config.AppsFrom) (Source, error) {
	conf, err := pgx.ParseConfig(c.URL)
	if err != nil {
		return nil, badURL(err, c.URL)
	}
	// A statement that the server keeps is kept on one connection, and behind PgBouncer the
	// next one is on another.
	conf.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conf.ConnectTimeout = timeout
	conf.DialFunc = (&net.Dialer{Timeout: timeout, KeepAlive: quiet / 4}).DialContext
	conf.RuntimeParams["client_encoding"] = "UTF8" // which the simple protocol needs, whatever the database has
	if conf.RuntimeParams["application_name"] == "" {
		conf.RuntimeParams["application_name"] = "belfry"
	}
	s := newDatabase(stdlib.OpenDB(*conf), dialect{quote: `"`, placeholder: "$1", aboutName: nameInPostgres, advice: adviceOnPostgres},
		c, place(conf.Host, conf.Database), conf.Password)
	s.watch = func(ctx context.Context, changed func(string)) error { return listen(ctx, conf, changed) }
	return s, nil
}

// badURL is what the driver says of a URL, without the URL and its password.
func badURL(err error, address string) error {
	text := err.Error()
	if i := strings.LastIndex(text, "`: "); i >= 0 {
		text = text[i+len("`: "):]
	}
	u, parseErr := url.Parse(address)
	if parseErr != nil {
		return errors.New("apps_from.url: it is not a URL")
	}
	if password, ok := u.User.Password(); ok && password != "" {
		text = strings.ReplaceAll(text, password, "[hidden]")
	}
	return errors.New("apps_from.url: " + text)
}

// place is where a database is, for errors.
func place(host, name string) string {
	if host == "" || strings.HasPrefix(host, "/") {
		return name
	}
	return host + "/" + name
}

// nameInPostgres is about what the type of a column, or the encoding of the database, cannot
// have. Most such errors repeat the name; others may be about another column of a query.
func nameInPostgres(err error, name string) error {
	var pg *pgconn.PgError
	switch {
	case !errors.As(err, &pg) || !strings.HasPrefix(pg.Code, "22"): // data_exception
		return nil
	case strings.Contains(pg.Message, name), pg.Code == "22P05", pg.Code == "22021": // untranslatable_character, character_not_in_repertoire
		return ErrNone
	}
	return oddRow(pg.Code)
}

func adviceOnPostgres(err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return ""
	}
	switch pg.Code { // appendix A of PostgreSQL's documentation
	case "42P01", "3F000":
		return noTable
	case "42703":
		return noColumn
	case "42501":
		return noRight
	case "28P01", "28000":
		return noPassword
	case "3D000":
		return noDatabase
	}
	return ""
}

// listen tells of notifications until ctx ends or the connection does. A connection on
// which nothing comes is asked for a sign of life now and then: of one that was cut without
// a word, reading never tells.
func listen(ctx context.Context, conf *pgx.ConnConfig, changed func(id string)) error {
	dial, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(dial, conf)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		conn.Close(end)
	}()
	if _, err := conn.Exec(dial, "LISTEN "+Channel); err != nil {
		return err
	}
	changed("")
	for {
		id, err := next(ctx, conn)
		if err != nil {
			return err
		}
		changed(id)
	}
}

// next waits for a notification, and returns its payload if an application can have such
// an id.
func next(ctx context.Context, conn *pgx.Conn) (id string, err error) {
	for {
		wait, cancel := context.WithTimeout(ctx, quiet)
		n, err := conn.WaitForNotification(wait)
		cancel()
		switch {
		case err == nil && Possible(n.Payload):
			return n.Payload, nil
		case err == nil:
			return "", nil
		case ctx.Err() != nil || !pgconn.Timeout(err):
			return "", err
		}
		ask, cancel := context.WithTimeout(ctx, timeout)
		err = conn.Ping(ask)
		cancel()
		if err != nil {
			return "", err
		}
	}
}
