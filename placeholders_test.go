package frappeauth

import (
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// placeholders are all names that a handler sets.
var placeholders = []string{
	"http.auth.user.id", "http.auth.user.scheme", "http.auth.user.full_name", "http.auth.user.roles",
	"http.auth.user.scopes",
	"http.auth.user.backend", "http.auth.user.json", "http.auth.frappe.cache", "http.auth.frappe.error",
	"http.auth.candidate.id",
}

// TestPlaceholdersOfLastHandler: the placeholders are those of the last handler that decided on the request, whatever
// handlers before it have set.
func TestPlaceholdersOfLastHandler(t *testing.T) {
	hash := testutil.Hash
	handlers := map[string]*Handler{
		"alice": provisioned(t, `{"backends": [{"backend": "static", "bearers": [{"hash": "`+hash("t")+
			`", "user": "alice", "roles": ["A"]}]}]}`),
		"bob": provisioned(t, `{"backends": [{"backend": "static", "bearers": [{"hash": "`+hash("t")+
			`", "user": "bob", "roles": ["B"]}]}]}`),
		"no": provisioned(t, `{"backends": [{"backend": "static", "bearers": [{"hash": "`+hash("x")+`", "user": "x"}]}]}`),
		"any": provisioned(t, `{"anonymous": true, "backends": [{"backend": "static", "bearers": [{"hash": "`+hash("x")+
			`", "user": "x"}]}]}`),
	}
	for _, test := range []struct {
		steps []string
		want  string
	}{
		{[]string{"alice"}, "alice A static miss "},
		{[]string{"other", "alice"}, "alice A static hit "},
		{[]string{"alice", "bob"}, "bob B static miss "},
		{[]string{"alice", "bob", "alice"}, "alice A static hit "},
		{[]string{"no"}, "   miss credential denied"},
		{[]string{"alice", "no"}, "   hit credential denied"},
		{[]string{"no", "alice"}, "alice A static hit "},
		{[]string{"alice", "no", "bob"}, "bob B static hit "},
		{[]string{"other", "no"}, "   hit credential denied"},
		{[]string{"any"}, "Guest    "},
		{[]string{"other", "any"}, "Guest    "},
		{[]string{"alice", "any"}, "Guest    "},
	} {
		r := prepared("Bearer t")
		repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		for _, step := range test.steps {
			switch step {
			case "other": // such as Caddy's authentication, with further metadata
				for _, name := range append(slices.Clone(placeholders), "http.auth.user.email") {
					repl.Set(name, "Administrator")
				}
			case "any":
				anonymous := r.Clone(r.Context())
				anonymous.Header.Del("Authorization")
				handlers[step].ServeHTTP(httptest.NewRecorder(), anonymous,
					nothing) //nolint:errcheck // its effects are checked below
			default:
				handlers[step].ServeHTTP(httptest.NewRecorder(), r, nothing) //nolint:errcheck // its effects are checked below
			}
		}
		got := repl.ReplaceAll("{http.auth.user.id} {http.auth.user.roles} {http.auth.user.backend} "+
			"{http.auth.frappe.cache} {http.auth.frappe.error}", "")
		if got != test.want {
			t.Errorf("%v: %q, want %q", test.steps, got, test.want)
		}
		for _, name := range placeholders {
			if _, known := repl.Get(name); !known {
				t.Errorf("%v: %s is not known", test.steps, name)
			}
		}
	}
}

// TestOneLine: no text breaks a header or a line of a log.
func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                  "",
		"Jürgen 李":          "Jürgen 李",
		"a\r\nb\tc\x00\x7f": "a  b c  ",
		"a\u0085b\u2028c":   "a b c",
		"a\xffb":            "a\ufffdb",
	} {
		if got := oneLine(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// TestEscapeJSON: the result is ASCII, and means the same.
func TestEscapeJSON(t *testing.T) {
	got := escapeJSON([]byte("{\"name\":\"Jürgen 李 😀\\n\x7f\"}"))
	if want := `{"name":"J\u00fcrgen \u674e \ud83d\ude00\n\u007f"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
