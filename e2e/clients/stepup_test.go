package clients

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// stepUp asks clients for openid at first, and then requires all.
const stepUp = "schemes bearer\nrequire scope all\n"

// startStepUp is startMCP with an MCP server that requires a scope for which clients do not ask at first.
func startStepUp(t *testing.T) *mcpWorld {
	t.Helper()
	recipe := strings.NewReplacer("schemes bearer\n", stepUp, "scopes all", "scopes openid").Replace(recipes(t, "An MCP server"))
	if !strings.Contains(recipe, stepUp) || !strings.Contains(recipe, "scopes openid") {
		t.Fatal("the recipe has changed")
	}
	return startMCPWith(t, frappe16, recipe, plainERP, "backend test_tokens SITE")
}

// TestStepUp: a client whose token lacks a scope asks its user for a new authorization that names the scope, and gets in.
func TestStepUp(t *testing.T) {
	w := startStepUp(t)
	session, err := w.connect(w.preregistered("secret-of-a-client"))
	if err != nil {
		t.Fatal(err)
	}
	if said, err := says(t, session); said != greeting {
		t.Errorf("the tool said %q, %v", said, err)
	}
	var scopes [][]string
	for _, issued := range w.oauth.scopesIssued() { // the SDK gives them no order
		scopes = append(scopes, slices.Sorted(slices.Values(strings.Fields(issued))))
	}
	if len(scopes) != 2 || !slices.Equal(scopes[0], []string{"openid"}) || !slices.Equal(scopes[1], []string{"all", "openid"}) {
		t.Errorf("the tokens have the scopes %q", scopes)
	}
}

// typeScript is what the client of the TypeScript SDK says.
type typeScript struct {
	Said     string   // by the tool
	Error    string   // instead
	Scopes   []string // of the authorizations that it asked its user for
	Requests []string // method, path and status
}

// TestTypeScript: the official TypeScript SDK comes from the 401 to the description of the resource, from there to the ERP, and
// with a token to the tool. If a scope is missing, a client that has no refresh token asks its user for it. With a refresh token,
// the SDK refreshes instead, which gives a token with the same scopes.
func TestTypeScript(t *testing.T) {
	dir, node := javaScript(t)
	const refused = "POST mcp.example.com/mcp 403"
	discovery := []string{
		"POST mcp.example.com/mcp 401",
		"GET mcp.example.com/.well-known/oauth-protected-resource/mcp 200",
		"GET erp.example.com/.well-known/oauth-authorization-server 200",
		"POST erp.example.com" + method + "register_client 201",
		"POST erp.example.com/login 200",
		"GET erp.example.com" + method + "authorize 302",
		"GET erp.example.com" + method + "approve 302",
		"GET mcp.example.com/.well-known/oauth-protected-resource/mcp 200",
		"GET erp.example.com/.well-known/oauth-authorization-server 200",
		"POST erp.example.com" + method + "get_token 200",
	}
	for _, test := range []struct {
		name        string
		start       func(t *testing.T) *mcpWorld
		keeps       string
		said, wrong string
		asked       []string // scopes
		then        string   // what follows the discovery
	}{
		{"connects", func(t *testing.T) *mcpWorld { return startMCP(t, frappe16, plainERP) }, "refresh", greeting, "", []string{"all"}, "POST mcp.example.com/mcp 200"},
		{"connects, beside Basic", startMCPBesideBasic, "refresh", greeting, "", []string{"all"}, "POST mcp.example.com/mcp 200"},
		{"a scope is missing, without refresh tokens", startStepUp, "no-refresh", greeting, "", []string{"openid", "all"}, refused},
		{"a scope is missing, with refresh tokens", startStepUp, "refresh", "", "Server returned 403 after trying upscoping", []string{"openid"}, refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, id := test.start(t), ""
			want := append(slices.Clone(discovery), test.then)
			if test.then == refused { // one that registers itself gets no more scopes than it asked for at first
				id = w.oauth.add(oauthClient{redirect: secureCallback, scope: "all openid"})
				want = slices.DeleteFunc(want, func(request string) bool { return strings.Contains(request, "register_client") })
			}
			got := w.runTypeScript(t, node, filepath.Join(dir, "mcp.js"), test.keeps, id)
			if got.Said != test.said || !strings.Contains(got.Error, test.wrong) || (got.Error == "") != (test.wrong == "") || !slices.Equal(got.Scopes, test.asked) {
				t.Errorf("got %+v", got)
			}
			if len(got.Requests) < len(want) || !slices.Equal(got.Requests[:len(want)], want) {
				t.Errorf("it sent\n%s\nwant\n%s", strings.Join(got.Requests, "\n"), strings.Join(want, "\n"))
			}
			for _, token := range w.oauth.tokensIssued() {
				if strings.Contains(w.caddy.Logs(), token) {
					t.Error("a token is in the log")
				}
			}
		})
	}
	t.Run("without the ERP", func(t *testing.T) {
		w := startMCP(t, frappe16, plainERP)
		w.oauth.erp.Close()
		got := w.runTypeScript(t, node, filepath.Join(dir, "mcp.js"), "refresh", "", "access-token")
		if !strings.HasPrefix(got.Error, "503 ") || len(got.Scopes) > 0 {
			t.Errorf("got %+v", got)
		}
	})
}

// runTypeScript runs the script with the redirect URI of a client and further arguments.
func (w *mcpWorld) runTypeScript(t *testing.T, node, script string, args ...string) (said typeScript) {
	t.Helper()
	runner := &api{t: t, root: filepath.Join(w.storage, "pki/authorities/local/root.crt")}
	out := runner.runs(node, append([]string{script, w.at, w.port, secureCallback}, args...)...)
	if err := json.Unmarshal(out, &said); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return said
}
