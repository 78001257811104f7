package frappeauth

import (
	"context"
	"errors"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// resolvingDouble is a doubleBackend that serves several sites, with the same users in each.
type resolvingDouble struct{ *doubleBackend }

func (resolvingDouble) ResolvesSites() bool { return true }

func (resolvingDouble) Site(*caddy.Replacer) (string, error) { return "", errors.New("not used") }

// TestChangesOfSites: a change of one site drops the verdicts of that site, and those of backends that do not name theirs. It
// keeps those of other sites.
func TestChangesOfSites(t *testing.T) {
	const alice = "alice@example.com"
	for _, test := range []struct {
		name   string
		change frappe.Change
		want   string // of the pair and the unknown key, at one.example.com, two.example.com, and a backend of one site
	}{
		{"a user of a site", frappe.Change{Site: "one.example.com", User: alice}, "miss cached | hit cached | miss cached"},
		{"the site in capitals", frappe.Change{Site: "ONE.example.com", User: alice}, "miss cached | hit cached | miss cached"},
		{"a user", frappe.Change{User: alice}, "miss cached | miss cached | miss cached"},
		{"a key of a site", frappe.Change{Site: "two.example.com", Key: "key"}, "hit cached | miss cached | miss cached"},
		{"a key", frappe.Change{Key: "key"}, "miss cached | miss cached | miss cached"},
		{"an unknown key of a site", frappe.Change{Site: "one.example.com", Key: "unknown"}, "hit asked | hit cached | hit asked"},
		{"an unknown key", frappe.Change{Key: "unknown"}, "hit asked | hit asked | hit asked"},
		{"everything of a site", frappe.Change{Site: "one.example.com", Everything: true}, "miss asked | hit cached | miss asked"},
		{"an odd key of a site", frappe.Change{Site: "one.example.com", Key: "kéy"}, "miss asked | hit cached | miss asked"},
		{"everything", frappe.Change{Everything: true}, "miss asked | miss asked | miss asked"},
		{"a session of a site", frappe.Change{Site: "one.example.com", Session: "key"}, "hit cached | hit cached | hit cached"},
		{"another site", frappe.Change{Site: "three.example.com", User: alice}, "hit cached | hit cached | miss cached"},
		{"nothing", frappe.Change{Site: "one.example.com"}, "hit cached | hit cached | hit cached"},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				backend := newDoubleBackend()
				backend.users["key"] = alice
				several := newTestVerifier(t, backend, func(c *verifierConfig) {
					c.backends[0].Resolver = resolvingDouble{backend}
				})
				one := newTestVerifier(t, backend, nil)
				got := func(v *verifier, sites []string) string {
					granted := summary(v.verifyFrom(context.Background(), "", sites, pair("key")))
					asked := backend.timesAsked("unknown")
					v.verifyFrom(context.Background(), "", sites, pair("unknown"))
					if backend.timesAsked("unknown") > asked {
						return granted + " asked"
					}
					return granted + " cached"
				}
				all := func() string {
					return got(several, []string{"one.example.com"}) + " | " + got(several, []string{"two.example.com"}) + " | " + got(one, nil)
				}
				if before := all(); before != "miss asked | miss asked | miss asked" {
					t.Fatalf("at first: %s", before)
				}
				for _, v := range []*verifier{several, one} {
					if err := v.state.revoke(t.Context(), test.change); err != nil {
						t.Error(err)
					}
				}
				if after := all(); after != test.want {
					t.Errorf("got %s, want %s", after, test.want)
				}
				if again := all(); again != "hit cached | hit cached | hit cached" {
					t.Errorf("afterwards: %s", again)
				}
			})
		})
	}
}

// TestDenialsOfSeveralSites: a denial on which backends of different sites agree is dropped with a change of any of them.
func TestDenialsOfSeveralSites(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.backends[0].Resolver = resolvingDouble{backend}
			c.backends = append(c.backends, backends.Backend{Backend: backend, Name: "another"})
		})
		sites := []string{"one.example.com", ""}
		for _, change := range []frappe.Change{
			{Site: "one.example.com", Key: "key"},
			{Site: "two.example.com", Key: "key"},
			{Key: "key"},
			{Site: "one.example.com", Everything: true},
		} {
			v.verifyFrom(t.Context(), "", sites, pair("key"))
			asked := backend.timesAsked("key")
			v.verifyFrom(t.Context(), "", sites, pair("key"))
			if backend.timesAsked("key") != asked {
				t.Fatal("the denial is not cached")
			}
			v.state.drop(change)
			v.verifyFrom(t.Context(), "", sites, pair("key"))
			if backend.timesAsked("key") != asked+2 {
				t.Errorf("after %+v the denial is kept", change)
			}
		}
	})
}
