package docs_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// servesReport are the requests for a recipe that serves files to everybody with a credential.
func servesReport(r *recipe) {
	r.get("files.example.com/report.txt", 200, "report", byAlice)
	r.get("files.example.com/report.txt", 401, "", wrongSecret)
	r.get("files.example.com/report.txt", 401, "")
	r.get("files.example.com/etc/passwd", 404, "", byAlice)
}

// recipes are the requests for each Caddyfile of a page, by its title.
var recipes = map[string]func(r *recipe){
	"README: frappe-auth": servesReport,
	"README: Gunicorn on the same machine": func(r *recipe) {
		r.get("app.example.com/", 200, `/ by ""`, byAlice)
		r.get("app.example.com/", 401, "", wrongSecret)
	},
	"README: A folder for each user":       folders,
	"recipes: A folder for each user":      folders,
	"recipes: Behind another proxy":        servesReport,
	"recipes: More than one backend":       severalBackends,
	"recipes: fail2ban":                    fail2ban,
	"recipes: Several tenants":             tenants,
	"freshness: How long a result is used": servesReport,
	"freshness: Revoke at once":            revokeAtOnce,
	"troubleshooting: What is wrong?": func(r *recipe) {
		r.get("files.example.com/report.txt", 200, "report", byAlice)
		r.get("files.example.com/report.txt", 401, "credential denied", wrongSecret)
		r.get("files.example.com/report.txt", 401, "no credential")
	},
	"operations: Metrics":                         servesReport,
	"operations: Tracing":                         servesReport,
	"database: Backend database":                  nil,          // e2e: TestDocsDatabase
	"redis: Share":                                servesReport, // without a Redis, which keeps nobody out
	"redis: Frappe's own announcements":           servesReport,
	"fleet: One configuration for all":            servesReport, // without a Redis, too
	"recipes: WebSocket, EventSource and <img>":   tokensInQueries,
	"recipes: A token as a WebSocket subprotocol": tokensInSubprotocols, // with Chromium: e2e/clients, TestSubprotocol
	"recipes: An API key in X-Api-Key":            keysInOwnHeader,
	"forward-auth: Asked by another proxy":        askedByStranger, // with proxies: e2e/clients, TestForwardAuth
	// With plugins of others: e2e/plugins
	"recipes-plugins: Limits for each user":                    nil,
	"recipes-plugins: An audit log by user":                    nil,
	"recipes-plugins: A web application firewall":              nil,
	"recipes-plugins: An application that needs its own token": nil,
	"recipes-plugins: One sign-on for several sites":           nil,

	"README: An application that learns the user": func(r *recipe) {
		r.get("app.example.com/", 200, `/ by "alice@example.com"`, byAlice, "X-Frappe-User: Administrator")
		r.get("app.example.com/", 403, "", byBob)
		r.get("app.example.com/", 401, "", "X-Frappe-User: Administrator")
	},
	"recipes: Dashboards behind the login of the ERP": dashboards,
	"login: Log in on any host":                       loginOnAnyHost,
	"login: The ERP is not behind Caddy":              nil, // e2e/clients: TestLoginBehindNginx
	"recipes: Only some access tokens":                nil, // TestRecipeOfTokens
	"recipes: An MCP server":                          mcpServer,
	"recipes: An MCP server before Frappe 16":         nil, // e2e/clients: TestMCP
	"recipes: In front of Frappe itself":              inFrontOfFrappe,
	"recipes: Protect a part of a site": func(r *recipe) {
		r.get("app.example.com/reports/1", 200, `/reports/1 by "alice@example.com"`, byAlice, "X-Frappe-User: Administrator")
		r.get("app.example.com/reports/1", 401, "", "X-Frappe-User: Administrator")
		r.get("app.example.com/other", 200, `/other by ""`, "X-Frappe-User: Administrator")
	},
	"recipes: Protect a part of a site 2": func(r *recipe) {
		r.get("app.example.com/reports/1", 200, `/reports/1 by "alice@example.com"`, byAlice, "X-Frappe-User: Administrator")
		r.get("app.example.com/reports/1", 401, "", "X-Frappe-User: Administrator")
		r.get("app.example.com/other", 200, `/other by ""`, "X-Frappe-User: Administrator")
	},
	"recipes: Tell an application who the user is": func(r *recipe) {
		r.get("app.example.com/index.php", 200, `/index.php by "alice@example.com"`, byAlice,
			"X-Frappe-User: Administrator", "X_Frappe_User: Administrator")
		r.get("app.example.com/index.php", 401, "", "X-Frappe-User: Administrator")
	},
	"recipes: In front of Frappe itself 2": func(r *recipe) {
		r.get("api.example.com/api/method/x", 200, `{"message":"alice@example.com"}`, byAlice)
		r.get("api.example.com/files/x.png", 200, "nginx of erp.example.com", byAlice)
		r.get("api.example.com/api/method/x", 401, "", wrongSecret)
	},
	"recipes: Browsers of other origins": func(r *recipe) {
		preflights(r)
		for _, path := range []string{"", "x"} {
			got := r.get("api.example.com/"+path, 401, "401 Unauthorized", wrongSecret, "Origin: https://app.example.com")
			if got.Header.Get("Access-Control-Allow-Origin") != "https://app.example.com" ||
				got.Header.Get("Vary") == "" || got.Header.Get("Www-Authenticate") == "" {
				r.t.Errorf("a script cannot read the refusal: %v", got.Header)
			}
		}
		got := r.get("api.example.com/", 401, "401 Unauthorized", wrongSecret, "Origin: https://other.example.com")
		if got.Header.Get("Access-Control-Allow-Origin") != "" {
			r.t.Errorf("another origin may read the refusal: %v", got.Header)
		}
	},
	"recipes: Errors as Frappe answers them": errorsAsFrappe,
	"recipes: With other authentication providers": func(r *recipe) {
		servesReport(r)
		const monitor = "Authorization: Basic bW9uaXRvcjptb25pdG9yLXBhc3N3b3Jk" // monitor:monitor-password
		r.get("files.example.com/monitor/status.txt", 200, "status", monitor)
		r.get("files.example.com/monitor/status.txt", 401, "", byAlice)
		before := r.asked.Load()
		r.get("files.example.com/monitor/status.txt", 200, "status", monitor)
		if r.asked.Load() != before {
			r.t.Error("the password was sent to Frappe")
		}
	},
}

