package redis

import (
	"cmp"
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
	"sync/atomic"
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

// parameters lists what may stand behind the `?` of a URL. Everything else that the library understands has an option,
// or would weaken the connection.
var parameters = []string{"addr", "client_name", "db", "master_set"}

// address is how to reach Redis, with all placeholders expanded.
type address struct {
	option    rueidis.ClientOption // but for the server
	network   string               // as net.Dial has it
	servers   []string             // of the URL: at least one
	masterSet string               // the primary's name, if the servers are Sentinels
	sentinel  login
	slot      uint16 // of the keys, in a Cluster
	shown     string // the URL without the password
	key       string // a digest that names the address among others
}

// login is how to log in.
type login struct{ user, password string }

func (a *address) login() login { return login{a.option.Username, a.option.Password} }

// String returns the URL without the password.
func (a *address) String() string { return a.shown }

// public returns an error without the password. A server that does not know the command AUTH or HELLO repeats its
// arguments.
func (a *address) public(err error) error {
	if err == nil {
		return nil
	}
	text, _, found := strings.Cut(err.Error(), ", with args beginning with")
	for _, password := range []string{a.option.Password, a.sentinel.password} {
		if password != "" && strings.Contains(text, password) {
			text, found = "the server refused the login in its own words, which have the password in them", true
		}
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
	const escape = "; write one such as " + exampleURL + ", and special characters of a password as %23 and the " +
		"like, or use the option password"
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("the URL of Redis cannot be parsed" + escape)
	case u.Scheme != "unix" && strings.Contains(u.Path+u.RawQuery, "@"):
		return nil, errors.New("the URL of Redis has an @ behind its " +
			"host" + escape) // what precedes it is part of a password
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
			return nil, errors.New("the path of a Unix socket must begin with a slash; write one such as " +
				"unix:///run/redis/redis.sock")
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

// access are the options that say how to reach Redis, the same for a store and a feed.
type access struct {
	url, password                  *string
	sentinelUser, sentinelPassword *string
	ca, cert, key, serverName      *string
}

// options returns the options of a Caddyfile.
func (a access) options() map[string]directive.Option {
	options := make(map[string]directive.Option)
	for name, value := range a.byName() {
		if name != "url" {
			options[name] = directive.Text(value)
		}
	}
	return options
}

func (a access) byName() map[string]*string {
	return map[string]*string{
		"url": a.url, "password": a.password, "sentinel_user": a.sentinelUser, "sentinel_password": a.sentinelPassword,
		"tls_ca": a.ca, "tls_cert": a.cert, "tls_key": a.key, "tls_server_name": a.serverName,
	}
}

// check returns an error if the options cannot be right. A URL with placeholders is checked when these are known.
func (a access) check() error {
	if err := checkURL(*a.url); err != nil {
		return err
	}
	switch {
	case *a.cert != "" && *a.key == "":
		return errors.New("tls_cert needs tls_key, a PEM file with the key of that certificate")
	case *a.key != "" && *a.cert == "":
		return errors.New("tls_key needs tls_cert, a PEM file with the certificate of that key")
	case *a.sentinelUser != "" && *a.sentinelPassword == "":
		return errors.New("sentinel_user needs sentinel_password")
	case strings.Contains(*a.url, "{"):
		return nil
	}
	u, err := parseURL(*a.url)
	if err != nil {
		return err
	}
	return a.fit(u)
}

// fit returns an error if an option has no effect with a URL.
func (a access) fit(u *url.URL) error {
	if u.Scheme != "rediss" && u.Scheme != "valkeys" {
		for _, name := range []string{"tls_ca", "tls_cert", "tls_server_name"} {
			if *a.byName()[name] != "" {
				return errors.New(name + " needs TLS; write the URL as rediss://…")
			}
		}
	}
	if *a.sentinelPassword != "" && u.Query().Get("master_set") == "" {
		return errors.New("sentinel_password needs Sentinels; add ?master_set=<name> to the URL, with the name of " +
			"the primary that they watch")
	}
	return nil
}

// expanded returns the options without placeholders.
func (a access) expanded() (access, error) {
	var values [8]string
	copied := access{&values[0], &values[1], &values[2], &values[3], &values[4], &values[5], &values[6], &values[7]}
	to := copied.byName()
	for name, value := range a.byName() {
		var err error
		if *to[name], err = expand(name, *value); err != nil {
			return access{}, err
		}
	}
	return copied, copied.check()
}

// newAddress expands and checks the options that say how to reach Redis. prefix is what the names of all keys begin
// with, in braces, by which a Cluster chooses the node.
func newAddress(configured access, prefix string) (*address, error) {
	with, err := configured.expanded()
	if err != nil {
		return nil, err
	}
	u, err := parseURL(*with.url)
	if err != nil {
		return nil, err
	}
	if err := with.fit(u); err != nil {
		return nil, err
	}
	a := &address{slot: slotOf(prefix)}
	if a.option, err = rueidis.ParseURL(*with.url); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "redis: ") +
			" in the URL of Redis; write one such as " + exampleURL)
	}
	if *with.password != "" {
		if a.option.Password != "" {
			return nil, errors.New("the password is given twice, in the URL and as an option; remove it from the URL")
		}
		a.option.Password = *with.password
	}
	if a.option.Username != "" && a.option.Password == "" {
		return nil, fmt.Errorf("user %s has no password; add the option password", a.option.Username)
	}
	content, err := a.secure(with)
	if err != nil {
		return nil, err
	}
	a.shown = shown(u)
	a.sentinel = login{user: *with.sentinelUser, password: cmp.Or(*with.sentinelPassword, a.option.Password)}
	a.key, err = directive.Fingerprint(*with.url, a.option.Password, a.sentinel.user, a.sentinel.password,
		content, *with.serverName, prefix)
	if err != nil {
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

// secure sets what a connection with TLS trusts and shows. It returns the contents of the files.
func (a *address) secure(with access) (contents [3][]byte, err error) {
	conf := a.option.TLSConfig
	if conf == nil {
		return contents, nil // check has seen that no option needs it
	}
	for i, file := range []struct{ option, path string }{
		{"tls_ca", *with.ca}, {"tls_cert", *with.cert}, {"tls_key", *with.key},
	} {
		if file.path == "" {
			continue
		}
		if contents[i], err = os.ReadFile(file.path); err != nil {
			return contents, fmt.Errorf("%s: %w", file.option, err)
		}
	}
	ca, cert, key := contents[0], contents[1], contents[2]
	if ca != nil {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(ca) {
			return contents, fmt.Errorf("tls_ca: %s contains no certificate; give a PEM file", *with.ca)
		}
	}
	if cert != nil {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return contents, fmt.Errorf("tls_cert %s, tls_key %s: %s; give two PEM files, with a certificate and its "+
				"key", *with.cert, *with.key,
				strings.TrimPrefix(err.Error(), "tls: "))
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	conf.ServerName = cmp.Or(*with.serverName, conf.ServerName)
	return contents, nil
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
	a.option.ForceSingleClient = true                     // servers.go follows Sentinels and a Cluster
	a.option.PipelineMultiplex = -1                       // one connection, however many processors
	a.option.BlockingPoolSize = maxCalls                  // one is in use for each log that is followed
	a.option.BlockingPoolCleanup = time.Minute
	a.servers, a.option.InitAddress = a.option.InitAddress, nil
	a.masterSet, a.option.Sentinel.MasterSet = a.option.Sentinel.MasterSet, ""
	a.network = "tcp"
	if a.option.DialCtxFn != nil {
		a.network = "unix"
	}
}

// link is a connection to one server, which the library replaces when it is lost.
type link struct {
	client rueidis.Client
	where  string       // as the URL, a Sentinel or a node names it
	remote atomic.Value // its address, a string
	local  atomic.Bool  // it is on this machine

	dialled atomic.Uint32 // how many connections were made
}

// connect connects to a server. The link ends with ctx, and brings no more than the limits. once is set if it must not
// be replaced when it is lost.
func (a *address) connect(ctx context.Context, to string, as login, l limits, once bool) (*link, error) {
	made := &link{where: to}
	option := a.option
	option.InitAddress = []string{to}
	option.Username, option.Password = as.user, as.password
	if l == sentinelLimits {
		option.SelectDB = 0
	}
	var dialed atomic.Bool
	option.DialCtxFn = func(
		dialing context.Context, to string, dialer *net.Dialer, conf *tls.Config,
	) (net.Conn, error) {
		if dialed.Swap(true) && once {
			return nil, errConnectionLost
		}
		dialing, cancel := context.WithTimeout(dialing, dialTimeout)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		var conn net.Conn
		var err error
		if conf != nil {
			conn, err = (&tls.Dialer{NetDialer: dialer, Config: conf}).DialContext(dialing, a.network, to)
		} else {
			conn, err = dialer.DialContext(dialing, a.network, to)
		}
		if err != nil {
			return nil, err
		}
		made.remote.Store(conn.RemoteAddr().String())
		made.local.Store(isLocal(conn))
		made.dialled.Add(1)
		return &boundConn{Conn: guard(conn, l), release: context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
	}
	var err error
	if made.client, err = rueidis.NewClient(option); err != nil {
		if made.client != nil {
			made.client.Close()
		}
		return nil, err
	}
	return made, nil
}

// isLocal reports whether a connection ends on this machine. The kernel then takes the same address for both ends.
func isLocal(conn net.Conn) bool {
	remote, ok := conn.RemoteAddr().(*net.TCPAddr)
	local, ok2 := conn.LocalAddr().(*net.TCPAddr)
	return !ok || !ok2 || remote.IP.IsLoopback() || remote.IP.Equal(local.IP)
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
