package headers_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/internal/headers"
)

// TestAddressed: forwarding headers are used only if they come from a trusted proxy and are valid. In a list, the value
// of the nearest proxy is used.
func TestAddressed(t *testing.T) {
	for _, test := range []struct {
		name        string
		trusted     bool
		tls         bool
		proto, host []string
		want        string
	}{
		{"plain", false, false, nil, nil, "http://here.example"},
		{"TLS", false, true, nil, nil, "https://here.example"},
		{"not trusted", false, false, []string{"https"}, []string{"there.example"}, "http://here.example"},
		{"trusted", true, false, []string{"https"}, []string{"there.example"}, "https://there.example"},
		{"a list", true, true, []string{"https, http"}, []string{"forged.example, there.example"}, "http://there.example"},
		{
			"two lines", true, true,
			[]string{"https", "http"},
			[]string{"forged.example", "there.example"},
			"http://there.example",
		},
		{"invalid", true, true, []string{"javascript"}, []string{"a b"}, "https://here.example"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "http://here.example/", nil)
			if test.tls {
				r.TLS = new(tls.ConnectionState)
			}
			r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey,
				map[string]any{caddyhttp.TrustedProxyVarKey: test.trusted}))
			if test.proto != nil {
				r.Header["X-Forwarded-Proto"], r.Header["X-Forwarded-Host"] = test.proto, test.host
			}
			scheme, host := headers.Addressed(r)
			if got := scheme + "://" + host; got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// TestAskedURL: what a trusted proxy asks about is used, and what others send is not.
func TestAskedURL(t *testing.T) {
	for _, test := range []struct {
		name    string
		trusted bool
		headers http.Header
		want    string
	}{
		{"no proxy", true, nil, "/sent?a=b"},
		{"not trusted", false, http.Header{"X-Forwarded-Uri": {"/asked"}}, "/sent?a=b"},
		{"Traefik", true, http.Header{"X-Forwarded-Uri": {"/as%2Fked,1?a=b,c"}}, "/as%2Fked,1?a=b,c"},
		{"nginx", true, http.Header{"X-Original-Uri": {"/asked?x"}}, "/asked?x"},
		{"ingress-nginx", true, http.Header{"X-Original-Url": {"https://app.example.com/asked?x"}}, "/asked?x"},
		{"two lines", true, http.Header{"X-Forwarded-Uri": {"/forged", "/asked"}}, "/asked"},
		{"another host", true, http.Header{"X-Forwarded-Uri": {"//evil.example.net/x"}}, "/x"},
		{"no path", true, http.Header{"X-Forwarded-Uri": {"javascript:alert(1)"}}, "/"},
		{"not a URL", true, http.Header{"X-Forwarded-Uri": {"/%zz"}}, "/"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "http://here.example/sent?a=b", nil)
			r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey,
				map[string]any{caddyhttp.TrustedProxyVarKey: test.trusted}))
			r.Header = test.headers
			if got := headers.AskedURL(r).RequestURI(); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
