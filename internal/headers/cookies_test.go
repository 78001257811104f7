package headers_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/headers"
)

// TestRemoveCookie: the cookie is removed, and the bytes of the others do not change.
func TestRemoveCookie(t *testing.T) {
	for _, test := range []struct {
		name       string
		have, want []string
	}{
		{"alone", []string{"sid=x"}, nil},
		{"alone, with a semicolon", []string{"sid=x; "}, nil},
		{"first", []string{"sid=x; a=1;b=2"}, []string{"a=1;b=2"}},
		{"in the middle", []string{"a=1; sid=x;  b=2"}, []string{"a=1;  b=2"}},
		{"last", []string{"a=1; sid=x"}, []string{"a=1"}},
		{"several", []string{"sid=x; a=1; sid=y; sid=\"z\""}, []string{"a=1"}},
		{"several headers", []string{"a=1", "sid=x", "b=2; sid=y"}, []string{"a=1", "b=2"}},
		{"with white space", []string{"a=1;\tsid =x; b=2"}, []string{"a=1; b=2"}},
		{"with white space of Latin-1", []string{"a=1; sid\xa0=x; \x85sid=y; b=2"}, []string{"a=1; b=2"}},
		{"without a value", []string{"sid; a=1"}, []string{"a=1"}},
		{"within quotes", []string{`a="1; sid=x; 2"`}, []string{`a="1; 2"`}},
		{
			"not there",
			[]string{" a = \"1;2\" ;; sidx=1; SID=2; x_sid=3 "},
			[]string{" a = \"1;2\" ;; sidx=1; SID=2; x_sid=3 "},
		},
		{"no cookies", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			header := http.Header{"X": {"y"}}
			if test.have != nil {
				header["Cookie"] = test.have
			}
			headers.RemoveCookie(header, "sid")
			if got, there := header["Cookie"]; !slices.Equal(got, test.want) || there != (test.want != nil) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// FuzzRemoveCookie: whatever the header, no session is left in it.
func FuzzRemoveCookie(f *testing.F) {
	f.Add("a=\"1; sid=x\"; sid=y; b=2")
	f.Add("sid;sid=x=sid=y")
	f.Fuzz(func(t *testing.T, line string) {
		header := http.Header{"Cookie": {line}}
		headers.RemoveCookie(header, frappe.SessionCookie)
		if c, ok := frappe.ParseSession(header["Cookie"]); ok {
			t.Errorf("%q: %q is left with session %q", line, header["Cookie"], c.Session)
		}
	})
}
