package redis

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"belfry/channels/cluster"
)

// Of the client's connections.
const (
	bufferSize = 64 << 10 // bytes, each to read and to write
	noteSize   = 300      // bytes of an error
)

// clientOption reads the URL. What the URL has in it is in no error: a mistake
// may put the password anywhere.
func clientOption(o Options) (rueidis.ClientOption, error) {
	none := rueidis.ClientOption{}
	u, err := url.Parse(o.URL)
	if err != nil {
		return none, errors.New("redis: the URL is not valid: reserved characters in user and password are to be percent-encoded")
	}
	if u.Scheme != "redis" && u.Scheme != "rediss" {
		return none, errors.New("redis: the URL is to begin with redis:// or rediss://")
	}
	if u.Hostname() == "" {
		return none, errors.New("redis: the URL has no host")
	}
	if port := u.Port(); port != "" && !isPort(port) {
		return none, errors.New("redis: the port of the URL is to be a number from 1 to 65535")
	}
	if path := strings.Trim(u.Path, "/"); path != "" {
		if n, err := strconv.Atoi(path); err != nil || n < 0 {
			return none, errors.New("redis: the path of the URL is to be the number of a database")
		}
	}
	q := u.Query()
	for name := range q {
		switch name {
		case "addr", "master_set", "sentinel_username", "sentinel_password":
		default:
			return none, errors.New("redis: the URL has a parameter other than addr, master_set, sentinel_username and sentinel_password")
		}
	}
	for _, addr := range q["addr"] {
		if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || !isPort(port) {
			return none, errors.New("redis: a parameter addr of the URL is to be host:port, with a port from 1 to 65535")
		}
	}
	u.Path = "/" + strings.Trim(u.Path, "/")
	if u.Path == "/" {
		u.Path = ""
	}
	c, err := rueidis.ParseURL(u.String())
	if err != nil {
		return none, errors.New("redis: the URL is not valid")
	}
	if c.TLSConfig != nil && o.TLS != nil {
		name := c.TLSConfig.ServerName
		c.TLSConfig = o.TLS.Clone()
		if c.TLSConfig.ServerName == "" {
			c.TLSConfig.ServerName = name
		}
	}
	c.Sentinel.Username, c.Sentinel.Password = q.Get("sentinel_username"), q.Get("sentinel_password")
	c.Sentinel.TLSConfig = c.TLSConfig
	c.DisableRetry = true // a retry is our decision
	c.DisableCache = true
	c.AlwaysPipelining = true // else a context that is cancelled is not heeded
	c.PipelineMultiplex = -1  // one connection: more goes into one write
	c.Dialer.Timeout = o.Timeout
	// The client's own pings would cut a connection whose messages wait for the
	// receiver. Those of the kernel do not, and the loop sees whether servers answer.
	c.Dialer.KeepAlive = -1
	c.Dialer.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: o.Renew, Interval: o.Renew}
	c.Sentinel.Dialer = c.Dialer
	c.ConnWriteTimeout = 2 * o.Timeout
	c.ClusterOption.ShardsRefreshInterval = o.Renew
	c.ReadBufferEachConn, c.WriteBufferEachConn = bufferSize, bufferSize
	return c, nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// note is an error of Redis or of the way to it, without a password.
func (d *Driver) note(err error) error { return note(d.client, err) }

func note(option rueidis.ClientOption, err error) error {
	if errors.Is(err, cluster.ErrUnavailable) {
		return err
	}
	text := err.Error()
	for _, secret := range []string{option.Password, option.Sentinel.Password} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return unavailable(errors.New(text[:min(len(text), noteSize)]))
}

// CheckURL says what is wrong with a URL, without repeating any of it.
func CheckURL(url string) error {
	_, err := clientOption(Options{URL: url})
	return err
}
