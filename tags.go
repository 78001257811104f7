package frappeauth

import (
	"encoding/binary"
	"strings"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/fleet"
)

// tags are what a verdict can be revoked by. Each identifies a user, a credential or a site by 64 bits of a keyed hash. Two
// that share a tag are revoked together, which only costs one more lookup.
type tags struct {
	byUser  uint64 // 0 for a denial
	byClaim uint64 // of the API key, access token or session
	bySite  uint64
}

// all returns every tag that revokes the verdict. One of a user or claim at a site is the two tags combined.
func (t tags) all() [5]uint64 {
	return [5]uint64{t.byUser, t.byClaim, t.bySite, t.byUser ^ t.bySite, t.byClaim ^ t.bySite}
}

// The sites of verdicts that do not concern one named site. A change of a named site concerns these verdicts too.
const (
	onlySite = "only" // the backend serves one site, which it does not name
	anySite  = "any"  // the denial of backends that serve different sites
)

// tag returns the tag of a name. Tags ignore case, as MariaDB does when Frappe looks a credential up.
func (k *keyring) tag(kind, name string) uint64 {
	m := k.tagMacs.Get().(*mac)
	m.add("tag")
	m.add(kind)
	m.add(strings.ToLower(name))
	tag := binary.BigEndian.Uint64(m.sum())
	k.tagMacs.Put(m)
	return tag
}

func (k *keyring) userTag(user string) uint64 { return k.tag("user", user) }

// claimTag returns the tag of a credential's public part: its API key, or the whole access token or session id.
func (k *keyring) claimTag(cred *frappe.Credential) uint64 {
	kind, claim := claimOf(cred)
	return k.tag(kind, claim)
}

// siteTag returns the tag of a site as a SiteResolver names it.
func (k *keyring) siteTag(site string) uint64 { return k.tag("site", site) }

// unnamedTag returns the tag of onlySite or anySite.
func (k *keyring) unnamedTag(which string) uint64 { return k.tag("unnamed site", which) }

// revocation returns what changes revoke.
func (k *keyring) revocation(changes ...frappe.Change) (r fleet.Revocation) {
	for _, c := range changes {
		sites := []uint64{0} // combined with 0, a tag is itself
		if c.Site != "" {
			sites = []uint64{k.siteTag(c.Site), k.unnamedTag(onlySite), k.unnamedTag(anySite)}
		}
		// Frappe never creates an odd key or token, and it is not known which spellings its database treats as equal.
		everything := c.Everything || isOdd(c.Key) || isOdd(c.Token) || isOdd(c.Session)
		if everything && c.Site == "" {
			return fleet.Revocation{Everything: true}
		}
		for _, site := range sites {
			if everything {
				r.Tags = append(r.Tags, site)
			}
			for _, selected := range []struct{ kind, name string }{
				{"user", c.User}, {"pair", c.Key}, {"bearer", c.Token}, {"session", c.Session},
			} {
				if selected.name != "" {
					r.Tags = append(r.Tags, k.tag(selected.kind, selected.name)^site)
				}
			}
		}
	}
	return r
}
