package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	frappeauth "github.com/caddy-frappe/frappe-auth"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestAdmin: what an operator sees and does on the admin endpoint.
func TestAdmin(t *testing.T) {
	site := siteDouble(t)
	files, tenants := testutil.FreeAddress(t), testutil.FreeAddress(t)
	p := start(t, "", fmt.Sprintf(`
http://%s {
	frappe_auth {
		name files
		%s
		require role "Report Manager"
	}
	respond {http.auth.frappe.cache}
}
http://%s {
	frappe_auth {
		backend site %s {
			site_name {http.request.host}
		}
	}
	respond ok
}`, files, alice, tenants, site))
	api := "http://" + p.admin + "/frappe_auth/"

	for _, header := range []string{tokenHeader, tokenHeader, bearerHeader, wrongHeader, wrongHeader} {
		ask(t, "GET", "http://"+files, "", header)
	}
	ask(t, "GET", "http://"+tenants, "", "Authorization: Bearer good-token")
	_, overview := ask(t, "GET", api, "")
	golden(t, "overview.json", indented(t, overview), `"verdict_age_seconds": [\d.e-]+`, `"verdict_age_seconds": 0.1`,
		`http://127\.0\.0\.1:\d+`, "http://127.0.0.1:8000")

	t.Run("drop", func(t *testing.T) {
		cached := func() string {
			_, text := ask(t, "GET", "http://"+files, "", tokenHeader)
			return text
		}
		for _, test := range []struct {
			query string
			then  string
		}{
			{"", "miss"},
			{"?user=alice@example.com", "miss"},
			{"?user=bob@example.com", "hit"},
			{"?handler=files", "miss"},
			{"?handler=files&user=alice@example.com", "miss"},
		} {
			cached()
			if status, body := ask(t, "DELETE", api+"cache"+test.query, ""); status != http.StatusNoContent {
				t.Errorf("%q: %d %s", test.query, status, body)
			}
			if got := cached(); got != test.then {
				t.Errorf("%q: then %s, want %s", test.query, got, test.then)
			}
		}
	})

	t.Run("check", func(t *testing.T) {
		var screens strings.Builder
		for _, test := range []struct{ query, credential string }{
			{"?handler=files", testutil.AlicePair},
			{"?handler=files", testutil.AliceBearer + "\n"},
			{"?handler=files", "token " + testutil.AliceKey + ":wrong-secret"},
			{"?handler=files", "Basic b'bad-token'"},
			{"?handler=files", "Cookie: sid=" + testutil.RecordedSession},
			{"", "Bearer good-token"},
			{"?url=http://erp.example.com/", "Bearer good-token"},
		} {
			status, body := ask(t, "POST", api+"check"+test.query, test.credential)
			fmt.Fprintf(&screens, "%s: %d\n%s\n", strings.TrimPrefix(test.query, "?"), status, indented(t, body))
			for _, secret := range secrets {
				if strings.Contains(body, secret) {
					t.Errorf("the answer holds %s: %s", secret, body)
				}
			}
		}
		golden(t, "check.json", screens.String())
	})

	t.Run("strict", func(t *testing.T) {
		for _, test := range []struct {
			method, path, body string
			status             int
		}{
			{"POST", "", "", 405},
			{"DELETE", "", "", 405},
			{"GET", "?x=1", "", 400},
			{"GET", "unknown", "", 404},
			{"GET", "cache", "", 405},
			{"POST", "cache", "", 405},
			{"DELETE", "cache?usr=alice@example.com", "", 400}, // a misspelled name must not drop everything
			{"DELETE", "cache?user=", "", 400},
			{"DELETE", "cache?user=a&user=b", "", 400},
			{"DELETE", "cache?user=%zz", "", 400},
			{"DELETE", "cache?handler=nobody", "", 404},
			{"GET", "check", "", 405},
			{"POST", "check", "", 400},
			{"POST", "check", "\n", 400},
			{"POST", "check", "token a:wrong-secret\nX: y", 400},
			{"POST", "check", "Bearer " + strings.Repeat("x", 9000), 413},
			{"POST", "check?url=nonsense", "Bearer bad-token", 400},
			{"POST", "check?handler=nobody", "Bearer bad-token", 404},
		} {
			status, body := ask(t, test.method, api+test.path, test.body)
			if status != test.status {
				t.Errorf("%s %s: %d %s, want %d", test.method, test.path, status, body, test.status)
			}
			if !json.Valid([]byte(body)) || !strings.Contains(body, `"error"`) {
				t.Errorf("%s %s: %s", test.method, test.path, body)
			}
		}
	})
}

