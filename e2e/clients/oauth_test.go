package clients

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// The versions of Frappe that the double of an ERP answers as: two that were recorded, and 16 as its source says since client
// authentication is enforced (frappe/frappe#41546).
const (
	frappe15   = "15.44.2"
	frappe16x4 = "16.4.1"
	frappe16   = "16"
)

// oauth is the authorization server that a Frappe site is.
type oauth struct {
	t       testing.TB
	erp     *erp
	version string
	issuer  string // as browsers reach the site

	mu      sync.Mutex
	clients map[string]oauthClient // by id
	codes   map[string]url.Values  // the query of the authorization, by code
	tokens  map[string]url.Values  // the query of the authorization, by access token
	refresh map[string]string      // the access token, by refresh token
	issued  []string               // access tokens
	scopes  []string               // the scopes of each of issued
}

type oauthClient struct {
	secret, redirect, scope string
}

const method = "/api/method/frappe.integrations.oauth2."

func (o *oauth) register(mux *http.ServeMux) {
	o.clients, o.codes, o.tokens = make(map[string]oauthClient), make(map[string]url.Values), make(map[string]url.Values)
	o.refresh = make(map[string]string)
	mux.HandleFunc("GET "+method+"authorize", o.authorize)
	mux.HandleFunc(method+"approve", o.approve)
	mux.HandleFunc("POST "+method+"get_token", o.getToken)
	if o.version == frappe15 {
		mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", method+"openid_configuration")
			w.WriteHeader(http.StatusMovedPermanently)
		})
		mux.HandleFunc("GET "+method+"openid_configuration", func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusOK, o.metadata("code", "token", "code id_token", "code token id_token", "id_token", "id_token token"))
		})
		return
	}
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		metadata := o.recorded("oauth-authorization-server-16.http")
		answer(w, http.StatusOK, metadata)
	})
	mux.HandleFunc("POST "+method+"register_client", o.registerClient)
}

// recorded returns a JSON document that 16.4.1 sent, with this site's address.
func (o *oauth) recorded(file string) (document map[string]any) {
	_, body, _ := strings.Cut(string(testutil.ReadFile(o.t, "testdata/oauth/"+file)), "\r\n\r\n")
	if err := json.Unmarshal([]byte(strings.ReplaceAll(body, "http://erp.localhost", o.issuer)), &document); err != nil {
		o.t.Error(err)
	}
	return document
}

// metadata is what 15.44.2 says of itself.
func (o *oauth) metadata(responseTypes ...string) map[string]any {
	return map[string]any{
		"issuer":                   o.issuer,
		"authorization_endpoint":   o.issuer + method + "authorize",
		"token_endpoint":           o.issuer + method + "get_token",
		"revocation_endpoint":      o.issuer + method + "revoke_token",
		"introspection_endpoint":   o.issuer + method + "introspect_token",
		"userinfo_endpoint":        o.issuer + method + "openid_profile",
		"response_types_supported": responseTypes,
	}
}

func (o *oauth) registerClient(w http.ResponseWriter, r *http.Request) {
	var sent struct {
		Name         string   `json:"client_name"`
		Scope        string   `json:"scope"`
		RedirectURIs []string `json:"redirect_uris"`
	}
	if err := json.NewDecoder(r.Body).Decode(&sent); err != nil || len(sent.RedirectURIs) == 0 || !strings.HasPrefix(sent.RedirectURIs[0], "https://") {
		answer(w, http.StatusBadRequest, o.recorded("register-loopback-16.http"))
		return
	}
	registered := o.recorded("register-16.http")
	client := oauthClient{secret: random(), redirect: sent.RedirectURIs[0], scope: cmp.Or(sent.Scope, registered["scope"].(string))}
	registered["client_id"], registered["client_secret"] = o.add(client), client.secret
	registered["client_name"], registered["redirect_uris"], registered["scope"] = sent.Name, sent.RedirectURIs, client.scope
	answer(w, http.StatusCreated, registered)
}

// add makes an OAuth Client, and returns its id.
func (o *oauth) add(c oauthClient) (id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	id = random()
	o.clients[id] = c
	return id
}

