package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

const (
	exampleURL = "redis://redis.internal:6379/0"

	// dialTimeout is how long it may take to connect, with TLS and login. No request waits that long.
	dialTimeout = 5 * time.Second

	// silence is how long an established connection may be silent after a command or a ping before it is closed.
	silence = 5 * time.Second

	// pingEvery is how often an idle connection is pinged.
	pingEvery = time.Second

	// bufferSize is the size of the two buffers of a connection. The library's default is 512 KiB.
	bufferSize = 32 << 10
)

// parameters lists what may stand behind the `?` of a URL. Everything else that the library understands has an option, or
// would weaken the connection.
var parameters = []string{"addr", "client_name", "db", "master_set"}

// address is how to reach Redis, with all placeholders expanded.
type address struct {
	option rueidis.ClientOption
	shown  string // the URL without the password
	key    string // a digest that names the address among others
}

// String returns the URL without the password.
func (a *address) String() string { return a.shown }

// public returns an error without the password. A server that does not know the command AUTH or HELLO repeats its arguments.
func (a *address) public(err error) error {
	if err == nil {
		return nil
	}
	text, _, found := strings.Cut(err.Error(), ", with args beginning with")
	if password := a.option.Password; password != "" && strings.Contains(text, password) {
		text, found = "the server refused the login in its own words, which have the password in them", true
	}
	if !found {
		return err
	}
	return &publicError{err, text}
}

// publicError is an error with another text.
type publicError struct {
	error

	text string
}

func (e *publicError) Error() string { return e.text }

func (e *publicError) Unwrap() error { return e.error }

// checkURL returns an error if a URL cannot be right. It does not contain the URL, which may hold a password.
func checkURL(raw string) error {
	if raw == "" {
		return errors.New("the URL of Redis is missing; write one such as " + exampleURL)
	}
	if strings.Contains(raw, "{") {
		return nil // checked when its placeholders are known
	}
	_, err := parseURL(raw)
	return err
}

func parseURL(raw string) (*url.URL, error) {
	const escape = "; write one such as " + exampleURL + ", and special characters of a password as %23 and the like, or use the option password"
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("the URL of Redis cannot be parsed" + escape)
	case u.Scheme != "unix" && strings.Contains(u.Path+u.RawQuery, "@"):
		return nil, errors.New("the URL of Redis has an @ behind its host" + escape) // what precedes it is part of a password
	case u.Fragment != "" || u.Opaque != "":
		return nil, errors.New("the URL of Redis is not complete" + escape)
	}
	switch u.Scheme {
	case "redis", "rediss", "valkey", "valkeys":
		if u.Hostname() == "" {
			return nil, errors.New("the URL of Redis has no host; write one such as " + exampleURL)
		}
		if _, err := directive.Port(u); err != nil {
			return nil, fmt.Errorf("the URL of Redis: %w; write one such as %s", err, exampleURL)
		}
	case "unix":
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			return nil, errors.New("the path of a Unix socket must begin with a slash; write one such as unix:///run/redis/redis.sock")
		}
	case "":
		return nil, errors.New("the URL of Redis has no scheme; write one such as " + exampleURL)
	default:
		return nil, fmt.Errorf("%s:// is no scheme of Redis; write redis://, rediss:// (TLS) or unix://", u.Scheme)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("what follows the ? of Redis's URL cannot be parsed" + escape)
	}
	for _, other := range query["addr"] {
		if _, err := directive.Port(&url.URL{Host: other}); err != nil {
			return nil, fmt.Errorf("addr in the URL of Redis: %w; write one such as addr=redis2.internal:6379", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if slices.Contains(parameters, name) {
			continue
		}
		if nearest, ok := directive.Nearest(name, parameters); ok {
			return nil, fmt.Errorf("the URL of Redis has no parameter %s; did you mean %s?", name, nearest)
		}
		return nil, fmt.Errorf("the URL of Redis has no parameter %s; it has %s", name, strings.Join(parameters, ", "))
	}
	return u, nil
}

// expand replaces the placeholders of an option. It removes the newline at the end of a file.
func expand(name, value string) (string, error) {
	expanded, err := directive.Expand(name, value)
	return strings.TrimRight(expanded, "\r\n"), err
}

// newAddress expands and checks the options that say how to reach Redis.
func newAddress(rawURL, password, ca string) (*address, error) {
	for _, option := range []struct {
		name  string
		value *string
	}{{"url", &rawURL}, {"password", &password}, {"tls_ca", &ca}} {
		var err error
		if *option.value, err = expand(option.name, *option.value); err != nil {
			return nil, err
		}
	}
	if rawURL == "" {
		return nil, checkURL("")
	}
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	a := new(address)
	if a.option, err = rueidis.ParseURL(rawURL); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "redis: ") + " in the URL of Redis; write one such as " + exampleURL)
	}
	if password != "" {
		if a.option.Password != "" {
			return nil, errors.New("the password is given twice, in the URL and as an option; remove it from the URL")
		}
		a.option.Password = password
	}
	if a.option.Username != "" && a.option.Password == "" {
		return nil, fmt.Errorf("user %s has no password; add the option password", a.option.Username)
	}
	content, err := a.trust(ca)
	if err != nil {
		return nil, err
	}
	a.shown = shown(u)
	if a.key, err = directive.Fingerprint(rawURL, password, content); err != nil {
		return nil, err
	}
	a.complete()
	return a, nil
}

