package frappeauth

import (
	"fmt"
	"testing"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// TestKeysAreDelimited: no two credentials share a key by moving characters across a border.
func TestKeysAreDelimited(t *testing.T) {
	c := newCache(nil)
	keys := make(map[verdicts.Key]string)
	for _, entry := range []struct {
		sites []string
		cred  frappe.Credential
	}{
		{nil, frappe.Credential{Scheme: frappe.SchemeToken, Key: "k", Secret: "st"}},
		{nil, frappe.Credential{Scheme: frappe.SchemeToken, Key: "ks", Secret: "t"}},
		{nil, frappe.Credential{Scheme: frappe.SchemeToken, Key: "", Secret: "kst"}},
		{[]string{"k"}, frappe.Credential{Scheme: frappe.SchemeToken, Secret: "st"}},
		{[]string{"k", ""}, frappe.Credential{Scheme: frappe.SchemeToken, Secret: "st"}},
		{[]string{"", "k"}, frappe.Credential{Scheme: frappe.SchemeToken, Secret: "st"}},
		{nil, frappe.Credential{Scheme: frappe.SchemeBearer, Token: "kst"}},
		{nil, frappe.Credential{Scheme: frappe.SchemeBearer, Token: "st"}},
		{[]string{"pair"}, frappe.Credential{Scheme: frappe.SchemeBearer, Token: "st"}},
		{nil, frappe.Credential{}},
	} {
		k := c.subject(entry.sites, &entry.cred).Key
		name := fmt.Sprintf("%q %q %q %q", entry.sites, entry.cred.Key, entry.cred.Secret, entry.cred.Token)
		if other, ok := keys[k]; ok {
			t.Errorf("%s has the key of %s", name, other)
		}
		keys[k] = name
	}
	token := c.subject(nil, new(frappe.Credential{Scheme: frappe.SchemeToken, Key: "k", Secret: "s"}))
	if basic := c.subject(nil, new(frappe.Credential{Scheme: frappe.SchemeBasic, Key: "k", Secret: "s"})); basic != token {
		t.Error("the same pair has two keys, one for each scheme")
	}
	if c.subject(nil, new(pair("x"))).Key == newCache(nil).subject(nil, new(pair("x"))).Key {
		t.Error("keys of two caches agree: they are not keyed by something random")
	}
}
