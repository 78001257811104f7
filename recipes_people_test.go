package frappeauth_test

import (
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// TestRecipeOfTokens: the recipe for scopes and clients does what it says, with a backend that knows these.
func TestRecipeOfTokens(t *testing.T) {
	text := recipeText(t, "recipes: Only some access tokens")
	backend := regexp.MustCompile(`backend database [^\n]*\n`)
	if !backend.MatchString(text) {
		t.Fatal("it has no backend")
	}
	text = backend.ReplaceAllString(text, "backend test_people\n")
	onlySomeTokens(run(t, strings.ReplaceAll(text, "4f2c8a9e1b", "mcp")))
}

// dashboards: who is logged in to the ERP passes, and nobody else.
func dashboards(r *recipe) {
	const cookie = "Cookie: sid=" + loggedIn
	r.get("erp.example.com/bi/1", 200, `/bi/1 by "alice@example.com"`, cookie, "X-Frappe-User: Administrator")
	r.get("erp.example.com/bi/1", 200, `/bi/1 by "alice@example.com"`, byAlice)
	r.get("erp.example.com/bi/1", 401, "", "X-Frappe-User: Administrator")
	r.get("erp.example.com/bi/1", 401, "", cookie, "Authorization: token x:y")
	r.get("erp.example.com/bi/1", 401, "", "Cookie: sid="+deadSession)
	r.get("erp.example.com/bi/1", 403, "", byBob)
	got := r.get("erp.example.com/bi/1?a=b", 302, "", "Sec-Fetch-Mode: navigate")
	if location := got.Header.Get("Location"); location != "/login?redirect-to=%2Fbi%2F1%3Fa%3Db" {
		r.t.Errorf("sent to %s", location)
	}
	r.expect(http.MethodPost, "erp.example.com/bi/1", 403, "", cookie, "Origin: https://evil.example.net", "Sec-Fetch-Site: cross-site")
	r.get("erp.example.com/login", 200, "page of erp.example.com", "Sec-Fetch-Mode: navigate")
}

func onlySomeTokens(r *recipe) {
	r.get("mcp.example.com/", 200, `/ by ""`, allOfMCP)
	got := r.get("mcp.example.com/", 403, "", openIDOfOther)
	if challenge := got.Header.Get("Www-Authenticate"); !strings.Contains(challenge, `error="insufficient_scope", scope="all"`) {
		r.t.Error(challenge)
	}
	r.get("mcp.example.com/.well-known/oauth-protected-resource", 200, "…")
}

// mcpServer: a client comes from the 401 to the metadata, from there to the ERP, and with a token to the server.
func mcpServer(r *recipe) {
	got := r.get("mcp.example.com/mcp", 401, "", "Origin: https://inspector.example.com")
	const metadata = `resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp"`
	if challenge := got.Header.Get("Www-Authenticate"); !strings.Contains(challenge, metadata) || !strings.Contains(challenge, `scope="all"`) {
		r.t.Error(challenge)
	}
	for _, path := range []string{"/mcp", ""} {
		got := r.get("mcp.example.com/.well-known/oauth-protected-resource"+path, 200, "…")
		if !strings.Contains(got.Body, `"resource":"https://mcp.example.com/mcp"`) || !strings.Contains(got.Body, `"authorization_servers":["http`) {
			r.t.Error(got.Body)
		}
	}
	r.expect(http.MethodOptions, "mcp.example.com/mcp", 204, "", "Origin: https://inspector.example.com", "Access-Control-Request-Method: POST")
	r.get("mcp.example.com/mcp", 200, `/mcp by ""`, "Authorization: "+aliceBearer)
}

// inFrontOfFrappe: API keys are checked, people and OAuth clients with a secret of their own are left to Frappe.
func inFrontOfFrappe(r *recipe) {
	r.get("erp.example.com/api/method/x", 200, `{"message":"alice@example.com"}`, byAlice)
	r.get("erp.example.com/api/method/x", 401, "", wrongSecret)
	r.get("erp.example.com/app", 200, "page of erp.example.com", "Cookie: sid=x")
	for _, path := range []string{"assets/x.js", "files/x.png", "socket.io/?EIO=4"} {
		r.get("erp.example.com/"+path, 200, "nginx of erp.example.com")
	}
	for _, method := range []string{"get_token", "revoke_token"} {
		client := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("4f2c8a9e1b:secret-of-"+method))
		got := r.expect(http.MethodPost, "erp.example.com/api/method/frappe.integrations.oauth2."+method, 401, "…", client)
		if !strings.Contains(got.Body, "AuthenticationError") {
			r.t.Errorf("%s: Frappe was not asked about the client: %q", method, got.Body)
		}
		r.get("erp.example.com/api/method/x?"+method, 401, "", client)
	}
}