// shown returns the URL without the password.
func shown(u *url.URL) string {
	public := *u
	if public.User != nil {
		public.User = url.User(public.User.Username())
		if public.User.Username() == "" {
			public.User = nil
		}
	}
	return public.String()
}

// trust makes a file with CA certificates the only ones that Redis's certificate may be issued by.
func (a *address) trust(ca string) (content []byte, err error) {
	if ca == "" {
		return nil, nil
	}
	if a.option.TLSConfig == nil {
		return nil, errors.New("tls_ca needs TLS; write the URL as rediss://…")
	}
	if content, err = os.ReadFile(ca); err != nil { //nolint:gosec // the configuration names it
		return nil, fmt.Errorf("tls_ca: %w", err)
	}
	a.option.TLSConfig.RootCAs = x509.NewCertPool()
	if !a.option.TLSConfig.RootCAs.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("tls_ca: %s contains no certificate; give a PEM file", ca)
	}
	return content, nil
}

// complete sets what the URL does not say.
func (a *address) complete() {
	a.option.Dialer.Timeout = dialTimeout
	a.option.Dialer.KeepAlive = pingEvery
	a.option.ConnWriteTimeout = silence
	a.option.ReadBufferEachConn, a.option.WriteBufferEachConn = bufferSize, bufferSize
	a.option.DisableCache = true                          // nothing is read twice
	a.option.DisableRetry = true                          // requests go on without Redis instead
	a.option.ClientSetInfo = rueidis.DisableClientSetInfo // one command less that a user of Redis needs
	a.option.PipelineMultiplex = -1                       // one connection, however many processors
	a.option.BlockingPoolSize = maxCalls                  // one is in use for each log that is followed, so one for each list of backends
	a.option.BlockingPoolCleanup = time.Minute
	if a.option.Sentinel.MasterSet != "" {
		a.option.Sentinel.Dialer = a.option.Dialer
		a.option.Sentinel.TLSConfig = a.option.TLSConfig
		a.option.Sentinel.TopologyRefreshInterval = 5 * time.Second
	}
}

// within returns the options for connections that end with ctx, and that bring no more than the limits.
func (a *address) within(ctx context.Context, l limits) rueidis.ClientOption {
	option := a.option
	network := "tcp"
	if a.option.DialCtxFn != nil {
		network = "unix"
	}
	option.DialCtxFn = func(dialing context.Context, to string, dialer *net.Dialer, conf *tls.Config) (net.Conn, error) {
		dialing, cancel := context.WithTimeout(dialing, dialTimeout)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		var conn net.Conn
		var err error
		if conf != nil {
			conn, err = (&tls.Dialer{NetDialer: dialer, Config: conf}).DialContext(dialing, network, to)
		} else {
			conn, err = dialer.DialContext(dialing, network, to)
		}
		if err != nil {
			return nil, err
		}
		return &boundConn{Conn: &limitedConn{Conn: conn, limits: l}, release: context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
	}
	return option
}

// boundConn is a connection that is closed when a context ends.
type boundConn struct {
	net.Conn
	release func() bool
}

// Close closes the connection before its context ends.
func (c *boundConn) Close() error {
	c.release()
	return c.Conn.Close()
}
