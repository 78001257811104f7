package frappeauth_test

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

// upstream is an application that passes on the headers and trailers of what it gets.
func upstream(t *testing.T) (address string, received <-chan http.Header) {
	t.Helper()
	seen := make(chan http.Header, 1)
	application := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // the trailers come after it, or nothing
		headers := r.Header.Clone()
		for name, values := range r.Trailer {
			headers[name] = append(headers[name], values...)
		}
		seen <- headers
	}))
	t.Cleanup(application.Close)
	return strings.TrimPrefix(application.URL, "http://"), seen
}

// identityOf is all that an application could take for the header.
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

// asAdministrator are the ways to forge the header X-Frappe-User.
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

// expectForgeries has Caddy pass on header names that it otherwise drops by itself.
const expectForgeries = "{\nservers {\nexpected_underscore_headers X_Frappe_User\nexpected_dot_headers X.Frappe.User\n}\n}\n"

// preflight makes a request a CORS preflight.
const preflight = "Origin: https://app.example.com\r\nAccess-Control-Request-Method: POST\r\n"

// TestNoForgedIdentity: whatever frappe_auth does with a request, the application sees the identity that frappe_auth found,
// or none.
func TestNoForgedIdentity(t *testing.T) {
	application, received := upstream(t)
	known := "backend static {\ntoken " + aliceKey + " " + hashed(aliceSecret) + " alice@example.com\nbearer " + hashed("bob") + " bob@example.com\n}\nuser_header X-Frappe-User\n"
	none := strings.Replace(known, "user_header X-Frappe-User", "user_header x_frappe_user", 1)
	for _, test := range []struct {
		name, site    string
		request, user string
	}{
		{"granted", "frappe_auth {\n" + known + "}", "GET / token", "alice@example.com"},
		{"anonymous", "frappe_auth {\n" + known + "anonymous\n}", "GET /", "Guest"},
		{"a preflight", "frappe_auth {\n" + known + "allow_preflight\nrequire user bob@example.com\n}", "OPTIONS / " + preflight, "Guest"},
		{"refused", "frappe_auth {\n" + known + "}\nhandle_errors {\nreverse_proxy " + application + "\n}", "GET /", ""},
		{"a method that the matcher leaves out", "@methods not method OPTIONS\nfrappe_auth @methods {\n" + known + "}", "OPTIONS /", ""},
		{"a path that the matcher leaves out", "frappe_auth /api/* {\n" + known + "}", "GET /", ""},
		{"left out, with a good credential", "frappe_auth /api/* {\n" + known + "}", "GET / token", ""},
		{"left out in a route", "route {\nfrappe_auth /api/* {\n" + known + "}\nreverse_proxy " + application + "\n}", "GET /", ""},
		{"left out in a handle", "handle {\nfrappe_auth /api/* {\n" + known + "}\nreverse_proxy " + application + "\n}", "GET /", ""},
		{"left out in a handle_path", "handle_path /x* {\nfrappe_auth /api/* {\n" + known + "}\nreverse_proxy " + application + "\n}", "GET /x", ""},
		{"matched in a handle_path", "handle_path /x* {\nfrappe_auth /api/* {\n" + known + "}\nreverse_proxy " + application + "\n}", "GET /x/api/ token", "alice@example.com"},
		{"the first of two matches", "frappe_auth /api/* {\n" + known + "}\nfrappe_auth /other/* {\n" + known + "}", "GET /api/ token", "alice@example.com"},
		{"the second of two matches", "frappe_auth /other/* {\n" + known + "}\nfrappe_auth /api/* {\n" + known + "}", "GET /api/ token", "alice@example.com"},
		{"the first of two matches, spelled otherwise", "frappe_auth /api/* {\n" + known + "}\nfrappe_auth /other/* {\n" + none + "}", "GET /api/ token", "alice@example.com"},
		{"the second of two matches, spelled otherwise", "frappe_auth /other/* {\n" + known + "}\nfrappe_auth /api/* {\n" + none + "}", "GET /api/ token", "alice@example.com"},
		{"both of two match", "frappe_auth {\n" + known + "}\nfrappe_auth /api/* {\n" + known + "}", "GET /api/ token", "alice@example.com"},
		{"none of two matches", "frappe_auth /other/* {\n" + known + "}\nfrappe_auth /api/* {\n" + known + "}", "GET /", ""},
		{"the first has another header", "frappe_auth / {\n" + strings.Replace(known, "X-Frappe-User", "X-Other", 1) + "}\nfrappe_auth /api/* {\n" + known + "}", "GET / token", ""},
		{"left out in the error routes, too", "frappe_auth {\n" + known + "}\nhandle_errors {\nfrappe_auth /api/* {\n" + known + "}\nreverse_proxy " + application + "\n}", "GET / ", ""},
		{"the matcher fails", "@fails expression `{header.X-Frappe-User}.nothing == 1`\nfrappe_auth @fails {\n" + known + "}\nhandle_errors {\nreverse_proxy " + application + "\n}", "GET /", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := freeAddress(t)
			runCaddy(t, expectForgeries+"http://"+address+" {\n"+test.site+"\nreverse_proxy "+application+"\n}")
			for _, forged := range append([]string{""}, asAdministrator...) {
				method, rest, _ := strings.Cut(test.request, " ")
				path, further, _ := strings.Cut(rest, " ")
				if further == "token" {
					further = "Authorization: " + aliceToken + "\r\n"
				}
				got := rawRequest(t, address, method+" "+path+" HTTP/1.1\r\nHost: "+address+"\r\n"+further+forged+"\r\n")
				if seen := identityOf(<-received, "X-Frappe-User"); seen != test.user {
					t.Errorf("%q: %d, and the application sees %q, want %q", forged, got.Status, seen, test.user)
				}
			}
		})
	}
}