// TestRecipes: every Caddyfile of README.md and docs/ does what its page says, with a request that passes and one that
// is refused.
func TestRecipes(t *testing.T) {
	t.Setenv("FRAPPE_WEBHOOK_SECRET", "s3cret")
	t.Setenv("FRAPPE_LOGIN_SECRET", testutil.RandomID())
	t.Setenv("FRAPPE_AUTH_SECRET", strings.Repeat("0123456789abcdef", 4))
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	missing := maps.Clone(recipes)
	for _, e := range examples(t) {
		check, ok := recipes[e.title]
		if !ok {
			t.Errorf("no test sends requests to %q", e.title)
		}
		delete(missing, e.title)
		if formatted := string(caddyfile.Format([]byte(e.text))); formatted != e.text {
			t.Errorf("%s is not formatted as caddy fmt does:\n%s", e.title, formatted)
		}
		if check == nil {
			continue
		}
		t.Run(e.title, func(t *testing.T) {
			r := run(t, e.text)
			check(r)
			if r.passed == 0 || r.refused == 0 {
				t.Errorf("%d requests passed, and %d were refused", r.passed, r.refused)
			}
		})
	}
	if len(missing) > 0 {
		t.Errorf("no page has %q", slices.Sorted(maps.Keys(missing)))
	}
}