// TestAdminCheckSession: the admin API says what handlers do with a session, and does not show it.
func TestAdminCheckSession(t *testing.T) {
	site := testutil.NewRecordedSite(t, testutil.OnMariaDB)
	var sites strings.Builder
	for name, schemes := range map[string]string{
		"people": "session", "others": "token", "guests": "token\nanonymous",
		"all": "session\nanonymous",
	} {
		fmt.Fprintf(&sites, "http://%s {\nfrappe_auth {\nbackend site %s\nname %s\nschemes %s\n}\n}\n",
			testutil.FreeAddress(t), site.URL, name, schemes)
	}
	p := start(t, "", sites.String())
	for _, test := range []struct {
		name, handler, session string
		status                 int
		user                   string
	}{
		{"good", "people", testutil.RecordedSession, 200, "Administrator"},
		{"unknown", "people", "dead", 401, ""},
		{"Guest", "people", "Guest", 401, ""},
		{"not accepted", "others", testutil.RecordedSession, 401, ""},
		{"not accepted, anonymous", "guests", testutil.RecordedSession, 200, "Guest"},
		{"Guest, anonymous", "all", "Guest", 200, "Guest"},
		{"unknown, anonymous", "all", "dead", 401, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, body := ask(t, "POST", "http://"+p.admin+"/frappe_auth/check?handler="+test.handler,
				"Cookie: a=b; sid="+test.session)
			var got struct {
				Verdicts []struct {
					Status int
					User   string
				}
			}
			if err := json.Unmarshal([]byte(body), &got); err != nil || len(got.Verdicts) != 1 {
				t.Fatalf("%v in %s", err, body)
			}
			if v := got.Verdicts[0]; v.Status != test.status || v.User != test.user {
				t.Error(body)
			}
			if test.session != "Guest" && strings.Contains(body, test.session+`"`) {
				t.Errorf("the answer holds the session: %s", body)
			}
		})
	}
}

func indented(t *testing.T, raw string) string {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(raw), &value); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	text, _ := json.MarshalIndent(value, "", "  ")
	return string(text) + "\n"
}

// TestAdminDuringReload: the admin API answers at any moment of a reload.
func TestAdminDuringReload(t *testing.T) {
	handler := `{"name": "files", "backends": [{"backend": "static", "bearers": [{"hash": "` + testutil.Hash("x") +
		`", "user": "alice@example.com"}]}]}`
	var (
		wg   sync.WaitGroup
		done = make(chan struct{})
	)
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := serveAdmin(httptest.NewRecorder(),
					httptest.NewRequest(http.MethodGet, "/frappe_auth/", nil)); err != nil {
					t.Error(err)
				}
				check := httptest.NewRequest(http.MethodPost, "/frappe_auth/check", strings.NewReader("Bearer x"))
				if err := serveAdmin(httptest.NewRecorder(), check); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 200 {
		ctx, unload := caddy.NewContext(caddy.Context{Context: context.Background()})
		if _, err := ctx.LoadModuleByID("http.handlers.frappe_auth", []byte(handler)); err != nil {
			t.Error(err)
		}
		unload()
	}
	close(done)
	wg.Wait()
}

// serveAdmin routes a request as Caddy's admin API does.
func serveAdmin(w http.ResponseWriter, r *http.Request) error {
	routes := frappeauth.AdminAPI{}.Routes()
	i := slices.IndexFunc(routes, func(route caddy.AdminRoute) bool { return route.Pattern == r.URL.Path })
	return routes[i].Handler.ServeHTTP(w, r)
}