// TestAllowPreflight: what is a preflight passes, and nothing else.
func TestAllowPreflight(t *testing.T) {
	address, strict := freeAddress(t), freeAddress(t)
	runCaddy(t, fmt.Sprintf(`http://%[1]s {
	frappe_auth {
		%[3]s
		require user bob@example.com
		allow_preflight
	}
	respond {http.auth.user.id}
}
http://%[2]s {
	frappe_auth {
		%[3]s
	}
	respond {http.auth.user.id}
}`, address, strict, staticSite(t)))
	origin, method := "Origin: https://app.example.com", "Access-Control-Request-Method: POST"
	for _, test := range []struct {
		name, address, method string
		headers               []string
		status                int
		body                  string
	}{
		{"a preflight", address, "OPTIONS", []string{origin, method}, 200, "Guest"},
		{"with an empty credential", address, "OPTIONS", []string{origin, method, "Authorization: "}, 200, "Guest"},
		{"without Origin", address, "OPTIONS", []string{method}, 401, ""},
		{"without a method", address, "OPTIONS", []string{origin}, 401, ""},
		{"an empty Origin", address, "OPTIONS", []string{"Origin: ", method}, 401, ""},
		{"of another method", address, "GET", []string{origin, method}, 401, ""},
		{"with a bad credential", address, "OPTIONS", []string{origin, method, "Authorization: token x:y"}, 401, ""},
		{"with a malformed credential", address, "OPTIONS", []string{origin, method, "Authorization: token"}, 401, ""},
		{"with two credentials", address, "OPTIONS", []string{origin, method, "Authorization: ", "Authorization: "}, 400, ""},
		{"with a good credential that a requirement refuses", address, "OPTIONS", []string{origin, method, "Authorization: " + aliceToken}, 403, ""},
		{"with a good credential", address, "OPTIONS", []string{origin, method, "Authorization: " + bobToken}, 200, "bob@example.com"},
		{"not allowed", strict, "OPTIONS", []string{origin, method}, 401, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := requestOver(t, clientWithoutMagic, test.method, "http://"+test.address, test.headers...)
			if got.Status != test.status || got.Body != test.body {
				t.Errorf("%d %q, want %d %q", got.Status, got.Body, test.status, test.body)
			}
		})
	}
}

