package command

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-frappe/frappe-auth/internal/relay"
)

// loginSecret is the environment variable with the secret of logins.
const loginSecret = "FRAPPE_LOGIN_SECRET" //nolint:gosec // a name

// erpHost is the host where users of another host log in.
type erpHost struct {
	scheme, name string
	loginFor     string // that host, with its port if it has one of its own
}

// newERPHost returns the host of the flag --login, for the host of --address; nil if the flag is not set. If the secret
// is not set, it is a random one for the checks.
func newERPHost(name, address string) (*erpHost, error) {
	if name == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	if err := relay.CheckHost(name); err != nil {
		return nil, fmt.Errorf("--login: %w", err)
	}
	parsed, err := httpcaddyfile.ParseAddress(address)
	if err != nil || parsed.Host == "" {
		return nil, errors.New("--login: also give the host whose users log in there, such as --address files.example.com")
	}
	erp := &erpHost{scheme: "https", name: name}
	if parsed.Scheme == "http" || parsed.Port == "80" {
		erp.scheme = "http"
	}
	host := parsed.Host
	if parsed.Port != "" {
		host += ":" + parsed.Port
	}
	origin, ok := relay.Origin(erp.scheme, host)
	if erp.loginFor = strings.TrimPrefix(origin, erp.scheme+"://"); !ok {
		erp.loginFor = parsed.Host // a wildcard
	}
	if err := relay.CheckHost(erp.loginFor); err != nil {
		return nil, fmt.Errorf("--address: %w", err)
	}
	if os.Getenv(loginSecret) == "" {
		err = os.Setenv(loginSecret, rand.Text()+rand.Text())
	}
	return erp, err
}

func (e *erpHost) url() string { return e.scheme + "://" + e.name }

// address is what the Caddyfile calls the host.
func (e *erpHost) address() string {
	if e.scheme == "http" {
		return e.url()
	}
	return e.name
}

// block returns the lines of the host's block, in front of the site that a proposal asks.
func (e *erpHost) block(p proposal, word func(string) string) ([]string, error) {
	u, err := url.Parse(p.url)
	switch {
	case err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "":
		return nil, errors.New("--login: Caddy is in front of the site then; give --site the URL of its web server " +
			"without a path, such as http://127.0.0.1:8000")
	case u.Host == e.name:
		return nil, fmt.Errorf("--login: Caddy cannot be in front of %s and ask it there; give --site the URL of the "+
			"web server behind it, such as http://127.0.0.1:8000, and --site-name", e.name)
	}
	lines := []string{
		"# The ERP's host. Its users log in here, also for the host below. If another server has this name, let it send",
		"# /.frappe-auth/ to Caddy.",
		word(e.address()) + " {",
		"\tfrappe_auth /.frappe-auth/login {",
		"\t\tbackend site " + word(p.url),
	}
	proxy := []string{"\treverse_proxy " + word(u.Scheme+"://"+u.Host)}
	if p.siteName != "" {
		lines[len(lines)-1] += " {"
		lines = append(lines, "\t\t\tsite_name "+word(p.siteName), "\t\t}")
	}
	if p.siteName != "" && p.siteName != e.name { // Host stays, as Frappe compares it with where a login leads
		proxy = []string{proxy[0] + " {", "\t\theader_up X-Frappe-Site-Name " + word(p.siteName), "\t}"}
	}
	lines = append(lines,
		"\t\tschemes session",
		"\t\tlogin /login",
		"\t\tlogin_for "+word(e.loginFor),
		"",
		"\t\t# Set this variable where Caddy runs, to what `openssl rand -hex 32` prints.",
		"\t\tlogin_secret {env."+loginSecret+"}",
		"\t}")
	return append(append(lines, proxy...), "}", ""), nil
}
