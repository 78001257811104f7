package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// upstream runs an application, and returns its address and the headers and trailers of the requests that it gets.
func upstream(t *testing.T) (address string, received <-chan http.Header) {
	t.Helper()
	seen := make(chan http.Header, 1)
	application := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // only the trailers count
		headers := r.Header.Clone()
		for name, values := range r.Trailer {
			headers[name] = append(headers[name], values...)
		}
		seen <- headers
	}))
	t.Cleanup(application.Close)
	return strings.TrimPrefix(application.URL, "http://"), seen
}

// identityOf returns the values of every header that an application could take for the one with that name.
func identityOf(headers http.Header, name string) string {
	var values []string
	for field, all := range headers {
		if strings.EqualFold(strings.NewReplacer("_", "-", ".", "-").Replace(field), name) {
			values = append(values, all...)
		}
	}
	slices.Sort(values)
	return strings.Join(values, ",")
}

// asAdministrator are ways to forge the header X-Frappe-User.
var asAdministrator = []string{
	"X-Frappe-User: Administrator\r\n",
	"x-fRAPPE-uSER: Administrator\r\n",
	"X_Frappe_User: Administrator\r\n",
	"X.Frappe.User: Administrator\r\n",
	"X-Frappe-User: a\r\nX_Frappe_User: Administrator\r\nX.Frappe.User: c\r\n",
	"Connection: X-Frappe-User\r\nX-Frappe-User: Administrator\r\n",
	"Connection: close, x_frappe_user\r\n",
	"Transfer-Encoding: chunked\r\nTrailer: X-Frappe-User\r\n\r\n0\r\nX-Frappe-User: Administrator\r\n",
	"Transfer-Encoding: chunked\r\nTrailer: X-Other\r\n\r\n0\r\nX_Frappe_User: Administrator\r\n",
}

// expectForgeries are global options that make Caddy pass on spellings that it drops by default.
const expectForgeries = "{\nservers {\nexpected_underscore_headers X_Frappe_User\n" +
	"expected_dot_headers X.Frappe.User\n}\n}\n"

// preflight are the headers of a CORS preflight.
const preflight = "Origin: https://app.example.com\r\nAccess-Control-Request-Method: POST\r\n"