// TestChallengesForScripts: a browser's script gets no challenge that opens the browser's login box, and yet a challenge.
func TestChallengesForScripts(t *testing.T) {
	every, basicOnly, basicLast := freeAddress(t), freeAddress(t), freeAddress(t)
	runCaddy(t, fmt.Sprintf("http://%[1]s {\nfrappe_auth {\n%[4]s\n}\n}\nhttp://%[2]s {\nfrappe_auth {\n%[4]s\nschemes basic\n}\n}\nhttp://%[3]s {\nfrappe_auth {\n%[4]s\nschemes token basic\n}\n}",
		every, basicOnly, basicLast, staticSite(t)))
	for _, test := range []struct {
		name, address, header, schemes string
	}{
		{"no browser", every, "", "Basic Bearer token"},
		{"a page", every, "Sec-Fetch-Dest: document", "Basic Bearer token"},
		{"a frame", every, "Sec-Fetch-Dest: iframe", "Basic Bearer token"},
		{"an old frame", every, "Sec-Fetch-Dest: frame", "Basic Bearer token"},
		{"a script's request", every, "Sec-Fetch-Dest: empty", "Bearer token"},
		{"an image", every, "Sec-Fetch-Dest: image", "Bearer token"},
		{"a worker", every, "Sec-Fetch-Dest: worker", "Bearer token"},
		{"an older script's request", every, "X-Requested-With: XMLHttpRequest", "Bearer token"},
		{"a WebSocket of Chromium", every, "Connection: Upgrade\nUpgrade: websocket\nOrigin: https://erp.example.com", "Bearer token"},
		{"a WebSocket of a program", every, "Connection: Upgrade\nUpgrade: websocket", "Basic Bearer token"},
		{"an Android web view", every, "X-Requested-With: com.example.app", "Basic Bearer token"},
		{"as configured", basicLast, "", "token Basic"},
		{"as configured, to a script", basicLast, "Sec-Fetch-Dest: empty", "token"},
		{"Basic alone", basicOnly, "", "Basic"},
		{"Basic alone, to a script", basicOnly, "Sec-Fetch-Dest: empty", "Basic"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, authorization := range []string{"", "token x:y", "token"} {
				headers := []string{"Authorization: " + authorization}
				if test.header != "" {
					headers = append(headers, strings.Split(test.header, "\n")...)
				}
				got := get(t, "http://"+test.address, headers...)
				var schemes []string
				for _, line := range got.Header["Www-Authenticate"] {
					scheme, _, _ := strings.Cut(line, " ")
					schemes = append(schemes, scheme)
				}
				if got.Status != 401 || strings.Join(schemes, " ") != test.schemes {
					t.Errorf("%q: %d %q, want %q", authorization, got.Status, schemes, test.schemes)
				}
			}
		})
	}
}

// everyPlaceholder are all of ours.
var everyPlaceholder = []string{
	"{http.auth.user.id}", "{http.auth.user.scheme}", "{http.auth.user.full_name}", "{http.auth.user.roles}", "{http.auth.user.scopes}",
	"{http.auth.user.backend}", "{http.auth.user.json}", "{http.auth.frappe.cache}", "{http.auth.frappe.error}", "{http.auth.candidate.id}",
}

// TestPlaceholdersAreNeverLiteral: on whatever path a request takes, an application sees what a placeholder of ours stands
// for, if nothing, an empty text.
func TestPlaceholdersAreNeverLiteral(t *testing.T) {
	application, received := upstream(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("s"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	known := "backend static {\ntoken " + aliceKey + " " + hashed(aliceSecret) + " alice@example.com Employee\nbearer " + hashed("bob") + " bob\n}\n"
	proxy := "reverse_proxy " + application + " {\nheader_up X-All `" + strings.Join(everyPlaceholder, "|") + "`\n}\n"
	const guest = `Guest||||||{"id":"Guest","scheme":"","full_name":"","roles":[],"scopes":[],"backend":""}|||`
	const asAlice = `alice@example.com|token||Employee||static|{"id":"alice@example.com","scheme":"token","full_name":"","roles":["Employee"],"scopes":[],"backend":"static"}`
	for _, test := range []struct {
		name, site, request, headers string
		want                         string
	}{
		{"granted", "frappe_auth {\n" + known + "}", "GET /", "Authorization: " + aliceToken, asAlice + "|miss||"},
		{"anonymous", "frappe_auth {\n" + known + "anonymous\n}", "GET /", "", guest},
		{"a preflight", "frappe_auth {\n" + known + "allow_preflight\n}", "OPTIONS /", strings.TrimSuffix(preflight, "\r\n"), guest},
		{"no credential", "frappe_auth {\n" + known + "}", "GET /", "", "||||||||no credential|"},
		{"denied", "frappe_auth {\n" + known + "}", "GET /", "Authorization: token x:y", "|||||||miss|credential denied|x"},
		{"denied, with a line break in the key", "frappe_auth {\n" + known + "}", "GET /", "Authorization: Basic YQpiOmM=", "|||||||miss|credential denied|a b"},
		{"forbidden", "frappe_auth {\n" + known + "require user bob\n}", "GET /", "Authorization: " + aliceToken, "|||||||miss|the user does not meet the requirements|" + aliceKey},
		{"two headers", "frappe_auth {\n" + known + "}", "GET /", "Authorization: x\r\nAuthorization: y", "||||||||more than one Authorization header|"},
		{"left out by the matcher", "frappe_auth /api/* {\n" + known + "}", "GET /", "Authorization: " + aliceToken, "|||||||||"},
		{"left out twice", "frappe_auth /api/* {\n" + known + "}\nfrappe_auth /other/* {\n" + known + "}", "GET /", "", "|||||||||"},
		{"left out second", "frappe_auth / {\n" + known + "}\nfrappe_auth /api/* {\n" + known + "}", "GET /", "Authorization: " + aliceToken, asAlice + "|miss||"},
		{"left out first", "frappe_auth /api/* {\n" + known + "}\nfrappe_auth / {\n" + known + "}", "GET /", "Authorization: " + aliceToken, asAlice + "|miss||"},
		{"refused second", "frappe_auth {\n" + known + "}\nfrappe_auth / {\n" + known + "require user bob\n}", "GET /", "Authorization: " + aliceToken, "|||||||hit|the user does not meet the requirements|" + aliceKey},
		{"left out behind basic_auth", "basic_auth {\nbob " + string(hash) + "\n}\nfrappe_auth /api/* {\n" + known + "}", "GET /", "Authorization: Basic Ym9iOnM=", "bob|||||||||"},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := freeAddress(t)
			runCaddy(t, "http://"+address+" {\n"+test.site+"\n"+proxy+"handle_errors {\n"+proxy+"}\n}")
			headers := "Host: " + address + "\r\n"
			if test.headers != "" {
				headers += test.headers + "\r\n"
			}
			got := rawRequest(t, address, test.request+" HTTP/1.1\r\n"+headers+"\r\n")
			if len(received) == 0 {
				t.Fatalf("the application got no request; the client got %d", got.Status)
			}
			if seen := (<-received).Get("X-All"); seen != test.want {
				t.Errorf("the application sees\n%s, want\n%s", seen, test.want)
			}
		})
	}
}

