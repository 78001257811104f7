package site

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// proxyAdvice says how to reach a site without the proxy that the environment names.
const proxyAdvice = "write network_proxy none in the block of transport http, or name the host in NO_PROXY"

// fromEnvironment reports whether a transport takes its proxy from the environment. Caddy's transport does so unless it
// names one, or none.
func fromEnvironment(transport json.RawMessage) bool {
	var conf struct {
		Protocol     string          `json:"protocol"`
		NetworkProxy json.RawMessage `json:"network_proxy"`
		ForwardProxy string          `json:"forward_proxy_url"`
	}
	return json.Unmarshal(transport, &conf) == nil && conf.Protocol == "http" && conf.NetworkProxy == nil &&
		conf.ForwardProxy == ""
}

// EnvironmentProxy returns the host of the proxy through which the environment makes programs reach a URL. It is empty
// if there is none, as for this machine. Its errors hold nothing of the environment, which may have a password.
func EnvironmentProxy(u *url.URL) (string, error) {
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u})
	if err != nil {
		return "", errors.New("HTTP_PROXY or HTTPS_PROXY is not the URL of a proxy")
	}
	if proxy == nil {
		return "", nil
	}
	return proxy.Host, nil
}

// findProxies notes through which proxy of the environment each address is reached. A proxy reads what is sent without
// TLS, so a plain address is an error: no key and no secret goes to a proxy that the configuration does not name.
func (s *Backend) findProxies() error {
	if !fromEnvironment(s.TransportRaw) {
		return nil
	}
	for i := range s.addresses {
		a := &s.addresses[i]
		if a.socket != "" {
			continue
		}
		var err error
		if a.proxy, err = EnvironmentProxy(&a.url); err != nil {
			return fmt.Errorf("address %s: %w; %s", a, err, proxyAdvice)
		}
		switch {
		case a.proxy == "":
		case a.url.Scheme == "http":
			return fmt.Errorf("address %s: the proxy %s from HTTP_PROXY would read every API key and secret; %s", a, a.proxy,
				proxyAdvice)
		case Private(a.url.Hostname()):
			s.logger.Warn("a site of a private network is asked through a proxy from the environment",
				zap.Stringer("address", a), zap.String("proxy", a.proxy), zap.String("advice", proxyAdvice))
		default:
			s.logger.Info("the site is asked through a proxy from the environment", zap.Stringer("address", a),
				zap.String("proxy", a.proxy))
		}
	}
	return nil
}

// exceptSockets returns a choice of proxies that chooses none for a Unix socket. The server at the socket would get a
// request for a proxy, with the proxy's password.
func exceptSockets(choose func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(r *http.Request) (*url.URL, error) {
		if dial, ok := reverseproxy.GetDialInfo(r.Context()); ok && dial.Network == "unix" {
			return nil, nil
		}
		return choose(r)
	}
}

// examineProxy says through which proxy of the environment an address is reached.
func (c request) examineProxy(name string) []frappe.Finding {
	switch {
	case c.address.proxy == "":
		return nil
	case Private(c.address.url.Hostname()):
		warning := frappe.Warning(name, "asked through the proxy %s from HTTPS_PROXY, although its host is private",
			c.address.proxy)
		return []frappe.Finding{warning.Advise(proxyAdvice)}
	}
	return []frappe.Finding{frappe.OK(name, "asked through the proxy %s from HTTPS_PROXY", c.address.proxy)}
}

// Private reports whether a host is this machine or probably belongs to a private network: by its address, or by its
// name, which has no dot or one of the suffixes that no public name has.
func Private(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	private := []string{".home.arpa", ".internal", ".intranet", ".lan", ".local", ".localhost", ".test"}
	return !strings.Contains(host, ".") ||
		slices.ContainsFunc(private, func(suffix string) bool { return strings.HasSuffix(host, suffix) })
}