// TestNoForgedIdentity: whatever frappe_auth does with a request, the application sees the identity that frappe_auth
// has verified, or none.
func TestNoForgedIdentity(t *testing.T) {
	application, received := upstream(t)
	known := "backend static {\ntoken " + testutil.AliceKey + " " + testutil.Hash(testutil.AliceSecret) +
		" alice@example.com\nbearer " +
		testutil.Hash("bob") + " bob@example.com\n}\nuser_header X-Frappe-User\n"
	none := strings.Replace(known, "user_header X-Frappe-User", "user_header x_frappe_user", 1)
	for _, test := range []struct {
		name, site    string
		request, user string
	}{
		{"granted", "frappe_auth {\n" + known + "}", "GET / token", "alice@example.com"},
		{"anonymous", "frappe_auth {\n" + known + "anonymous\n}", "GET /", "Guest"},
		{
			"a preflight", "frappe_auth {\n" + known + "allow_preflight\nrequire user bob@example.com\n}",
			"OPTIONS / " + preflight, "Guest",
		},
		{"refused", "frappe_auth {\n" + known + "}\nhandle_errors {\nreverse_proxy " + application + "\n}", "GET /", ""},
		{
			"a method that the matcher leaves out", "@methods not method OPTIONS\nfrappe_auth @methods {\n" + known + "}",
			"OPTIONS /", "",
		},
		{"a path that the matcher leaves out", "frappe_auth /api/* {\n" + known + "}", "GET /", ""},
		{"left out, with a good credential", "frappe_auth /api/* {\n" + known + "}", "GET / token", ""},
		{
			"left out in a route", "route {\nfrappe_auth /api/* {\n" + known + "}\nreverse_proxy " + application + "\n}",
			"GET /", "",
		},
		{
			"left out in a handle", "handle {\nfrappe_auth /api/* {\n" + known + "}\nreverse_proxy " + application + "\n}",
			"GET /", "",
		},
		{"left out in a handle_path", "handle_path /x* {\nfrappe_auth /api/* {\n" + known + "}\nreverse_proxy " +
			application + "\n}", "GET /x", ""},
		{"matched in a handle_path", "handle_path /x* {\nfrappe_auth /api/* {\n" + known + "}\nreverse_proxy " + application +
			"\n}", "GET /x/api/ token", "alice@example.com"},
		{
			"the first of two matches", "frappe_auth /api/* {\n" + known + "}\nfrappe_auth /other/* {\n" + known + "}",
			"GET /api/ token", "alice@example.com",
		},
		{
			"the second of two matches", "frappe_auth /other/* {\n" + known + "}\nfrappe_auth /api/* {\n" + known + "}",
			"GET /api/ token", "alice@example.com",
		},
		{
			"the first of two matches, spelled otherwise",
			"frappe_auth /api/* {\n" + known + "}\nfrappe_auth /other/* {\n" + none + "}", "GET /api/ token",
			"alice@example.com",
		},
		{
			"the second of two matches, spelled otherwise",
			"frappe_auth /other/* {\n" + known + "}\nfrappe_auth /api/* {\n" + none + "}", "GET /api/ token",
			"alice@example.com",
		},
		{
			"both of two match", "frappe_auth {\n" + known + "}\nfrappe_auth /api/* {\n" + known + "}", "GET /api/ token",
			"alice@example.com",
		},
		{"none of two matches", "frappe_auth /other/* {\n" + known + "}\nfrappe_auth /api/* {\n" + known + "}", "GET /", ""},
		{"the first has another header", "frappe_auth / {\n" + strings.Replace(known, "X-Frappe-User", "X-Other", 1) +
			"}\nfrappe_auth /api/* {\n" + known + "}", "GET / token", ""},
		{"left out in the error routes, too", "frappe_auth {\n" + known + "}\nhandle_errors {\nfrappe_auth /api/* {\n" +
			known + "}\nreverse_proxy " + application + "\n}", "GET / ", ""},
		{"the matcher fails", "@fails expression `{header.X-Frappe-User}.nothing == 1`\nfrappe_auth @fails {\n" + known +
			"}\nhandle_errors {\nreverse_proxy " + application + "\n}", "GET /", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := testutil.FreeAddress(t)
			testutil.RunCaddy(t, expectForgeries+"http://"+address+" {\n"+test.site+"\nreverse_proxy "+application+"\n}")
			for _, forged := range append([]string{""}, asAdministrator...) {
				method, rest, _ := strings.Cut(test.request, " ")
				path, further, _ := strings.Cut(rest, " ")
				if further == "token" {
					further = "Authorization: " + testutil.AlicePair + "\r\n"
				}
				got := testutil.RawRequest(t, address, method+" "+path+" HTTP/1.1\r\nHost: "+address+"\r\n"+further+forged+"\r\n")
				if seen := identityOf(<-received, "X-Frappe-User"); seen != test.user {
					t.Errorf("%q: %d, and the application sees %q, want %q", forged, got.Status, seen, test.user)
				}
			}
		})
	}
}

// everyPlaceholder are all placeholders of frappe_auth.
var everyPlaceholder = []string{
	"{http.auth.user.id}", "{http.auth.user.scheme}", "{http.auth.user.full_name}", "{http.auth.user.roles}",
	"{http.auth.user.scopes}",
	"{http.auth.user.backend}", "{http.auth.user.json}", "{http.auth.frappe.cache}", "{http.auth.frappe.error}",
	"{http.auth.candidate.id}",
}