// TestAnyNameInHeader: an application gets a user whatever characters are in the names, and as JSON it gets the names.
func TestAnyNameInHeader(t *testing.T) {
	application, received := upstream(t)
	for _, name := range []string{
		"Alice", "Alice\nLiddell", "Alice\r\nX-Admin: 1", "a\tb", "\x00\x1f\x7f", "\u0080\u0085\u009f", "a\u2028b\u2029c", "Jürgen, \"Joe\" \\ 李 🙂 <b>&", "",
	} {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			quoted, err := json.Marshal(name)
			if err != nil {
				t.Fatal(err)
			}
			site := jsonSite(t, testutil.Answers{
				loggedUser:                             always(200, `{"message":"alice@example.com"}`),
				getRoles:                               always(200, `{"message":["Sales, East",`+string(quoted)+`]}`),
				"/api/resource/User/alice@example.com": always(200, `{"data":{"name":"alice@example.com","enabled":1,"full_name":`+string(quoted)+`}}`),
			})
			address := freeAddress(t)
			runCaddy(t, fmt.Sprintf(`http://%s {
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
			if got := get(t, "http://"+address, "Authorization: "+aliceToken); got.Status != 200 {
				t.Fatalf("status %d", got.Status)
			}
			headers := <-received
			inOneLine := strings.NewReplacer("\r", " ", "\n", " ", "\t", " ", "\x00", " ", "\x1f", " ", "\x7f", " ", "\u0080", " ", "\u0085", " ", "\u009f", " ",
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

// TestLeftOutIsNotCounted: a request that the matcher leaves out is neither counted nor logged as one that was judged, and
// keeps its credential.
func TestLeftOutIsNotCounted(t *testing.T) {
	address := freeAddress(t)
	c := runCaddy(t, fmt.Sprintf("http://%s {\nlog\nfrappe_auth /api/* {\n%s\nhide_credentials\n}\nrespond {header.Authorization}\n}", address, staticSite(t)))
	if got := get(t, "http://"+address+"/left-out", "Authorization: "+aliceToken); got.Body != aliceToken {
		t.Errorf("left out: %q", got.Body)
	}
	if got := get(t, "http://"+address+"/api/judged", "Authorization: "+aliceToken); got.Body != "" {
		t.Errorf("judged: %q", got.Body)
	}
	for path, judged := range map[string]bool{"/left-out": false, "/api/judged": true} {
		line := c.Logged(`"uri":"` + path + `"`)
		if strings.Contains(line, `"frappe_auth":{`) != judged {
			t.Errorf("%s: %s", path, line)
		}
	}
}
