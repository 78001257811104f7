package command

import (
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile" // the adapter

	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/site"
)

// Modules that a Caddy has only if it was built with them.
const (
	databaseModule = "http.frappe_auth.backends.database"
	feedModule     = "http.frappe_auth.feeds.frappe_events"
)

func builtIn(module string) bool {
	_, err := caddy.GetModule(module)
	return err == nil
}

// target is where Frappe is: the URL of a site, or a site of a bench.
type target struct {
	url      string
	siteName string
	bench    *bench
}

// proposal is a Caddyfile that could work.
type proposal struct {
	database string // directory of the site; empty: ask the site over HTTP
	url      string
	siteName string
	feed     string // URL of Redis; empty: suggest no feed
}

// proposals returns the Caddyfiles that could work for a target, the best first.
func (t target) proposals() (all []proposal) {
	if t.bench == nil {
		return []proposal{{url: t.url, siteName: t.siteName}}
	}
	feed := ""
	if builtIn(feedModule) {
		feed = feedURL(t.bench.redisQueue)
	}
	if builtIn(databaseModule) {
		all = append(all, proposal{database: filepath.Join(t.bench.sitesDir, t.siteName), feed: feed})
	}
	return append(all, proposal{
		url: "http://127.0.0.1:" + strconv.Itoa(t.bench.webserverPort), siteName: t.siteName, feed: feed,
	})
}

// redisDatabase matches the path of a Redis URL: the number of a database.
var redisDatabase = regexp.MustCompile(`^(/[0-9]*)?$`)

// feedURL returns the URL of a Redis, or a placeholder if the URL could contain a password.
func feedURL(redis string) string {
	if redis == "" {
		return ""
	}
	u, err := url.Parse(redis)
	if err != nil || u.Host == "" || !redisDatabase.MatchString(u.Path) || u.User != nil || u.RawQuery != "" ||
		u.Fragment != "" {
		return "{env.FRAPPE_REDIS_URL}"
	}
	return redis
}

// title tells the operator what the proposal uses.
func (p proposal) title() string {
	if p.database != "" {
		return "the database of " + p.database
	}
	title := p.url
	if strings.Contains(title, "@") { // a password could precede it
		title = "the site"
	}
	if p.siteName != "" {
		title += ", site_name " + p.siteName
	}
	return title
}

// direct reports whether a proxy from the environment must not be used: it would read the credentials.
func (p proposal) direct() bool {
	u, err := url.Parse(p.url)
	if err != nil || u.Scheme != "http" {
		return false
	}
	proxy, err := site.EnvironmentProxy(u)
	return proxy != "" || err != nil
}

// caddyfile returns the Caddyfile. It returns an error if a name cannot be written in a Caddyfile.
func (p proposal) caddyfile(address string, erp *erpHost) (string, error) {
	var firstErr error
	word := func(text string) string {
		quoted, err := directive.Word(text)
		if err != nil && firstErr == nil {
			firstErr = err
		}
		return quoted
	}
	lines := []string{"# Written by `caddy frappe-auth init`. Check it at any time with `caddy frappe-auth doctor`.", ""}
	if erp != nil {
		above, err := erp.block(p, word)
		if err != nil {
			return "", err
		}
		lines = append(lines, above...)
	}
	lines = append(lines,
		"# The address that clients use. Replace it with your host name, and Caddy gets a certificate for it.",
		word(address)+" {")
	if address == defaultAddress {
		lines = append(lines,
			"\t# Lets only this machine in. Remove the line when other machines may send requests.",
			"\tbind 127.0.0.1",
			"")
	}
	lines = append(lines, "\tfrappe_auth {")
	if p.database != "" {
		lines = append(lines,
			"\t\t# Looks up credentials in the site's database, and only reads it. Changes in Frappe take effect",
			"\t\t# within a second or two.",
			"\t\tbackend database "+word(p.database))
	} else {
		lines = append(lines,
			"\t\t# Asks the site about each credential that is not cached.",
			"\t\tbackend site "+word(p.url)+" {")
		if p.siteName != "" {
			lines = append(lines, "\t\t\t# The name of the site on its bench.", "\t\t\tsite_name "+word(p.siteName))
		}
		if p.direct() {
			lines = append(lines, "\t\t\t# HTTP_PROXY names a proxy. It is not used, because it would read the credentials.",
				"\t\t\ttransport http {", "\t\t\t\tnetwork_proxy none", "\t\t\t}", "")
		}
		lines = append(lines, "\t\t\t# `require role` needs this. It costs one more request to the site for each lookup.",
			"\t\t\t# roles", "\t\t}")
	}
	if erp != nil {
		lines = append(lines, "",
			"\t\t# Users log in on the ERP's host, and log out at /.frappe-auth/logout. Scripts may send an API key.",
			"\t\tschemes session token",
			"\t\tlogin "+word(erp.url()),
			"\t\tlogin_secret {env."+loginSecret+"}")
	}
	if p.feed != "" {
		lines = append(lines, "",
			"\t\t# Frappe announces changed documents in its Redis. Remove the # to make them take effect at once.")
		shown := p.feed
		if strings.HasPrefix(shown, "{env.") {
			lines = append(lines,
				"\t\t# Set the environment variable to redis_queue of common_site_config.json. It may contain a password.")
		} else {
			shown = word(shown)
		}
		lines = append(lines, "\t\t# feed frappe_events "+shown)
	}
	lines = append(lines,
		"",
		"\t\t# How long a good credential is cached, and so the longest time that a revoked one keeps working.",
		"\t\tcache {",
		"\t\t\tttl 1m",
		"\t\t}",
		"",
		"\t\t# Only users with one of these roles may pass. Without this line, all users of the site may.",
		"\t\t# require role \"System Manager\"",
		"\t}",
		"",
		"\t# The protected site. Write your directives here, such as root and file_server, or reverse_proxy.",
		"\trespond \"You are {http.auth.user.id}.\"",
		"}",
		"")
	return strings.Join(lines, "\n"), firstErr
}

// examineCaddyfile checks a Caddyfile as doctor does.
func (l loader) examineCaddyfile(text string) (report, error) {
	ctx, cancel, err := newContext()
	if err != nil {
		return report{}, err
	}
	defer cancel()
	config, err := adapt(text)
	if err != nil {
		return report{}, err
	}
	return l.examine(ctx, config)
}

func adapt(text string) (configuration, error) {
	raw, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return configuration{}, err
	}
	return parseConfiguration(raw, "Caddyfile")
}
