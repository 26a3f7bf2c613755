package source

import (
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"unicode"

	"github.com/go-sql-driver/mysql"

	"belfry/server/config"
)

func openMySQL(c config.AppsFrom) (Source, error) {
	conf, err := mysqlConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("apps_from.url: %w", err)
	}
	connector, err := mysql.NewConnector(conf)
	if err != nil {
		return nil, fmt.Errorf("apps_from.url: %w", err)
	}
	host, _, _ := net.SplitHostPort(conf.Addr)
	return newDatabase(sql.OpenDB(connector), dialect{quote: "`", placeholder: "?", aboutName: nameInMySQL, advice: adviceOnMySQL},
		c, place(host, conf.DBName), conf.Passwd), nil
}

// mysqlConfig reads mysql://user:password@host:port/database, with these parameters: tls is
// preferred (TLS if the server offers it, the default), true (with a certificate that is
// valid), skip-verify or false; ca is a PEM file of who may sign the certificate; socket is
// a path instead of host and port.
func mysqlConfig(address string) (*mysql.Config, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("it is not a URL") // err repeats it
	}
	conf := mysql.NewConfig()
	conf.User = u.User.Username()
	conf.Passwd, _ = u.User.Password()
	conf.Net, conf.Addr = "tcp", net.JoinHostPort(u.Hostname(), "3306")
	if u.Port() != "" {
		conf.Addr = u.Host
	}
	conf.DBName = strings.TrimPrefix(u.Path, "/")
	conf.Timeout = timeout        // the context of a query bounds the rest
	conf.InterpolateParams = true // one round trip, and no statement that a proxy would have to keep
	conf.Logger = &mysql.NopLogger{}
	security, ca := "preferred", ""
	for name, values := range u.Query() {
		value := values[0]
		switch name {
		case "tls":
			security = value
		case "ca":
			ca = value
		case "socket":
			conf.Net, conf.Addr = "unix", value
		default:
			return nil, fmt.Errorf("there is no parameter %q: give tls, ca or socket", name)
		}
	}
	if u.Hostname() == "" && conf.Net == "tcp" {
		return nil, errors.New("it has no host: give one, or ?socket= and a path")
	}
	if conf.DBName == "" {
		return nil, errors.New("it names no database: give mysql://user:password@host/database")
	}
	if err := secure(conf, security, ca, u.Hostname()); err != nil {
		return nil, err
	}
	return conf, nil
}

func secure(conf *mysql.Config, security, ca, host string) error {
	switch security {
	case "true":
		conf.TLS = &tls.Config{ServerName: host}
	case "preferred", "skip-verify", "false":
		conf.TLSConfig = security
	default:
		return fmt.Errorf("tls is %q: give true, preferred, skip-verify or false", security)
	}
	if ca == "" {
		return nil
	}
	if conf.TLS == nil {
		return errors.New("ca is given, but nothing compares a certificate with it: add tls=true")
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	conf.TLS.RootCAs = x509.NewCertPool()
	if !conf.TLS.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("ca: %s has no certificate in PEM", ca)
	}
	return nil
}

// nameInMySQL is about characters that the character set of a column does not have: MySQL
// compares everything with everything else.
func nameInMySQL(err error, name string) error {
	var my *mysql.MySQLError
	if !errors.As(err, &my) {
		return nil
	}
	switch ascii := strings.IndexFunc(name, func(r rune) bool { return r > unicode.MaxASCII }) < 0; {
	case !ascii && (my.Number == 1267 || my.Number == 1366 || my.Number == 3854): // collations that do not go together, a string that cannot be converted
		return ErrNone
	case strings.HasPrefix(string(my.SQLState[:]), "22") && strings.Contains(my.Message, name): // data exception
		return ErrNone
	case strings.HasPrefix(string(my.SQLState[:]), "22"):
		return oddRow(string(my.SQLState[:]))
	}
	return nil
}

func adviceOnMySQL(err error) string {
	var my *mysql.MySQLError
	if !errors.As(err, &my) {
		return ""
	}
	switch my.Number { // the error reference of MySQL, which MariaDB shares
	case 1146:
		return noTable
	case 1054:
		return noColumn
	case 1142, 1143:
		return noRight
	case 1045:
		return noPassword
	case 1044, 1049:
		return noDatabase
	}
	return ""
}
