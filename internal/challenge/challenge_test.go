package challenge_test

import (
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/challenge"
)

// TestExamples: the examples of the RFCs, without the line breaks that only fit them to the page.
func TestExamples(t *testing.T) {
	for _, test := range []struct{ name, got, want string }{
		{
			"RFC 6750 section 3, no credential",
			challenge.Bearer{Realm: "example"}.String(),
			`Bearer realm="example"`,
		},
		{
			"RFC 6750 section 3, expired",
			challenge.Bearer{Realm: "example", Error: "invalid_token", Description: "The access token expired"}.String(),
			`Bearer realm="example", error="invalid_token", error_description="The access token expired"`,
		},
		{
			"RFC 9728 section 5.1",
			challenge.Bearer{ResourceMetadata: "https://resource.example.com/.well-known/oauth-protected-resource"}.String(),
			`Bearer resource_metadata="https://resource.example.com/.well-known/oauth-protected-resource"`,
		},
		{
			"RFC 7617 section 2.1",
			challenge.Basic("foo"),
			`Basic realm="foo", charset="UTF-8"`,
		},
		{
			"insufficient scope",
			challenge.Bearer{Realm: "x", Error: "insufficient_scope", Scope: "openid profile email"}.String(),
			`Bearer realm="x", error="insufficient_scope", scope="openid profile email"`,
		},
		{"quotes", challenge.Token(`The "inner" \ ring`), `token realm="The \"inner\" \\ ring"`},
		{"session", challenge.Session("Frappe", "sid"), `Cookie realm="Frappe", cookie-name="sid"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.got != test.want {
				t.Errorf("got %s, want %s", test.got, test.want)
			}
		})
	}
}
