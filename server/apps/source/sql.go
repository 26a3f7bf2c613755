package source

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgx/v5/pgtype"

	"belfry/server/config"
)

// dialect is what differs from one database to another.
type dialect struct {
	quote       string // around a name
	placeholder string // of the only parameter
	// aboutName says what an error means that is about a name, which may be a stranger's:
	// ErrNone where no row can have it, such as letters in a column of numbers, a AppError
	// where that is not certain, and nil for any other error.
	aboutName func(err error, name string) error
	// advice says what to do about an error; empty: the error is all there is to say.
	advice func(err error) string
}

// database is one with a row for each application.
type database struct {
	dialect
	db       *sql.DB
	from     string    // table or query, as it follows FROM
	at       string    // host and name of the database, for errors
	password string    // never in an error
	find     [2]string // by By
	watch    func(ctx context.Context, changed func(id string)) error
}

func newDatabase(db *sql.DB, d dialect, c config.AppsFrom, at, password string) *database {
	db.SetMaxOpenConns(MaxOpen)
	db.SetMaxIdleConns(maxIdle)
	db.SetConnMaxIdleTime(idleTimeout)
	db.SetConnMaxLifetime(maxLifetime)
	s := &database{dialect: d, db: db, at: at, password: password}
	if c.Query != "" {
		s.from = "(\n" + c.Query + "\n) AS apps" // on lines of its own: the query may end in a comment
	} else {
		s.from = d.name(strings.Split(c.Table, ".")...)
	}
	for _, by := range []By{ByID, ByKey} {
		s.find[by] = "SELECT * FROM " + s.from + " WHERE " + d.name(by.String()) + " = " + d.placeholder + " LIMIT 10"
	}
	return s
}

// name quotes a name that may have several parts. The configuration has no name with a
// quote in it.
func (d dialect) name(parts ...string) string {
	return d.quote + strings.Join(parts, d.quote+"."+d.quote) + d.quote
}

func (s *database) Find(ctx context.Context, by By, name string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	document, err := s.ask(ctx, by, name)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err() // a driver may say that the connection is broken
	}
	switch {
	case err == nil || errors.Is(err, ErrNone) || errors.As(err, new(*AppError)):
		return document, err
	}
	if about := s.aboutName(err, name); about != nil {
		return nil, about
	}
	return nil, s.failure(err)
}

// ask returns the only row whose column is exactly name. Databases take more than that for
// equal: another case, spaces at the end, and MySQL the number 1 and '1abc'.
func (s *database) ask(ctx context.Context, by By, name string) (document []byte, err error) {
	rows, err := s.db.QueryContext(ctx, s.find[by], name)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		values := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		row, got, err := asDocument(columns, values, by.String())
		switch {
		case err != nil:
			return nil, err
		case got != name:
			continue
		case document != nil:
			return nil, &AppError{fmt.Sprintf("more than one row has the %s %q: give each app its own", by, name)}
		}
		document = row
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if document == nil {
		return nil, ErrNone
	}
	return document, nil
}

// asDocument returns a row as a JSON object, and the text of one of its columns.
func asDocument(columns []*sql.ColumnType, values []any, key string) (document []byte, text string, err error) {
	document = append(document, '{')
	for i, c := range columns {
		if i > 0 {
			document = append(document, ',')
		}
		if document, err = jsontext.AppendQuote(document, c.Name()); err != nil {
			return nil, "", errors.New("a column has a name that is not UTF-8")
		}
		value := asJSON(values[i], c.DatabaseTypeName())
		document = append(append(document, ':'), value...)
		if len(document) > maxDocument {
			return nil, "", &AppError{fmt.Sprintf("a row has more than %d bytes: name the columns that Belfry needs in apps_from.query", maxDocument)}
		}
		if strings.EqualFold(c.Name(), key) {
			text = asText(value)
		}
	}
	return append(document, '}'), text, nil
}