// folders: nobody sees the files of others, whatever the path.
func folders(r *recipe) {
	r.get("files.example.com/report.txt", 200, "of alice", byAlice)
	r.get("files.example.com/report.txt", 404, "", byBob)
	r.get("files.example.com/alice@example.com/report.txt", 404, "", byBob)
	r.get("files.example.com/report.txt", 401, "")
	for _, parent := range []string{"/../", "/%2e%2e/", "/..%2f"} {
		path := parent + "alice@example.com/report.txt"
		got := testutil.RawRequest(r.t, r.address,
			"GET "+path+" HTTP/1.1\r\nHost: files.example.com\r\nConnection: close\r\n"+byBob+"\r\n\r\n")
		if got.Status == 200 {
			r.t.Errorf("%s: %q", path, got.Body)
		}
	}
}

// preflights: a preflight passes without a credential, and nothing else does.
func preflights(r *recipe) {
	const origin, method = "Origin: https://app.example.com", "Access-Control-Request-Method: GET"
	got := r.expect(http.MethodOptions, "api.example.com/", 204, "", origin, method)
	if got.Header.Get("Access-Control-Allow-Headers") == "" {
		r.t.Error("the application did not answer the preflight")
	}
	r.get("api.example.com/", 200, `/ by ""`, origin, byAlice)
	r.get("api.example.com/", 401, "…", origin)
	r.expect(http.MethodOptions, "api.example.com/", 401, "…", origin)
}

// fail2ban: the filter matches the lines of refusals that a client is to blame for, with the client's address.
func fail2ban(r *recipe) {
	servesReport(r)
	r.get("files.example.com/report.txt", 401, "", "Authorization: Bearer unknown-token")
	r.Logged("no credential")
	failregex := regexp.MustCompile(`(?m)^failregex = (.*)$`).FindStringSubmatch(testutil.Page(r.t, "docs/recipes.md"))[1]
	filter := regexp.MustCompile(strings.ReplaceAll(failregex, "<HOST>", `([0-9a-f.:]+)`))
	lines, err := os.ReadFile(filepath.Join(r.files, "frappe_auth.log"))
	if err != nil {
		r.t.Fatal(err)
	}
	matches := filter.FindAllStringSubmatch(string(lines), -1)
	if len(matches) != 2 || matches[0][1] != "127.0.0.1" {
		r.t.Errorf("the filter matches %q in:\n%s", matches, lines)
	}
}

// errorsAsFrappe: Frappe's Python clients raise an error for each answer, as they look for a non-empty exc in it.
func errorsAsFrappe(r *recipe) {
	r.get("api.example.com/", 200, `/ by ""`, byAlice)
	get := func(headers ...string) testutil.Response {
		return testutil.Get(r.t, "http://"+r.address, append(headers, "Host: api.example.com")...)
	}
	answers := map[int]testutil.Response{400: get(byAlice, byBob), 401: r.get("api.example.com/", 401, "…", wrongSecret)}
	for i := range 30 {
		got := get(fmt.Sprintf("Authorization: token guess%d:x", i))
		answers[got.Status] = got
	}
	text := recipeText(r.t, "recipes: Errors as Frappe answers them")
	for _, status := range []int{403, 404, 503} {
		r.address = testutil.FreeAddress(r.t) // no connection of the configuration before is used again
		r.configure(strings.NewReplacer(
			"api.example.com {", "http://api.example.com:"+testutil.PortOf(r.address)+" {",
			"\tfrappe_auth https://erp.example.com\n",
			fmt.Sprintf("\tfrappe_auth https://erp.example.com {\nanonymous\n}\nerror %d\n", status),
			"\treverse_proxy localhost:9000\n", "",
		).Replace(text))
		answers[status] = r.get("api.example.com/", status, "…")
	}
	reasons := map[int]string{
		400: "more than one Authorization header",
		401: "credential denied",
		429: "too many denied credentials from this client",
	}
	for _, status := range []int{400, 401, 403, 404, 429, 503} {
		got, ok := answers[status]
		if !ok {
			r.t.Errorf("never %d", status)
			continue
		}
		var body map[string]string
		if err := json.Unmarshal([]byte(got.Body), &body); err != nil {
			r.t.Errorf("%d: %v: %q", status, err, got.Body)
		}
		var exc []string
		if err := json.Unmarshal([]byte(body["exc"]), &exc); err != nil || len(exc) != 1 ||
			exc[0] != body["exc_type"]+": "+reasons[status] || body["exception"] != "frappe.exceptions."+exc[0] {
			r.t.Errorf("%d: Frappe's client raises no error for %s", status, got.Body)
		}
		if _, ok := body["message"]; ok || got.Header.Get("Content-Type") != "application/json" {
			r.t.Errorf("%d: %v %s", status, got.Header, got.Body)
		}
	}
}

