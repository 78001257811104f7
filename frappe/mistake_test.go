package frappe_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// TestMistake: the usual mistakes that a well-formed credential shows are named, and no good credential shows one.
func TestMistake(t *testing.T) {
	basic := func(pair string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)) }
	for _, test := range []struct{ name, header, want string }{
		{"pair", "token 2c6245becaa0961:61066224add85e6", ""},
		{"Basic", basic("2c6245becaa0961:61066224add85e6"), ""},
		{"access token", "Bearer 641cc7393fbf7e529b94837c181e81", ""},
		{"access token of letters", "Bearer aZ09aZ09aZ09aZ09aZ09aZ09aZ09aZ", ""},
		{"JWT", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl", ""},
		{"echo", basic("k3y:s3cret\n"), "printf"},
		{"echo on Windows", basic("k3y:s3cret\r\n"), "line break"},
		{"a space at the end", basic("k3y:s3cret "), "white space"},
		{"a space at the start", basic(" k3y:s3cret"), "white space"},
		{"a space after the colon", basic("k3y: s3cret"), "white space"},
		{"a tab", basic("k3y:\ts3cret"), "white space"},
		{"no-break space", basic("k3y:s3cret\u00a0"), "white space"},
		{"byte order mark", basic("\ufeffk3y:s3cret"), "invisible"},
		{"zero-width space", basic("k3y:s3cret\u200b"), "invisible"},
		{"quotes", `token "k3y:s3cret"`, "quotes"},
		{"quotes around each", `token 'k3y':'s3cret'`, "quotes"},
		{"angle brackets", "token <key>:<secret>", "< and >"},
		{"password", basic("alice@example.com:hunter2"), "login name and a password"},
		{"pair as Bearer", "Bearer 2c6245becaa0961:61066224add85e6", "write `token` in place of `Bearer`"},
		{"base64 as Bearer", "Bearer " + strings.TrimPrefix(basic("2c6245becaa0961:61066224add85e6"), "Basic "), "write `Basic`"},
		{"base64 of echo as Bearer", "Bearer " + strings.TrimPrefix(basic("k3y:s3cret\n"), "Basic "), "write `Basic`"},
		{"session as Bearer", "Bearer " + strings.Repeat("9ad565354bb223aa", 3) + "9ad56535", "cookie `sid`"},
		{"quoted token", `Bearer "641cc7393fbf7e529b94837c181e81"`, "quotes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := frappe.ParseCredential(test.header)
			if err != nil {
				t.Fatal(err)
			}
			got := c.Mistake()
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			for _, secret := range []string{"s3cret", "hunter2", c.Token, c.Secret} {
				if secret != "" && strings.Contains(got, secret) {
					t.Errorf("it shows %s", secret)
				}
			}
		})
	}
	for _, c := range []frappe.Credential{
		{Scheme: frappe.SchemeSession, Session: "abc"}, {Scheme: frappe.SchemeToken}, {Scheme: frappe.SchemeBearer}, {},
	} {
		if got := c.Mistake(); got != "" {
			t.Errorf("%#v: %s", c, got)
		}
	}
}