// TestUnsetPlaceholdersAreEmpty: whatever frappe_auth does with a request, its placeholders are replaced, by an empty
// text if nothing else.
func TestUnsetPlaceholdersAreEmpty(t *testing.T) {
	application, received := upstream(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("s"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	known := "backend static {\ntoken " + testutil.AliceKey + " " + testutil.Hash(testutil.AliceSecret) +
		" alice@example.com Employee\nbearer " + testutil.Hash("bob") + " bob\n}\n"
	proxy := "reverse_proxy " + application + " {\nheader_up X-All `" + strings.Join(everyPlaceholder, "|") + "`\n}\n"
	const guest = `Guest||||||{"id":"Guest","scheme":"","full_name":"","roles":[],"scopes":[],"backend":""}|||`
	const asAlice = `alice@example.com|token||Employee||static|{"id":"alice@example.com","scheme":"token","full_name":"","roles":["Employee"],"scopes":[],"backend":"static"}`
	for _, test := range []struct {
		name, site, request, headers string
		want                         string
	}{
		{"granted", "frappe_auth {\n" + known + "}", "GET /", tokenHeader, asAlice + "|miss||"},
		{"anonymous", "frappe_auth {\n" + known + "anonymous\n}", "GET /", "", guest},
		{
			"a preflight", "frappe_auth {\n" + known + "allow_preflight\n}", "OPTIONS /", strings.TrimSuffix(preflight, "\r\n"),
			guest,
		},
		{"no credential", "frappe_auth {\n" + known + "}", "GET /", "", "||||||||no credential|"},
		{"denied", "frappe_auth {\n" + known + "}", "GET /", "Authorization: token x:y", "|||||||miss|credential denied|x"},
		{
			"denied, with a line break in the key", "frappe_auth {\n" + known + "}", "GET /", "Authorization: Basic YQpiOmM=",
			"|||||||miss|credential denied: there is white space in the API key or the API secret; remove it|a b",
		},
		{
			"forbidden", "frappe_auth {\n" + known + "require user bob\n}", "GET /", tokenHeader,
			"|||||||miss|the user does not meet the requirements|" + testutil.AliceKey,
		},
		{
			"two headers", "frappe_auth {\n" + known + "}", "GET /", "Authorization: x\r\nAuthorization: y",
			"||||||||more than one Authorization header|",
		},
		{
			"left out by the matcher", "frappe_auth /api/* {\n" + known + "}", "GET /", tokenHeader,
			"|||||||||",
		},
		{
			"left out twice", "frappe_auth /api/* {\n" + known + "}\nfrappe_auth /other/* {\n" + known + "}", "GET /", "",
			"|||||||||",
		},
		{
			"left out second", "frappe_auth / {\n" + known + "}\nfrappe_auth /api/* {\n" + known + "}", "GET /",
			tokenHeader, asAlice + "|miss||",
		},
		{
			"left out first", "frappe_auth /api/* {\n" + known + "}\nfrappe_auth / {\n" + known + "}", "GET /",
			tokenHeader, asAlice + "|miss||",
		},
		{
			"refused second", "frappe_auth {\n" + known + "}\nfrappe_auth / {\n" + known + "require user bob\n}", "GET /",
			tokenHeader, "|||||||hit|the user does not meet the requirements|" + testutil.AliceKey,
		},
		{
			"left out behind basic_auth", "basic_auth {\nbob " + string(hash) + "\n}\nfrappe_auth /api/* {\n" + known + "}",
			"GET /", "Authorization: Basic Ym9iOnM=", "bob|||||||||",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := testutil.FreeAddress(t)
			testutil.RunCaddy(t, "http://"+address+" {\n"+test.site+"\n"+proxy+"handle_errors {\n"+proxy+"}\n}")
			headers := "Host: " + address + "\r\n"
			if test.headers != "" {
				headers += test.headers + "\r\n"
			}
			got := testutil.RawRequest(t, address, test.request+" HTTP/1.1\r\n"+headers+"\r\n")
			if len(received) == 0 {
				t.Fatalf("the application got no request; the client got %d", got.Status)
			}
			if seen := (<-received).Get("X-All"); seen != test.want {
				t.Errorf("the application sees\n%s, want\n%s", seen, test.want)
			}
		})
	}
}

// TestNamesInHeaders: names with any characters reach the application in headers, and unchanged in the JSON.
func TestNamesInHeaders(t *testing.T) {
	application, received := upstream(t)
	for _, name := range []string{
		"Alice", "Alice\nLiddell", "Alice\r\nX-Admin: 1", "a\tb", "\x00\x1f\x7f", "\u0080\u0085\u009f", "a\u2028b\u2029c",
		"Jürgen, \"Joe\" \\ 李 🙂 <b>&", "",
	} {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			quoted, err := json.Marshal(name)
			if err != nil {
				t.Fatal(err)
			}
			site := testutil.JSONSite(t, testutil.Answers{
				testutil.LoggedUser: testutil.Always(200, `{"message":"alice@example.com"}`),
				testutil.GetRoles:   testutil.Always(200, `{"message":["Sales, East",`+string(quoted)+`]}`),
				"/api/resource/User/alice@example.com": testutil.Always(200,
					`{"data":{"name":"alice@example.com","enabled":1,"full_name":`+string(quoted)+`}}`),
			})
			address := testutil.FreeAddress(t)
			testutil.RunCaddy(t, fmt.Sprintf(`http://%s {
	frappe_auth {
		backend site %s {
			roles
			refuse_disabled
		}
	}
	reverse_proxy %s {
		header_up X-Full-Name {http.auth.user.full_name}
		header_up X-Roles {http.auth.user.roles}
		header_up X-User {http.auth.user.json}
	}
}`, address, site.URL, application))
			if got := testutil.Get(t, "http://"+address, tokenHeader); got.Status != 200 {
				t.Fatalf("status %d", got.Status)
			}
			headers := <-received
			inOneLine := strings.NewReplacer("\r", " ", "\n", " ", "\t", " ", "\x00", " ", "\x1f", " ", "\x7f", " ", "\u0080",
				" ", "\u0085", " ", "\u009f", " ",
				"\u2028", " ", "\u2029", " ").Replace(name)
			if got := headers.Get("X-Full-Name"); got != strings.TrimSpace(inOneLine) {
				t.Errorf("the full name is %q", got)
			}
			if got := headers.Get("X-Roles"); got != strings.TrimSpace("Sales, East,"+inOneLine) {
				t.Errorf("the roles are %q", got)
			}
			text := headers.Get("X-User")
			if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("not printable ASCII: %q", text)
			}
			var user struct {
				ID, Scheme, Backend string
				FullName            string `json:"full_name"`
				Roles, Scopes       []string
			}
			if err := json.Unmarshal([]byte(text), &user); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if user.ID != "alice@example.com" || user.Scheme != "token" || user.Backend != "site" || user.FullName != name ||
				!slices.Equal(user.Roles, []string{"Sales, East", name}) || user.Scopes == nil {
				t.Errorf("%+v of %s", user, text)
			}
		})
	}
}