func recipeText(t testing.TB, title string) string {
	t.Helper()
	for _, e := range examples(t) {
		if e.title == title {
			return e.text
		}
	}
	t.Fatalf("no page has %q", title)
	return ""
}

// tokensInQueries: a token in the query is a credential and reaches neither the application nor a log. A header takes
// precedence over it.
func tokensInQueries(r *recipe) {
	good := strings.TrimPrefix(testutil.AliceBearer, "Bearer ")
	r.get("app.example.com/live/1?a=b&token="+good, 200, `/live/1?a=b by ""`)
	r.get("app.example.com/live/1", 200, `/live/1 by ""`, byAlice)
	r.get("app.example.com/live/1?token="+good, 401, "", wrongSecret)
	const guess = "?token=guessed-token-0001"
	r.get("app.example.com/live/1"+guess, 401, "", "Referer: https://app.example.com/"+guess)
	r.get("app.example.com/live/1?token=a&token=b", 401, "")
	r.get("app.example.com/live/1?token=a%0d%0aX:b", 401, "")
	r.get("app.example.com/live/1", 401, "")
	r.keptOutOfLogs(good, "guessed-token")
}

// tokensInSubprotocols: a token in a subprotocol is a credential and reaches no log. A header takes precedence over it.
func tokensInSubprotocols(r *recipe) {
	good := strings.TrimPrefix(testutil.AliceBearer, "Bearer ")
	get := func(status int, protocols string, headers ...string) {
		r.t.Helper()
		r.get("app.example.com/live/1", status, "…", append(headers, "Sec-WebSocket-Protocol: "+protocols)...)
	}
	get(200, "app, bearer."+good)
	get(200, "bearer."+good)
	get(200, "app", byAlice)
	get(401, "app, bearer."+good, wrongSecret)
	get(401, "app, bearer.guessed-token-0001")
	get(401, "app,xbearer."+good)
	get(401, "app")
	r.keptOutOfLogs(good, "guessed-token")
}

// keysInOwnHeader: an API key in X-Api-Key is a credential and reaches no log. Authorization takes precedence over it.
func keysInOwnHeader(r *recipe) {
	pair := strings.TrimPrefix(testutil.AlicePair, "token ")
	r.get("app.example.com/", 200, `/ by ""`, "X-Api-Key: "+pair)
	r.get("app.example.com/", 200, `/ by ""`, byBob, "X-Api-Key: "+pair+"x")
	r.get("app.example.com/", 401, "", wrongSecret, "X-Api-Key: "+pair)
	r.get("app.example.com/", 401, "", "X-Api-Key: guessed:guessed-secret-0001")
	r.get("app.example.com/", 401, "", "X-Api-Key: "+pair, "X-Api-Key: "+pair)
	r.get("app.example.com/", 401, "")
	r.keptOutOfLogs(testutil.AliceSecret, "guessed-secret")
}

// keptOutOfLogs checks that no line of a request, a refusal or an upstream has a secret.
func (r *recipe) keptOutOfLogs(secrets ...string) {
	r.t.Helper()
	for _, log := range []string{"handled request", "refused", "upstream roundtrip"} {
		r.Logged(log)
	}
	for line := range strings.Lines(r.Logs()) {
		for _, secret := range secrets {
			if strings.Contains(line, secret) {
				r.t.Errorf("a secret is in the log: %s", line)
			}
		}
	}
}

