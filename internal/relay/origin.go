package relay

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// hostName matches the name of a host or an IPv4 address, in lower case.
var hostName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

const maxHost = 253

// Origin returns the origin of a scheme and a host, as browsers write it. ok is false if the host can be none.
func Origin(scheme, host string) (origin string, ok bool) {
	u := url.URL{Scheme: scheme, Host: host}
	port, err := directive.Port(&u)
	name := strings.ToLower(u.Hostname())
	switch {
	case err != nil, scheme != "http" && scheme != "https":
		return "", false
	case strings.Contains(name, ":"):
		if net.ParseIP(name) == nil {
			return "", false
		}
		name = "[" + name + "]"
	case len(name) > maxHost || !hostName.MatchString(name):
		return "", false
	}
	if port == 0 || scheme == "https" && port == 443 || scheme == "http" && port == 80 {
		return scheme + "://" + name, true
	}
	return fmt.Sprintf("%s://%s:%d", scheme, name, port), true
}

// withoutPort returns an origin without its port. Browsers send cookies to all ports of a host.
func withoutPort(origin string) string {
	scheme, host, _ := strings.Cut(origin, "://")
	if end := strings.LastIndexByte(host, ':'); end > strings.LastIndexByte(host, ']') {
		host = host[:end]
	}
	return scheme + "://" + host
}

// ParseERP returns the origin of the ERP from the URL of its host.
func ParseERP(address string) (origin string, err error) {
	const write = "write the scheme and the host, such as https://erp.example.com"
	u, err := url.Parse(address)
	ok := false
	if err == nil && u.User == nil {
		origin, ok = Origin(u.Scheme, u.Host)
	}
	if !ok {
		return "", fmt.Errorf("%q is not the URL of a host; %s", address, write)
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return "", fmt.Errorf("%q has more than a host; the path of the login page stands in the block of that host, so %s",
			address, write)
	}
	return origin, nil
}

// CheckHost returns an error if no host that may log in can have this name. It is a host, one with a port, or a wildcard
// for one label.
func CheckHost(name string) error {
	const write = "write a host, such as grafana.example.com, app.example.com:8443 or *.apps.example.com"
	host := strings.TrimPrefix(name, "*.")
	switch origin, ok := Origin("https", host); {
	case strings.Contains(name, "://"):
		return fmt.Errorf("%q has a scheme; %s", name, write)
	case !ok, host != name && (net.ParseIP(strings.Trim(host, "[]")) != nil || !strings.Contains(host, ".")):
		return fmt.Errorf("%q can be no host; %s", name, write)
	case strings.HasSuffix(host, ":443"), strings.HasSuffix(host, ":80"):
		return errors.New(name + " has the port that a host without a port has; leave it out")
	case "https://"+host != origin:
		return fmt.Errorf("%q is not written as browsers send it; write %s", name,
			strings.TrimSuffix(name, host)+strings.TrimPrefix(origin, "https://"))
	}
	return nil
}

// Hosts are the hosts that may log in.
type Hosts []string

// Allow reports whether one of the hosts has an origin. From an ERP over https, no session goes to a host over http.
func (h Hosts) Allow(origin, erpScheme string) bool {
	scheme, host, _ := strings.Cut(origin, "://")
	if erpScheme == "https" && scheme != "https" {
		return false
	}
	for _, allowed := range h {
		if allowed == host {
			return true
		}
		suffix, wildcard := strings.CutPrefix(allowed, "*")
		label, under := strings.CutSuffix(host, suffix)
		if wildcard && under && label != "" && !strings.Contains(label, ".") {
			return true
		}
	}
	return false
}