// TestUserHeaderCannotBeForged: a client cannot set the header that user_header names, nor the one of header_up.
func TestUserHeaderCannotBeForged(t *testing.T) {
	received := make(chan http.Header, 1)
	application := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter,
		r *http.Request,
	) {
		received <- r.Header.Clone()
	}))
	defer application.Close()
	address, viaHeaderUp := testutil.FreeAddress(t), testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf(`
{
	servers {
		expected_underscore_headers X_Frappe_User
		expected_dot_headers X.Frappe.User
	}
}
http://%[1]s {
	frappe_auth {
		%[3]s
		anonymous
		user_header x-frappe-user
	}
	reverse_proxy %[4]s
	handle_errors {
		reverse_proxy %[4]s
	}
}
http://%[2]s {
	frappe_auth {
		%[3]s
		anonymous
	}
	reverse_proxy %[4]s {
		header_up X-Frappe-User {http.auth.user.id}
	}
}`, address, viaHeaderUp, testutil.StaticSite(t), strings.TrimPrefix(application.URL, "http://")))

	for _, test := range []struct {
		name    string
		headers []string
		user    string
	}{
		{"no attack", []string{tokenHeader}, "alice@example.com"},
		{
			"the header itself",
			[]string{tokenHeader, "X-Frappe-User: Administrator"},
			"alice@example.com",
		},
		{
			"in another case",
			[]string{tokenHeader, "x-fRAPPE-uSER: Administrator"},
			"alice@example.com",
		},
		{
			"with underscores",
			[]string{tokenHeader, "X_Frappe_User: Administrator"},
			"alice@example.com",
		},
		{"with dots", []string{tokenHeader, "X.Frappe.User: Administrator"}, "alice@example.com"},
		{
			"with another sign, which lighttpd takes for an underscore",
			[]string{tokenHeader, "X~Frappe|User: Administrator"},
			"alice@example.com",
		},
		{"named in Connection with another sign", []string{tokenHeader, "Connection: X!Frappe^User"}, "alice@example.com"},
		{"several at once", []string{
			tokenHeader, "X_Frappe_User: a", "X-Frappe-User: b",
			"X.Frappe.User: c",
		}, "alice@example.com"},
		{
			"named in Connection",
			[]string{tokenHeader, "Connection: keep-alive, X-Frappe-User"},
			"alice@example.com",
		},
		{"named in Connection with underscores", []string{
			tokenHeader,
			"Connection: x_frappe_user,close",
		}, "alice@example.com"},
		{"anonymous", []string{"X-Frappe-User: Administrator", "X_Frappe_User: Administrator"}, "Guest"},
		{"refused, and proxied by handle_errors", []string{
			"Authorization: token x:y", "X-Frappe-User: Administrator",
			"X_Frappe_User: Administrator",
		}, ""},
	} {
		for option, via := range map[string]string{"user_header": address, "header_up": viaHeaderUp} {
			headers := strings.Join(test.headers, "\r\n")
			otherSpelling := strings.Contains(headers, "X_Frappe_User") || strings.Contains(headers, "X.Frappe.User") ||
				strings.Contains(headers, "X~")
			if option == "header_up" && (test.user == "" || otherSpelling) {
				continue // header_up sets one spelling only; Caddy removes the others unless told to expect them
			}
			t.Run(test.name+" with "+option, func(t *testing.T) {
				raw := "GET / HTTP/1.1\r\nHost: " + via + "\r\n" + headers + "\r\n\r\n"
				testutil.RawRequest(t, via, raw)
				seen := ""
				for name, values := range <-received {
					if strings.EqualFold(strings.NewReplacer("_", "-", ".", "-", "~", "-", "|", "-").Replace(name), "X-Frappe-User") {
						seen += strings.Join(values, ",")
					}
				}
				if seen != test.user {
					t.Errorf("the application sees %q, want %q", seen, test.user)
				}
			})
		}
	}
}