// askedByStranger: who is no trusted proxy gets an answer, but cannot choose where a login leads back to.
func askedByStranger(r *recipe) {
	const cookie = "Cookie: sid=" + testutil.RecordedSession
	got := r.get("anything/", 200, "", cookie, "X-Forwarded-Method: GET")
	if user := got.Header.Get("X-Frappe-User"); user != "alice@example.com" {
		r.t.Errorf("the proxy learns the user %q", user)
	}
	r.get("anything/", 401, "", "X-Forwarded-Method: POST", "X-Forwarded-Uri: /bi/1", "Sec-Fetch-Mode: navigate")
	got = r.get("anything/", 302, "", "X-Forwarded-Method: GET", "X-Forwarded-Uri: /bi/1", "Sec-Fetch-Mode: navigate")
	if location := got.Header.Get("Location"); location != "/login?redirect-to=%2F" {
		r.t.Errorf("sent to %s", location)
	}
}

// revokeAtOnce: a delivery drops what it concerns, and one with another signature does nothing. The bodies are those
// that the page tells Frappe to send.
func revokeAtOnce(r *recipe) {
	servesReport(r)
	url := "http://" + r.address + "/hooks/frappe"
	sign := func(body string) string {
		mac := hmac.New(sha256.New, []byte("s3cret"))
		mac.Write([]byte(body))
		return base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	hook := func(body, signature string) testutil.Response {
		req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, url, strings.NewReader(body))
		if err != nil {
			r.t.Fatal(err)
		}
		req.Host = "files.example.com"
		req.Header["X-Frappe-Webhook-Signature"] = []string{signature}
		resp, err := testutil.Client.Do(req)
		if err != nil {
			r.t.Fatal(err)
		}
		resp.Body.Close()
		return testutil.Response{Status: resp.StatusCode}
	}
	asks := func(header string) bool {
		before := r.asked.Load()
		r.get("files.example.com/report.txt", 200, "report", header)
		return r.asked.Load() > before
	}
	byToken := "Authorization: " + testutil.AliceBearer
	asks(byToken)
	bodies := testutil.Blocks(r.t, testutil.Page(r.t, "docs/freshness.md"), "json")
	if len(bodies) != 2 {
		r.t.Fatalf("%d bodies of deliveries", len(bodies))
	}
	refused := func() (asked bool) {
		before := r.asked.Load()
		r.get("files.example.com/report.txt", 401, "", "Authorization: token newkey:x")
		return r.asked.Load() > before
	}
	fill := func(body, name, key string) string {
		return strings.NewReplacer("{{ doc.name }}", name, "{{ doc.api_key or '' }}", key).Replace(strings.TrimSpace(body))
	}
	body := fill(bodies[0], "carol@example.com", "newkey")
	if !refused() || refused() || hook(body, sign(body)).Status != 204 || !refused() {
		r.t.Errorf("a new key would not work before negative_ttl, in spite of %s", body)
	}
	for i, test := range []struct{ name, header string }{
		{"alice@example.com", byAlice},
		{strings.TrimPrefix(testutil.AliceBearer, "Bearer "), byToken},
	} {
		body := fill(bodies[i], test.name, testutil.AliceKey)
		if got := hook(body, sign("another")); got.Status != 403 || asks(test.header) {
			r.t.Errorf("%d for a delivery with another signature, or it revoked something: %s", got.Status, body)
		}
		if got := hook(body, sign(body)); got.Status != 204 || !asks(test.header) {
			r.t.Errorf("%d, or nothing was revoked by %s", got.Status, body)
		}
		asks(byToken)
	}
}

