package clients

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// Where the authorization server sends the user's browser back to: a client on the user's machine, and one on a server. Nobody
// listens there: the browser of these tests does not follow.
const (
	callback       = "http://127.0.0.1:33418/"
	secureCallback = "https://assistant.example.net/callback"
)

// recipes are the first Caddyfiles of sections of docs/recipes.md.
func recipes(t *testing.T, titles ...string) string {
	t.Helper()
	var found strings.Builder
	for _, title := range titles {
		found.WriteString(testutil.Blocks(t, testutil.Section(t, "docs/recipes.md", title), "caddyfile")[0])
	}
	return found.String()
}

// mcpWorld is an ERP, an MCP server, and Caddy in front of both, with the recipes of the docs.
type mcpWorld struct {
	t      *testing.T
	oauth  *oauth
	caddy  *testutil.Caddy
	client *http.Client // reaches Caddy by every name
	at     string       // the MCP server's URL

	port, storage string // as runCaddy returns them
}

// greeting is what the tool of the MCP server says.
const greeting = "The tool says hello."

func newMCPServer(t *testing.T) *httptest.Server {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "stock", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "hello"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: greeting}}}, nil, nil
	})
	// Its own protection is for servers that browsers reach on this machine, without a proxy.
	options := &mcp.StreamableHTTPOptions{DisableLocalhostProtection: true}
	s := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, options))
	t.Cleanup(s.Close)
	return s
}

// startMCP runs Caddy with a recipe for the MCP server, and one for the ERP.
func startMCP(t *testing.T, version, recipeForERP string) *mcpWorld {
	t.Helper()
	return startMCPWith(t, version, recipes(t, "An MCP server"), recipeForERP, "backend site SITE")
}

// startMCPWith runs Caddy with a Caddyfile for the MCP server, whose backend becomes another; SITE in it is the ERP.
func startMCPWith(t *testing.T, version, recipe, recipeForERP, backend string) *mcpWorld {
	t.Helper()
	w := &mcpWorld{t: t, oauth: &oauth{t: t, version: version, issuer: "https://erp.example.com"}, at: "https://mcp.example.com/mcp"}
	site := newERPWith(t, w.oauth)
	doubles.Store(site.URL, w.oauth)
	t.Cleanup(func() { doubles.Delete(site.URL) })
	caddyfile := strings.NewReplacer(
		"backend site https://erp.example.com", strings.Replace(backend, "SITE", site.URL, 1)+"\ncache {\nbearer_ttl 0\n}",
		"reverse_proxy localhost:9000", "reverse_proxy "+newMCPServer(t).URL,
		"reverse_proxy 127.0.0.1:8080", "reverse_proxy "+site.URL, "backend site http://127.0.0.1:8080", "backend site "+site.URL,
	).Replace(recipe + recipeForERP)
	w.caddy, w.port, w.storage = runCaddy(t, caddyfile, "mcp.example.com", "erp.example.com")
	w.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext:     dialOnly(w.port),
	}}
	w.client.CheckRedirect = func(*http.Request, []*http.Request) error { return nil } // the SDK's own check asks the DNS
	t.Cleanup(w.client.CloseIdleConnections)
	return w
}

// startMCPBesideBasic is startMCP with a server that accepts API keys by Basic, too.
func startMCPBesideBasic(t *testing.T) *mcpWorld {
	t.Helper()
	const both = "schemes basic bearer\n"
	recipe := strings.Replace(recipes(t, "An MCP server"), "schemes bearer\n", both, 1)
	if !strings.Contains(recipe, both) {
		t.Fatal("the recipe has changed")
	}
	return startMCPWith(t, frappe16, recipe, plainERP, "backend site SITE")
}

// plainERP is a Caddy in front of a Frappe that serves everything itself.
const plainERP = "erp.example.com {\nreverse_proxy 127.0.0.1:8080\n}\n"