// TestUserHeaderTrailersAreRemoved: a trailer with the name of the user header does not reach an application, as some
// applications take trailers for headers. Other trailers do.
func TestUserHeaderTrailersAreRemoved(t *testing.T) {
	received := make(chan http.Header, 1)
	application := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "body" {
			t.Errorf("the application reads %q %v", body, err)
		}
		received <- r.Trailer
	}))
	defer application.Close()
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth {\n%s\nuser_header X-Frappe-User\n}\nreverse_proxy %s\n}",
		address, testutil.StaticSite(t), strings.TrimPrefix(application.URL, "http://")))
	for _, test := range []struct {
		name, announced, trailers string
	}{
		{"announced", "X-Frappe-User, X-Checksum", "X-Frappe-User: Administrator\r\n"},
		{"announced, with underscores", "X_Frappe_User, X-Checksum", "X_Frappe_User: Administrator\r\n"},
		{
			"not announced, beside one that is", "X-Checksum",
			"X-Frappe-User: Administrator\r\nx.frappe.user: Administrator\r\n",
		},
		{"none", "X-Checksum", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.RawRequest(t, address, "POST / HTTP/1.1\r\nHost: "+address+"\r\nAuthorization: "+testutil.AlicePair+
				"\r\nTrailer: "+test.announced+
				"\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n"+test.trailers+"X-Checksum: 1\r\n\r\n")
			if got := <-received; len(got) != 1 || got.Get("X-Checksum") != "1" {
				t.Errorf("the application receives the trailers %q", got)
			}
		})
	}
}

