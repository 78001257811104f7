package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// Access tokens that backend test_people knows.
const (
	allOfMCP      = "Authorization: Bearer all-of-mcp"
	openIDOfOther = "Authorization: Bearer openid-of-other"
)

// TestRequireScopeAndClient: which credential meets which requirement, and what the challenge of a refusal says.
func TestRequireScopeAndClient(t *testing.T) {
	const (
		session   = "Cookie: sid=" + loggedIn
		forbidden = `Bearer realm="Frappe", error="insufficient_scope"`
		basic     = `Basic realm="Frappe", charset="UTF-8"`

		openIDAsked = "\nprotected_resource {\nauthorization_server https://erp.example.com\n" +
			"resource https://mcp.example.com\nscopes openid\n}"
	)
	for _, test := range []struct {
		name, options, header string
		status                int
		challenge             string
	}{
		{"scope, a token with it", "require scope all", allOfMCP, 200, ""},
		{"scope, a token without it", "require scope all", openIDOfOther, 403, forbidden + `, scope="all"`},
		{"one of two scopes", "require scope all openid", openIDOfOther, 200, ""},
		{
			"two scopes, one of them there", "require scope all\nrequire scope openid", openIDOfOther, 403,
			forbidden + `, scope="all openid"`,
		},
		{"two scopes, both there", "require scope all\nrequire scope openid", allOfMCP, 200, ""},
		{"scope, an API key", "require scope all", tokenHeader, 200, ""},
		{"scope, an API key by Basic", "require scope all", "Authorization: " + testutil.AliceBasic, 200, ""},
		{"scope, a session", "require scope all", session, 200, ""},
		{"scope, no credential", "require scope all", "X: y", 401, basic},
		{
			"scope, a script without a credential", "require scope all", "Sec-Fetch-Dest: empty", 401,
			`Bearer realm="Frappe", scope="all"`,
		},
		{
			"scope, an unknown token", "require scope all", "Authorization: Bearer x", 401,
			`Bearer realm="Frappe", error="invalid_token", scope="all"|` + basic,
		},
		{"scope and role", "require scope all\nrequire role Auditor", allOfMCP, 403, forbidden + `, scope="all"`},
		{
			"more scopes than clients ask for, no credential", "require scope all" + openIDAsked, "X: y", 401,
			basic + `|Bearer realm="Frappe", scope="openid", ` +
				`resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource"`,
		},
		{
			"more scopes than clients ask for", "require scope all" + openIDAsked, openIDOfOther, 403,
			forbidden + `, scope="all", resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource"`,
		},
		{
			"no scope, a client that asks for one", "require client mcp" + openIDAsked, openIDOfOther, 403,
			forbidden + `, resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource"`,
		},
		{"client, its token", "require client x mcp", allOfMCP, 200, ""},
		{"client, another's token", "require client mcp", openIDOfOther, 403, forbidden},
		{"client, an API key", "require client mcp", tokenHeader, 403, ""},
		{"client, a session", "require client mcp", session, 403, ""},
		{"client, anonymous", "require client mcp\nanonymous", "X: y", 401, basic},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := runPeople(t, "schemes bearer basic token session\n"+test.options)
			for range 2 { // the second comes from the cache
				got := testutil.Get(t, "http://"+address, test.header)
				if got.Status != test.status || strings.Join(got.Header["Www-Authenticate"], "|") != test.challenge {
					t.Errorf("%d %q", got.Status, got.Header["Www-Authenticate"])
				}
			}
		})
	}
}