// asUser does what a user's browser does with the URL of an authorization: it comes to the login page, logs in, and follows
// the redirects until the client has its code.
func (w *mcpWorld) asUser(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	browser := &http.Client{Transport: w.client.Transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	at := args.URL
	for range 10 {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
		if err != nil {
			return nil, err
		}
		resp, err := browser.Do(r)
		if err != nil {
			return nil, err
		}
		resp.Body.Close()
		location, err := resp.Location()
		if err != nil && r.URL.Path == "/login" {
			resp, err = browser.PostForm("https://erp.example.com/login", url.Values{"cmd": {"login"}, "usr": {alice}, "pwd": {password}})
			if err != nil {
				return nil, err
			}
			resp.Body.Close()
			location, err = url.Parse(r.URL.Query().Get("redirect-to"))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", r.URL, resp.Status, err)
		}
		if to := location.String(); strings.HasPrefix(to, callback) || strings.HasPrefix(to, secureCallback) {
			return &auth.AuthorizationResult{Code: location.Query().Get("code"), State: location.Query().Get("state")}, nil
		}
		at = location.String()
	}
	return nil, errors.New("too many redirects")
}

// connect connects an MCP client.
func (w *mcpWorld) connect(config *auth.AuthorizationCodeHandlerConfig) (*mcp.ClientSession, error) {
	w.t.Helper()
	config.Client, config.AuthorizationCodeFetcher = w.client, w.asUser
	handler, err := auth.NewAuthorizationCodeHandler(config)
	if err != nil {
		w.t.Fatal(err)
	}
	session, err := mcp.NewClient(&mcp.Implementation{Name: "assistant", Version: "1"}, nil).Connect(w.t.Context(),
		&mcp.StreamableClientTransport{Endpoint: w.at, HTTPClient: w.client, OAuthHandler: handler, MaxRetries: -1}, nil)
	if err == nil {
		w.t.Cleanup(func() { session.Close() })
	}
	return session, err
}

// preregistered is the configuration of a client that has the id of an OAuth Client of the ERP, and its secret, if it has one.
func (w *mcpWorld) preregistered(secret string) *auth.AuthorizationCodeHandlerConfig {
	credentials := &oauthex.ClientCredentials{ClientID: w.oauth.add(oauthClient{redirect: callback, secret: secret, scope: "all openid"})}
	if secret != "" {
		credentials.ClientSecretAuth = &oauthex.ClientSecretAuth{ClientSecret: secret}
	}
	return &auth.AuthorizationCodeHandlerConfig{PreregisteredClient: credentials, RedirectURL: callback}
}

// registersItself is the configuration of a client that knows nothing of the ERP.
func registersItself(callback string) *auth.AuthorizationCodeHandlerConfig {
	return &auth.AuthorizationCodeHandlerConfig{DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{
		Metadata: &oauthex.ClientRegistrationMetadata{ClientName: "assistant", RedirectURIs: []string{callback}},
	}}
}

// says calls the tool, and returns what it says.
func says(t *testing.T, session *mcp.ClientSession) (string, error) {
	t.Helper()
	result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "hello"})
	if err != nil {
		return "", err
	}
	text, ok := result.Content[0].(*mcp.TextContent)
	if !ok {
		t.Fatalf("the tool said %#v", result.Content)
	}
	return text.Text, nil
}