// TestNoSecondExpansion: placeholders in the text of a client or of Frappe are not expanded.
func TestNoSecondExpansion(t *testing.T) {
	t.Setenv("FRAPPE_AUTH_TEST_SECRET", "expanded")
	const template = "{env.FRAPPE_AUTH_TEST_SECRET}"
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"message": %q}`, template)
	}))
	defer site.Close()
	received := make(chan string, 1)
	application := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter,
		r *http.Request,
	) {
		received <- r.Header.Get("X-User")
	}))
	defer application.Close()
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf(`
http://%s {
	frappe_auth %s {
		user_header X-User
	}
	reverse_proxy %s
	handle_errors {
		respond "{http.auth.candidate.id} {http.auth.frappe.error}"
	}
}`, address, site.URL, strings.TrimPrefix(application.URL, "http://")))
	testutil.Get(t, "http://"+address, "Authorization: Bearer x")
	if user := <-received; user != template {
		t.Errorf("the user became %q", user)
	}
	site.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{}`)
	})
	if got := testutil.Get(t, "http://"+address, "Authorization: token "+template+":x"); strings.Contains(got.Body,
		"expanded") {
		t.Errorf("the API key was expanded: %s", got.Body)
	}
}

// TestVariablesHoldNoSecret: the variable of the handler, which other handlers and logs can print, contains no secret.
func TestVariablesHoldNoSecret(t *testing.T) {
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, "http://"+address+" {\nfrappe_auth {\n"+testutil.StaticSite(t)+"}\n"+
		"respond \"{http.vars.frappe_auth.decision}\"\nhandle_errors {\nrespond \"{http.vars.frappe_auth.decision}\" 401\n"+
		"}\n}")
	for _, test := range []struct {
		name, header, secret string
		status               int
	}{
		{"token", testutil.AlicePair, testutil.AliceSecret, http.StatusOK},
		{"Basic", testutil.AliceBasic, testutil.AliceSecret, http.StatusOK},
		{"Bearer", testutil.AliceBearer, testutil.AliceToken, http.StatusOK},
		{"a bad pair", "token " + testutil.AliceKey + ":not-her-secret", "not-her-secret", http.StatusUnauthorized},
		{"a bad access token", "Bearer not-her-token", "not-her-token", http.StatusUnauthorized},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := testutil.Get(t, "http://"+address, "Authorization: "+test.header)
			if got.Status != test.status || got.Body == "" || strings.Contains(got.Body, test.secret) {
				t.Errorf("%d %s", got.Status, got.Body)
			}
		})
	}
}

// TestHiddenCredentials: with hide_credentials neither an application nor the routes of handle_errors see a credential,
// whatever becomes of the request.
func TestHiddenCredentials(t *testing.T) {
	application, received := upstream(t)
	down := testutil.JSONSite(t, testutil.Answers{testutil.LoggedUser: testutil.Always(503, `{}`)})
	granting, _ := testutil.CountingSite(t)
	for _, test := range []struct {
		name, site, options, header string
		status                      int
	}{
		{"granted", granting, "", tokenHeader, 200},
		{"granted by a session", granting, "", "Cookie: a=b; sid=" + strings.Repeat("a", 56), 200},
		{"denied", "", "", "Authorization: token x:y", 401},
		{"forbidden", granting, "require user bob@example.com", tokenHeader, 403},
		{"unavailable", down.URL, "", tokenHeader, 503},
		{"malformed", granting, "", "Authorization: Bearer a b", 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			backend := "backend site " + test.site + "\nschemes token bearer session"
			if test.site == "" {
				backend = testutil.StaticSite(t)
			}
			address := testutil.FreeAddress(t)
			testutil.RunCaddy(t, fmt.Sprintf(`http://%[1]s {
	frappe_auth {
		%[2]s
		%[3]s
		hide_credentials
	}
	reverse_proxy %[4]s
	handle_errors {
		reverse_proxy %[4]s
	}
}`, address, backend, test.options, application))
			testutil.Get(t, "http://"+address, test.header)
			headers := <-received
			if text := fmt.Sprint(headers); strings.Contains(text, "token x:y") || headers["Authorization"] != nil ||
				strings.Contains(text, "sid=") {
				t.Errorf("the upstream sees %s", text)
			}
		})
	}
}