// TestRecipeProvider: the JSON of the page combines frappe with passwords, and sends them to Frappe, as the page warns.
func TestRecipeProvider(t *testing.T) {
	asked := new(atomic.Int64)
	address := testutil.FreeAddress(t)
	handler := testutil.Blocks(t, testutil.Page(t, "docs/recipes.md"), "json")[0]
	handler = strings.ReplaceAll(handler, "https://erp.example.com", benchDouble(t, asked, true))
	config := fmt.Sprintf(`{
		"admin": {"disabled": true, "config": {"persist": false}},
		"apps": {"http": {"servers": {"x": {"listen": [%q], "routes": [
			{"handle": [%s, {"handler": "static_response", "body": "{http.auth.user.id}"}]}
		]}}}}
	}`, address, handler)
	testutil.RunCaddy(t, "")
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	if got := testutil.Get(t, "http://"+address, byAlice); got.Status != 200 || got.Body != "alice@example.com" {
		t.Errorf("%d %q", got.Status, got.Body)
	}
	if got := testutil.Get(t, "http://"+address, wrongSecret); got.Status != 401 {
		t.Errorf("%d", got.Status)
	}
	before := asked.Load()
	for range 100 { // which provider is asked first is random
		got := testutil.Get(t, "http://"+address, "Authorization: Basic bW9uaXRvcjptb25pdG9yLXBhc3N3b3Jk")
		if got.Body != "monitor" {
			t.Fatalf("%d %q", got.Status, got.Body)
		}
		if asked.Load() > before {
			return
		}
	}
	t.Error("a password never reached Frappe; the page's warning is wrong")
}

// TestRecipeOfTokens: the recipe for scopes and clients does what it says, with a backend that knows these.
func TestRecipeOfTokens(t *testing.T) {
	text := recipeText(t, "recipes: Only some access tokens")
	backend := regexp.MustCompile(`backend database [^\n]*\n`)
	if !backend.MatchString(text) {
		t.Fatal("it has no backend")
	}
	text = backend.ReplaceAllString(text, "backend test_tokens\n")
	onlySomeTokens(run(t, strings.ReplaceAll(text, "4f2c8a9e1b", "mcp")))
}

// dashboards: who is logged in to the ERP passes, and nobody else.
func dashboards(r *recipe) {
	const cookie = "Cookie: sid=" + testutil.RecordedSession
	r.get("erp.example.com/bi/1", 200, `/bi/1 by "alice@example.com"`, cookie, "X-Frappe-User: Administrator")
	r.get("erp.example.com/bi/1", 200, `/bi/1 by "alice@example.com"`, byAlice)
	r.get("erp.example.com/bi/1", 401, "", "X-Frappe-User: Administrator")
	r.get("erp.example.com/bi/1", 401, "", cookie, "Authorization: token x:y")
	r.get("erp.example.com/bi/1", 401, "", "Cookie: sid=0000000000000000000000000000000000000000000000000000dead")
	r.get("erp.example.com/bi/1", 403, "", byBob)
	got := r.get("erp.example.com/bi/1?a=b", 302, "", "Sec-Fetch-Mode: navigate")
	if location := got.Header.Get("Location"); location != "/login?redirect-to=%2Fbi%2F1%3Fa%3Db" {
		r.t.Errorf("sent to %s", location)
	}
	r.expect(http.MethodPost, "erp.example.com/bi/1", 403, "", cookie,
		"Origin: https://evil.example.net", "Sec-Fetch-Site: cross-site")
	r.get("erp.example.com/login", 200, "page of erp.example.com", "Sec-Fetch-Mode: navigate")
}