func (o *oauth) authorize(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	o.mu.Lock()
	client, known := o.clients[query.Get("client_id")]
	o.mu.Unlock()
	switch {
	case o.erp.User(r) == "Guest":
		to := o.issuer + r.URL.RequestURI()
		http.Redirect(w, r, "/login?"+url.Values{"redirect-to": {to}}.Encode(), http.StatusFound)
	case !known || query.Get("redirect_uri") != client.redirect || query.Get("response_type") != "code":
		answer(w, http.StatusBadRequest, map[string]any{"description": "Mismatching redirect URI.", "status_code": 400, "error": "invalid_request"})
	case !subset(query.Get("scope"), client.scope):
		answer(w, http.StatusBadRequest, map[string]any{"description": "", "status_code": 400, "error": "invalid_scope"})
	default: // the OAuth Client skips the page that asks the user
		http.Redirect(w, r, method+"approve?"+r.URL.RawQuery, http.StatusFound)
	}
}

// subset reports whether all scopes are among others.
func subset(scopes, of string) bool {
	return !slices.ContainsFunc(strings.Fields(scopes), func(scope string) bool { return !slices.Contains(strings.Fields(of), scope) })
}

func (o *oauth) approve(w http.ResponseWriter, r *http.Request) {
	if o.erp.User(r) == "Guest" {
		answer(w, http.StatusForbidden, map[string]string{"exc_type": "PermissionError"})
		return
	}
	query := r.URL.Query()
	query.Set("user", o.erp.User(r))
	code := random()
	o.mu.Lock()
	o.codes[code] = query
	o.mu.Unlock()
	http.Redirect(w, r, query.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {query.Get("state")}}.Encode(), http.StatusFound)
}

func (o *oauth) getToken(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	id := r.PostFormValue("client_id")
	name, secret, isBasic := r.BasicAuth()
	if isBasic && o.version == frappe16 {
		id = name
	}
	switch client := o.clients[id]; {
	case isBasic && o.version != frappe16: // it takes it for an API key
		answer(w, http.StatusUnauthorized, map[string]string{"exc_type": "AuthenticationError"})
		return
	case o.version == frappe16 && (isBasic != (client.secret != "") || secret != client.secret):
		answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	asked := o.granted(r, id)
	if asked == nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	token, refresh := random(), random()
	o.tokens[token], o.refresh[refresh] = asked, token
	o.issued, o.scopes = append(o.issued, token), append(o.scopes, asked.Get("scope"))
	answer(w, http.StatusOK, map[string]any{
		"access_token": token, "expires_in": 3600, "token_type": "Bearer", "scope": asked.Get("scope"), "refresh_token": refresh,
	})
}

// granted returns the query of the authorization that a client presents the code or the refresh token of. A refresh takes the
// place of the old token, with the same scopes.
func (o *oauth) granted(r *http.Request, id string) url.Values {
	if r.PostFormValue("grant_type") == "refresh_token" {
		old := o.refresh[r.PostFormValue("refresh_token")]
		asked := o.tokens[old]
		delete(o.refresh, r.PostFormValue("refresh_token"))
		delete(o.tokens, old)
		return asked
	}
	code := r.PostFormValue("code")
	asked := o.codes[code]
	delete(o.codes, code)
	digest := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if r.PostFormValue("grant_type") != "authorization_code" || asked == nil || asked.Get("client_id") != id ||
		asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(digest[:]) || asked.Get("redirect_uri") != r.PostFormValue("redirect_uri") {
		return nil
	}
	return asked
}

// user returns the user of an access token, or Guest.
func (o *oauth) user(r *http.Request) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if asked := o.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]; asked != nil {
		return asked.Get("user")
	}
	return "Guest"
}

// scopesIssued returns the scopes of every access token that clients got, in order.
func (o *oauth) scopesIssued() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.scopes)
}

// revoke makes all access tokens bad.
func (o *oauth) revoke() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.tokens)
}

// tokensIssued returns all access tokens that clients got.
func (o *oauth) tokensIssued() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.issued)
}