// TestSecondHandler: behind a handler that hides the credential, another one with the same backends uses its verdict,
// and judges its own requirements. One with other backends does not.
func TestSecondHandler(t *testing.T) {
	site, asked := testutil.CountingSite(t)
	other, _ := testutil.CountingSite(t)
	for _, test := range []struct {
		name, second string
		status       int
	}{
		{"the same backends", site, 200},
		{"a requirement that is met", site + " {\nrequire user alice@example.com\n}", 200},
		{"a requirement that is not met", site + " {\nrequire user bob@example.com\n}", 403},
		{"another scheme", site + " {\nschemes bearer\n}", 401},
		{"other backends", other, 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := testutil.FreeAddress(t)
			testutil.RunCaddy(t, fmt.Sprintf(`http://%s {
	route {
		frappe_auth %s {
			hide_credentials
		}
		frappe_auth %s
		respond {http.auth.user.id}
	}
}`, address, site, test.second))
			before := asked.Load()
			got := testutil.Get(t, "http://"+address, tokenHeader)
			if got.Status != test.status || test.status == 200 && got.Body != "alice@example.com" {
				t.Errorf("%d %s", got.Status, got.Body)
			}
			if asked.Load()-before != 1 {
				t.Errorf("the site was asked %d times", asked.Load()-before)
			}
			if got := testutil.Get(t, "http://"+address); got.Status != 401 {
				t.Errorf("without a credential: %d", got.Status)
			}
		})
	}
}

// TestUserPath: a user's folder is one folder below the users' folder, whatever the name.
func TestUserPath(t *testing.T) {
	for _, test := range []struct {
		user, path string
		status     int
	}{
		{"alice@example.com", "alice@example.com", 200},
		{"Jürgen", "Jürgen", 200},
		{"a/b", "a%2Fb", 200},
		{`a\b`, "a%5Cb", 200},
		{".git", "%2Egit", 200},
		{"50% off", "50%25%20off", 200},
		{"c:stream", "c%3Astream", 200},
		{"..", "", 503},
		{".", "", 503},
		{"../alice", "", 503},
		{`a\..\b`, "", 503},
		{"a/.", "", 503},
	} {
		t.Run(test.user, func(t *testing.T) {
			message, _ := json.Marshal(map[string]string{"message": test.user})
			site := testutil.JSONSite(t, testutil.Answers{testutil.LoggedUser: testutil.Always(200, string(message))})
			address := testutil.FreeAddress(t)
			testutil.RunCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth %s\nrespond {http.auth.user.path}\n}", address, site.URL))
			got := testutil.Get(t, "http://"+address, tokenHeader)
			if got.Status != test.status || test.status == 200 && got.Body != test.path {
				t.Errorf("%d %q", got.Status, got.Body)
			}
		})
	}
}

// TestManyRoles: an identity as JSON stays within a header, and the log says once that roles were left out.
func TestManyRoles(t *testing.T) {
	roles := make([]string, 120)
	for i := range roles {
		roles[i] = fmt.Sprintf("مدير النظام العام للمبيعات %d", i)
	}
	list, _ := json.Marshal(map[string][]string{"message": roles})
	site := testutil.JSONSite(t, testutil.Answers{
		testutil.LoggedUser: testutil.Always(200, `{"message":"alice@example.com"}`),
		testutil.GetRoles:   testutil.Always(200, string(list)),
	})
	address := testutil.FreeAddress(t)
	c := testutil.RunCaddy(t, fmt.Sprintf(`http://%s {
	frappe_auth {
		backend site %s {
			roles
		}
		require role "مدير النظام العام للمبيعات 119"
	}
	respond {http.auth.user.json}
}`, address, site.URL))
	for range 2 {
		got := testutil.Get(t, "http://"+address, tokenHeader)
		want := `{"id":"alice@example.com","scheme":"token","full_name":"","roles":null,"scopes":[],"backend":"site"}`
		if got.Status != 200 || got.Body != want {
			t.Errorf("%d %s", got.Status, got.Body)
		}
	}
	if n := strings.Count(c.Logs(), "would be too large for a header"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}
