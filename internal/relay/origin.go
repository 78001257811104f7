package relay

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

const maxHost = 253

// Origin returns the origin of a scheme and a host, as browsers write it. ok is false if the host can be none.
func Origin(scheme, host string) (origin string, ok bool) {
	name, port, ok := splitHost(scheme, host)
	if !ok {
		return "", false
	}
	if port != "" {
		port = ":" + port
	}
	return scheme + "://" + name + port, true
}

// placeOf returns the origin without its port. Browsers send cookies to all ports of a host.
func placeOf(scheme, host string) (place string, ok bool) {
	name, _, ok := splitHost(scheme, host)
	return scheme + "://" + name, ok
}

// splitHost returns the name and the port of a host, as browsers write them. port is empty if it is the default one of
// the scheme.
func splitHost(scheme, host string) (name, port string, ok bool) {
	name = strings.ToLower(host)
	if end := strings.LastIndexByte(name, ':'); end > strings.LastIndexByte(name, ']') {
		number, err := directive.ParsePort(name[end+1:])
		if err != nil {
			return "", "", false
		}
		name = name[:end]
		if port = strconv.Itoa(int(number)); scheme == "https" && number == 443 || scheme == "http" && number == 80 {
			port = ""
		}
	}
	valid := validName(name)
	if address, bracket := strings.CutPrefix(name, "["); bracket {
		address, bracket = strings.CutSuffix(address, "]")
		valid = bracket && strings.Contains(address, ":") && net.ParseIP(address) != nil
	}
	return name, port, valid && (scheme == "http" || scheme == "https")
}

// validName reports whether a text is a name of labels in lower case, or an IPv4 address.
func validName(name string) bool {
	if len(name) > maxHost {
		return false
	}
	start := true // of a label
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_':
			start = false
		case c == '-' && !start && i+1 < len(name) && name[i+1] != '.':
		case c == '.' && !start:
			start = true
		default:
			return false
		}
	}
	return !start
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

// CheckHost returns an error if no host that may log in can have this name. It is a host, one with a port, or a
// wildcard for one label.
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