// TestProtectedResourceMetadata: where the metadata is, what it contains, and how the challenge points to it.
func TestProtectedResourceMetadata(t *testing.T) {
	const (
		path  = "/.well-known/oauth-protected-resource"
		proxy = "X-Forwarded-Proto: https"
	)
	defaults := "protected_resource {\nauthorization_server https://erp.example.com\n}"
	mcp := "protected_resource {\nauthorization_server https://erp.example.com\n" +
		"authorization_server https://two.example.com\nresource https://mcp.example.com/mcp\nscopes all openid\n}"
	for _, test := range []struct {
		name, matcher, options, trusted string
		headers                         []string
		paths, not                      []string
		metadata                        string // with HOST in place of the host of the request
		challenge                       string
	}{
		{
			name: "defaults", options: defaults,
			paths: []string{path, path + "/"}, not: []string{path + "/mcp", "/", path + "x"},
			metadata:  `{"resource":"http://HOST","authorization_servers":["https://erp.example.com"],"bearer_methods_supported":["header"]}`,
			challenge: `Bearer realm="Frappe", resource_metadata="http://HOST` + path + `"`,
		},
		{
			name: "everything", options: mcp,
			paths: []string{path + "/mcp", path}, not: []string{path + "/other", "/mcp"},
			metadata:  `{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://erp.example.com","https://two.example.com"],"scopes_supported":["all","openid"],"bearer_methods_supported":["header"]}`,
			challenge: `Bearer realm="Frappe", scope="all openid", resource_metadata="https://mcp.example.com` + path + `/mcp"`,
		},
		{
			name: "scopes that are required", options: "require scope all\n" + defaults,
			paths: []string{path}, not: []string{"/"},
			metadata:  `{"resource":"http://HOST","authorization_servers":["https://erp.example.com"],"scopes_supported":["all"],"bearer_methods_supported":["header"]}`,
			challenge: `Bearer realm="Frappe", scope="all", resource_metadata="http://HOST` + path + `"`,
		},
		{
			name: "a matcher that leaves it out", matcher: "/mcp", options: mcp,
			paths: []string{path + "/mcp", path}, not: []string{"/mcp"},
			metadata:  `{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://erp.example.com","https://two.example.com"],"scopes_supported":["all","openid"],"bearer_methods_supported":["header"]}`,
			challenge: `Bearer realm="Frappe", scope="all openid", resource_metadata="https://mcp.example.com` + path + `/mcp"`,
		},
		{
			name: "the default server", options: "backend site https://erp.example.com\nprotected_resource",
			paths: []string{path}, not: []string{"/"},
			metadata:  `{"resource":"http://HOST","authorization_servers":["https://erp.example.com"],"bearer_methods_supported":["header"]}`,
			challenge: `Bearer realm="Frappe", resource_metadata="http://HOST` + path + `"`,
		},
		{
			name: "a client that makes up where it is", options: defaults,
			headers: []string{proxy, "X-Forwarded-Host: evil.example.net"},
			paths:   []string{path}, not: []string{"/"},
			metadata:  `{"resource":"http://HOST","authorization_servers":["https://erp.example.com"],"bearer_methods_supported":["header"]}`,
			challenge: `Bearer realm="Frappe", resource_metadata="http://HOST` + path + `"`,
		},
		{
			name: "a trusted proxy", options: defaults, trusted: "127.0.0.1",
			headers: []string{proxy, "X-Forwarded-Host: evil.example.net, mcp.example.com"},
			paths:   []string{path}, not: []string{"/"},
			metadata:  `{"resource":"https://mcp.example.com","authorization_servers":["https://erp.example.com"],"bearer_methods_supported":["header"]}`,
			challenge: `Bearer realm="Frappe", resource_metadata="https://mcp.example.com` + path + `"`,
		},
		{
			name: "a trusted proxy that sends nonsense", options: defaults, trusted: "127.0.0.1",
			headers: []string{"X-Forwarded-Proto: gopher", `X-Forwarded-Host: "\`},
			paths:   []string{path}, not: []string{"/"},
			metadata:  `{"resource":"http://HOST","authorization_servers":["https://erp.example.com"],"bearer_methods_supported":["header"]}`,
			challenge: `Bearer realm="Frappe", resource_metadata="http://HOST` + path + `"`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := testutil.FreeAddress(t)
			global := ""
			if test.trusted != "" {
				global = "{\nservers {\ntrusted_proxies static " + test.trusted + "\n}\n}\n"
			}
			site := strings.Replace(caddyfileOf(address, "backend test_people\nschemes bearer\n"+test.options), "frappe_auth {",
				"frappe_auth "+test.matcher+" {", 1)
			testutil.RunCaddy(t, global+site)
			inPlace := strings.NewReplacer("HOST", address)
			for _, path := range test.paths {
				got := testutil.Get(t, "http://"+address+path, test.headers...)
				if got.Status != 200 || strings.TrimSpace(got.Body) != inPlace.Replace(test.metadata) ||
					!json.Valid([]byte(got.Body)) {
					t.Errorf("%s: %d %s", path, got.Status, got.Body)
				}
				if got.Header.Get("Access-Control-Allow-Origin") != "*" || got.Header.Get("Content-Type") != "application/json" {
					t.Errorf("%s: %v", path, got.Header)
				}
				preflight := testutil.RequestOver(t, testutil.Client, http.MethodOptions, "http://"+address+path,
					"Origin: https://inspector.example.com", "Access-Control-Request-Method: GET",
					"Access-Control-Request-Headers: mcp-protocol-version")
				if preflight.Status != 204 || preflight.Header.Get("Access-Control-Allow-Headers") != "*" {
					t.Errorf("%s: preflight %d %v", path, preflight.Status, preflight.Header)
				}
			}
			for _, path := range test.not {
				got := testutil.Get(t, "http://"+address+path, append(test.headers, "Origin: https://inspector.example.com")...)
				if test.matcher != "" && path != test.matcher {
					continue
				}
				if got.Status != 401 || got.Header.Get("Www-Authenticate") != inPlace.Replace(test.challenge) {
					t.Errorf("%s: %d %q", path, got.Status, got.Header["Www-Authenticate"])
				}
				if got.Header.Get("Access-Control-Expose-Headers") != "WWW-Authenticate" {
					t.Errorf("%s: a script cannot read the challenge: %v", path, got.Header)
				}
			}
		})
	}
}

// TestProtectedResourceWithoutHost: a request without a host gets no resource_metadata, as there is no URL for it.
func TestProtectedResourceWithoutHost(t *testing.T) {
	address := testutil.FreeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	testutil.RunCaddy(t, caddyfileOf(":"+port, "backend test_people\nschemes bearer\nprotected_resource {\n"+
		"authorization_server https://erp.example.com\n}"))
	for _, path := range []string{"/", "/.well-known/oauth-protected-resource"} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.Header.Get("Www-Authenticate"); resp.StatusCode != 401 || got != `Bearer realm="Frappe"` {
			t.Errorf("%s: %d %q", path, resp.StatusCode, got)
		}
	}
}

// TestSeveralProtectedResources: each handler serves the metadata of its path, and the first one that of the host.
func TestSeveralProtectedResources(t *testing.T) {
	address := testutil.FreeAddress(t)
	one := "{\nbackend test_people\nprotected_resource {\nauthorization_server https://erp.example.com\n" +
		"resource https://example.com/%[1]s\n}\n}\n"
	testutil.RunCaddy(t, "http://"+address+" {\nroute {\nfrappe_auth /a/* "+fmt.Sprintf(one, "a")+"frappe_auth /b/* "+
		fmt.Sprintf(one, "b")+"respond passed\n}\n}")
	for path, want := range map[string]string{"": "a", "/a": "a", "/b": "b"} {
		got := testutil.Get(t, "http://"+address+"/.well-known/oauth-protected-resource"+path)
		if !strings.Contains(got.Body, `"resource":"https://example.com/`+want+`"`) {
			t.Errorf("%q: %d %s", path, got.Status, got.Body)
		}
	}
}

// TestProtectedResourcesInHandles: a 401 leads to where requests for the description reach the handler, also after a
// reload that lets them reach it elsewhere.
func TestProtectedResourcesInHandles(t *testing.T) {
	address := testutil.FreeAddress(t)
	auth := func(path string) string {
		return "frappe_auth {\nbackend test_people\nschemes bearer\nprotected_resource {\n" +
			"authorization_server https://erp.example.com\nresource http://" + address + path + "\n}\n}\nrespond passed\n"
	}
	site := "http://" + address + " {\nhandle_path /a/* {\n" + auth("/a/mcp") + "}\nhandle /b/* {\n" + auth("/b/mcp/") + "}\n%s}"
	c := testutil.RunCaddy(t, fmt.Sprintf(site, ""))
	for _, test := range []struct{ more, path, resource, description string }{
		{"", "/a/mcp", "/a/mcp", "/a/mcp/.well-known/oauth-protected-resource"},
		{"", "/b/mcp", "/b/mcp/", "/b/mcp/.well-known/oauth-protected-resource"},
		{
			"handle /.well-known/* {\n" + auth("/a/mcp") + "}\n", "/a/mcp", "/a/mcp",
			"/.well-known/oauth-protected-resource/a/mcp",
		},
	} {
		c.Load(fmt.Sprintf(site, test.more))
		refused := testutil.Get(t, "http://"+address+test.path).Header.Get("Www-Authenticate")
		if want := `resource_metadata="http://` + address + test.description + `"`; !strings.Contains(refused, want) {
			t.Errorf("%s: %s, want %s", test.path, refused, want)
		}
		got := testutil.Get(t, "http://"+address+test.description)
		if !strings.Contains(got.Body, `"resource":"http://`+address+test.resource+`"`) {
			t.Errorf("%s: %d %s", test.path, got.Status, got.Body)
		}
	}
}

// runPeople runs a site with backend test_people and these options, which answers with the user and the credential that
// it gets.
func runPeople(t *testing.T, options string) (address string) {
	t.Helper()
	address = testutil.FreeAddress(t)
	testutil.RunCaddy(t, caddyfileOf(address, "backend test_people\n"+options))
	return address
}