// asJSON is what a column has, whose type the database gives that name. Bytes that are no
// text, such as a picture, are null.
func asJSON(value any, typeName string) jsontext.Value {
	switch v := value.(type) {
	case nil:
	case bool:
		return jsontext.Value(strconv.FormatBool(v))
	case int64:
		return jsontext.Value(strconv.FormatInt(v, 10))
	case uint64:
		return jsontext.Value(strconv.FormatUint(v, 10))
	case float32:
		return asJSON(float64(v), typeName)
	case float64:
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			return jsontext.Value(strconv.FormatFloat(v, 'f', -1, 64))
		}
	case time.Time:
		return asJSON(v.Format(time.RFC3339Nano), "")
	case []byte:
		if typeName == "BIT" {
			n := uint64(0)
			for _, b := range v {
				n = n<<8 | uint64(b)
			}
			return asJSON(n, "")
		}
		return asJSON(string(v), typeName)
	case string:
		if (typeName == "JSON" || typeName == "JSONB") && json.Valid([]byte(v)) {
			return jsontext.Value(v)
		}
		if strings.HasPrefix(typeName, "_") { // an array of PostgreSQL
			var items []string
			if pgtype.NewMap().SQLScanner(&items).Scan(v) == nil {
				list, _ := json.Marshal(items)
				return list
			}
		}
		if utf8.ValidString(v) {
			quoted, _ := jsontext.AppendQuote(nil, v)
			return quoted
		}
	default:
		return asJSON(fmt.Sprint(v), "")
	}
	return jsontext.Value("null")
}

// asText is the text of a value that is text or a number.
func asText(v jsontext.Value) string {
	if v.Kind() != '"' {
		return v.String()
	}
	text, _ := jsontext.AppendUnquote(nil, v)
	return string(text)
}

func (s *database) Watch(ctx context.Context, changed func(id string)) error {
	if s.watch == nil {
		return nil
	}
	err := s.watch(ctx, changed)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.failure(err)
}

// Check asks for columns without reading a row.
func (s *database) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	rows, err := s.db.QueryContext(ctx, "SELECT * FROM "+s.from+" WHERE 1 = 0 AND "+s.name("id")+" IS NULL AND "+s.name("key")+" IS NULL")
	if err != nil {
		return s.failure(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return s.failure(err)
	}
	if err := rows.Err(); err != nil {
		return s.failure(err)
	}
	for _, name := range columns {
		switch strings.ToLower(name) {
		case "secret", "secrets", "app_secret", "settings", "options":
			return nil
		}
	}
	return s.failure(errors.New("there is no column secret: add one, or select one AS secret in apps_from.query"))
}

func (s *database) Close() error { return s.db.Close() }

// oddRow is an error about what a row has, without what that is: it may be a secret.
func oddRow(state string) error {
	return &AppError{"the database cannot read what it has of the app (SQLSTATE " + state + "): see the table, or apps_from.query"}
}

const maxFailure = 400 // bytes of what a database says

// failure is err in one line, with what to do about it, and without the password.
func (s *database) failure(err error) error {
	if err == nil {
		return nil
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	if errors.Is(err, context.DeadlineExceeded) {
		text = "no answer in " + timeout.String()
	}
	if s.password != "" {
		text = strings.ReplaceAll(text, s.password, "[hidden]")
	}
	if len(text) > maxFailure {
		text = strings.ToValidUTF8(text[:maxFailure], "") + "..."
	}
	if advice := s.advice(err); advice != "" {
		text += ": " + advice
	}
	return &failure{"look up an app in " + s.at + ": " + text, err}
}

// failure is an error with a text that may be shown.
type failure struct {
	text  string
	cause error
}

func (f *failure) Error() string { return f.text }

// Is says whether the cause was a time that ran out, and nothing else: what else the
// cause has to say may be secret.
func (f *failure) Is(target error) bool {
	return (target == context.DeadlineExceeded || target == context.Canceled) && errors.Is(f.cause, target)
}

// What to do about errors that every database has.
const (
	noTable    = "set apps_from.table or apps_from.query"
	noColumn   = "Belfry asks for the columns id and key: select others AS id and AS key in apps_from.query"
	noRight    = "let the user of apps_from.url SELECT from the table"
	noPassword = "see the user and the password of apps_from.url"
	noDatabase = "see the path of apps_from.url"
)