// loginOnAnyHost: a browser goes over the ERP's host once, and is then logged in on the other one.
func loginOnAnyHost(r *recipe) {
	const navigation, sid = "Sec-Fetch-Mode: navigate", "Cookie: sid=" + testutil.RecordedSession
	follow := func(got testutil.Response, headers ...string) testutil.Response {
		_, rest, _ := strings.Cut(got.Header.Get("Location"), "://")
		_, path, _ := strings.Cut(rest, "/")
		host := "grafana.example.com"
		if strings.HasPrefix(path, ".frappe-auth/login?") {
			host = "erp.example.com"
		}
		return r.get(host+"/"+path, 302, "", append(headers, navigation)...)
	}
	begun := r.get("grafana.example.com/d/1?a=b", 302, "", navigation)
	cookie, _, _ := strings.Cut(begun.Header.Get("Set-Cookie"), ";")
	if got := follow(begun); !strings.HasPrefix(got.Header.Get("Location"), "/login?redirect-to=%2F.frappe-auth%2Flogin%3Fstate%3D") {
		r.t.Errorf("without a session: sent to %s", got.Header.Get("Location"))
	}
	back := follow(follow(begun, sid), "Cookie: "+cookie)
	if to := back.Header.Get("Location"); to != "http://grafana.example.com/d/1?a=b" {
		r.t.Fatalf("sent back to %s", to)
	}
	cookie, _, _ = strings.Cut(back.Header["Set-Cookie"][0], ";")
	r.get("grafana.example.com/d/1?a=b", 200, `/d/1?a=b by ""`, "Cookie: "+cookie)
	r.get("grafana.example.com/d/1", 401, "")
	r.get("grafana.example.com/d/1", 401, "", sid)
	r.get("grafana.example.com/d/1", 403, "", byBob)
	r.get("grafana.example.com/d/1", 200, `/d/1 by ""`, byAlice)
	r.get("grafana.example.com/.frappe-auth/logout", 200, "…")
}

// onlySomeTokens: a token with the scope passes, another does not, and the metadata says which scope.
func onlySomeTokens(r *recipe) {
	r.get("mcp.example.com/", 200, `/ by ""`, "Authorization: Bearer all-of-mcp")
	got := r.get("mcp.example.com/", 403, "", "Authorization: Bearer openid-of-other")
	challenge := got.Header.Get("Www-Authenticate")
	if !strings.Contains(challenge, `error="insufficient_scope", scope="all"`) {
		r.t.Error(challenge)
	}
	r.get("mcp.example.com/.well-known/oauth-protected-resource", 200, "…")
}

// mcpServer: a client comes from the 401 to the metadata, from there to the ERP, and with a token to the server.
func mcpServer(r *recipe) {
	got := r.get("mcp.example.com/mcp", 401, "", "Origin: https://inspector.example.com")
	const metadata = `resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp"`
	challenge := got.Header.Get("Www-Authenticate")
	if !strings.Contains(challenge, metadata) || !strings.Contains(challenge, `scope="all"`) {
		r.t.Error(challenge)
	}
	for _, path := range []string{"/mcp", ""} {
		got := r.get("mcp.example.com/.well-known/oauth-protected-resource"+path, 200, "…")
		if !strings.Contains(got.Body, `"resource":"https://mcp.example.com/mcp"`) ||
			!strings.Contains(got.Body, `"authorization_servers":["http`) {
			r.t.Error(got.Body)
		}
	}
	r.expect(http.MethodOptions, "mcp.example.com/mcp", 204, "",
		"Origin: https://inspector.example.com", "Access-Control-Request-Method: POST")
	r.get("mcp.example.com/mcp", 200, `/mcp by ""`, "Authorization: "+testutil.AliceBearer)
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

// tenants: each host name is asked about at its own site.
func tenants(r *recipe) {
	r.get("two.erp.example.com/report.txt", 200, "of two", byAlice)
	r.get("two.erp.example.com/report.txt", 401, "", wrongSecret)
	r.get("three.erp.example.com/report.txt", 404, "", byAlice)
}

// severalBackends: a listed key is known without the site, and the site knows the others.
func severalBackends(r *recipe) {
	r.get("files.example.com/report.txt", 200, "report", byAlice) // listed
	if r.asked.Load() != 0 {
		r.t.Error("the site was asked about a listed key")
	}
	r.get("files.example.com/report.txt", 200, "report", byBob) // the site's
	r.get("files.example.com/report.txt", 401, "", "Authorization: token x:y")
}