// TestMCP: a client that knows only the URL of an MCP server finds the ERP by itself, gets an access token there for its user,
// and calls a tool.
func TestMCP(t *testing.T) {
	const description = "An MCP server before Frappe 16"
	withID := func(w *mcpWorld) *auth.AuthorizationCodeHandlerConfig { return w.preregistered("") }
	withSecret := func(w *mcpWorld) *auth.AuthorizationCodeHandlerConfig { return w.preregistered("secret-of-a-client") }
	onServer := func(*mcpWorld) *auth.AuthorizationCodeHandlerConfig { return registersItself(secureCallback) }
	onDesktop := func(*mcpWorld) *auth.AuthorizationCodeHandlerConfig { return registersItself(callback) }
	for _, test := range []struct {
		name    string
		version string
		recipe  string // in front of the ERP
		client  func(w *mcpWorld) *auth.AuthorizationCodeHandlerConfig
		wrong   string
	}{
		{"Frappe 16, a client that registers itself", frappe16, "", onServer, ""},
		{"Frappe 16, a client on the desktop that registers itself", frappe16, "", onDesktop, "redirect_uris must be https"},
		{"Frappe 16, a client with an id and a secret", frappe16, "", withSecret, ""},
		{"Frappe 16 behind frappe-auth, a client with an id and a secret", frappe16, "In front of Frappe itself", withSecret, ""},
		{"Frappe 16.4.1, a client that registers itself", frappe16x4, "", onServer, "401 Unauthorized"},
		{"Frappe 16.4.1, a client on the desktop that registers itself", frappe16x4, "", onDesktop, "redirect_uris must be https"},
		{"Frappe 16.4.1, a client with an id and a secret", frappe16x4, "", withSecret, "401 Unauthorized"},
		{"Frappe 16.4.1 with the description, a client with an id", frappe16x4, description, withID, ""},
		{"Frappe 16.4.1 with the description, a client with an id and a secret", frappe16x4, description, withSecret, ""},
		{"Frappe 15, a client with an id", frappe15, description, withID, ""},
		{"Frappe 15, a client with an id and a secret", frappe15, description, withSecret, ""},
		{"Frappe 15, a client that wants to register itself", frappe15, description, onServer, "no configured client registration methods are supported"},
		{"Frappe 15 without the description", frappe15, "", withID, "does not implement PKCE"},
	} {
		t.Run(test.name, func(t *testing.T) {
			erp := plainERP
			if test.recipe != "" {
				erp = recipes(t, test.recipe)
			}
			w := startMCP(t, test.version, erp)
			session, err := w.connect(test.client(w))
			if test.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), test.wrong) {
					t.Errorf("got %v, want %s", err, test.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if said, err := says(t, session); said != greeting {
				t.Errorf("the tool said %q, %v", said, err)
			}
			w.gaveOneToken()
		})
	}
}

// TestMCPBesideBasic: a client finds the ERP also if the first challenge is Basic.
func TestMCPBesideBasic(t *testing.T) {
	w := startMCPBesideBasic(t)
	session, err := w.connect(w.preregistered("secret-of-a-client"))
	if err != nil {
		t.Fatal(err)
	}
	if said, err := says(t, session); said != greeting {
		t.Errorf("the tool said %q, %v", said, err)
	}
	w.gaveOneToken()
}

// gaveOneToken checks that the client got one access token, which is in no log.
func (w *mcpWorld) gaveOneToken() {
	w.t.Helper()
	tokens := w.oauth.tokensIssued()
	if len(tokens) != 1 || strings.Contains(w.caddy.Logs(), tokens[0]) {
		w.t.Errorf("%d access tokens were issued, or one is in the log", len(tokens))
	}
}

// TestMCPRefused: a token that is revoked makes the client ask its user again. If nobody can tell whether the token is good,
// the client says so and keeps it.
func TestMCPRefused(t *testing.T) {
	w := startMCP(t, frappe16, plainERP)
	session, err := w.connect(w.preregistered("secret-of-a-client"))
	if err != nil {
		t.Fatal(err)
	}
	w.oauth.revoke()
	if said, err := says(t, session); said != greeting || len(w.oauth.tokensIssued()) != 2 {
		t.Errorf("after a revocation the tool said %q, %v, with %d tokens", said, err, len(w.oauth.tokensIssued()))
	}
	w.oauth.erp.Close()
	if _, err := says(t, session); err == nil || !strings.Contains(err.Error(), "Service Unavailable") {
		t.Errorf("without the ERP: %v", err)
	}
	if tokens := w.oauth.tokensIssued(); len(tokens) != 2 {
		t.Errorf("without the ERP the client has %d tokens", len(tokens))
	}
}
