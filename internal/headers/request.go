package headers

import (
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ClientIP returns the client's address as determined by Caddy, which uses forwarding headers only if they come from a
// trusted proxy.
func ClientIP(r *http.Request) string {
	address, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return address
}

// Early reports whether a request is TLS early data whose handshake has not completed, here or at a proxy in front (RFC
// 8470): anybody may have recorded and sent it again, from any address.
func Early(r *http.Request) bool {
	return r.TLS != nil && !r.TLS.HandshakeComplete || r.Header.Get("Early-Data") == "1"
}

// Addressed returns the scheme and the host that the client asked for. Like Caddy's reverse_proxy, it uses forwarding
// headers only if they come from a trusted proxy.
func Addressed(r *http.Request) (scheme, host string) {
	scheme, host = "https", r.Host
	if r.TLS == nil {
		scheme = "http"
	}
	if !fromTrustedProxy(r) {
		return scheme, host
	}
	if sent := lastValue(r.Header, "X-Forwarded-Proto"); sent == "http" || sent == "https" {
		scheme = sent
	}
	if sent := lastValue(r.Header, "X-Forwarded-Host"); sent != "" && httpguts.ValidHostHeader(sent) {
		host = sent
	}
	return scheme, host
}

// fromTrustedProxy reports whether the request comes from one of Caddy's trusted_proxies.
func fromTrustedProxy(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

// lastValue returns the last value of a list in a header: the one that the nearest proxy added.
func lastValue(header http.Header, name string) string {
	values := header[name]
	if len(values) == 0 {
		return ""
	}
	last := values[len(values)-1]
	return strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
}

// OriginalURL returns the URL that the client sent, before any handler rewrote it.
func OriginalURL(r *http.Request) *url.URL {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		return original.URL
	}
	return r.URL
}

// AskedURL returns the URL of the page that the client asked for. If a trusted proxy asks whether a request may pass,
// this is the URL of that request: X-Forwarded-Uri is what Traefik and Caddy's forward_auth send, X-Original-Uri what
// nginx's documentation shows, and X-Original-Url, with scheme and host, what ingress-nginx sends. Only the path and
// the query of it count. For any other request it is OriginalURL.
func AskedURL(r *http.Request) *url.URL {
	if fromTrustedProxy(r) {
		for _, name := range []string{"X-Forwarded-Uri", "X-Original-Uri", "X-Original-Url"} {
			values := r.Header[name]
			if len(values) == 0 {
				continue
			}
			// The last is the one of the nearest proxy. A URL may contain commas.
			asked, err := url.Parse(values[len(values)-1])
			if err != nil || asked.Opaque != "" {
				return &url.URL{Path: "/"}
			}
			return &url.URL{Path: asked.Path, RawPath: asked.RawPath, RawQuery: asked.RawQuery}
		}
	}
	return OriginalURL(r)
}
