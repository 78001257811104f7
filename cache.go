package frappeauth

import (
	"sync/atomic"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// cache keeps the verdicts of one state: which credentials are good, and which are known to be bad.
type cache struct {
	*verdicts.Cache[*grant]
	*verdicts.Keyring
}

// newCache returns a cache with room for one granted and one denied verdict. tagSecret is that of its tags; nil: a random one.
func newCache(tagSecret []byte) *cache {
	return &cache{verdicts.New[*grant](), verdicts.NewKeyring(tagSecret)}
}

// grant is a granted verdict. Once it is in the cache, only renewal changes.
type grant struct {
	verdicts.Entry
	verdicts.Validity
	user    string
	detail  *detail         // nil if the backend told only the user
	by      *backends.State // the backend that granted
	renewal atomic.Int64    // earliest time of the next refresh ahead, on the clock of the state
}

// denial is a denied verdict. It stays in the cache after it expires, because a client that repeats a credential known to
// be bad is not guessing and is not charged again.
type denial = verdicts.Entry

// verdict is a grant, or an error as Backend.Verify returns it.
type verdict struct {
	*grant
	cache string // where it came from
	err   error
	known bool // with an error: another Caddy has shared a grant, which may serve stale
}

// The values of the placeholder {http.auth.frappe.cache}.
const (
	cacheHit    = "hit"
	cacheMiss   = "miss"
	cacheStale  = "stale"
	cacheShared = "shared"
)

// detail is what some backends know about a user besides the name.
type detail struct {
	fullName string
	roles    []string
	roleList string // roles, joined by commas
	scopes   string // joined by spaces
	client   string // that an access token was issued to
}

// The sites of verdicts that do not concern one named site. A change of a named site concerns these verdicts too.
const (
	onlySite = "only" // the backend serves one site, which it does not name
	anySite  = "any"  // the denial of backends that serve different sites
)

// claimOf returns the kind of a credential and its public part, the whole of an access token or session id. It takes a
// pointer, because a method of a Credential would copy it.
func claimOf(cred *frappe.Credential) (kind, claim string) {
	switch cred.Scheme {
	case frappe.SchemeBearer:
		return "bearer", cred.Token
	case frappe.SchemeSession:
		return "session", cred.Session
	default:
		return "pair", cred.Key
	}
}

// subject returns what a verdict on a credential for the sites is about.
func (c *cache) subject(sites []string, cred *frappe.Credential) verdicts.Subject {
	kind, claim := claimOf(cred)
	return c.Subject(sites, kind, claim, cred.Secret)
}

func (c *cache) userTag(user string) uint64 { return c.Tag("user", user) }

// claimTag returns the tag of a credential's public part: its API key, or the whole access token or session id.
func (c *cache) claimTag(cred *frappe.Credential) uint64 {
	kind, claim := claimOf(cred)
	return c.Tag(kind, claim)
}

// credentialTags returns the tags of a credential. A change may name an access token by its hash (frappe.Change).
func (c *cache) credentialTags(cred *frappe.Credential) verdicts.Tags {
	t := verdicts.Tags{Claim: c.claimTag(cred)}
	if cred.Bearer() {
		t.Hash = c.Tag("bearer", frappe.StoredHash(cred.Token))
	}
	return t
}

// siteTag returns the tag of a site as a SiteResolver names it.
func (c *cache) siteTag(site string) uint64 { return c.Tag("site", site) }

// unnamedTag returns the tag of onlySite or anySite.
func (c *cache) unnamedTag(which string) uint64 { return c.Tag("unnamed site", which) }

// apply drops the verdicts that a revocation selects. Verdicts that a backend is being asked for right now are affected too.
func (c *cache) apply(r fleet.Revocation) {
	if r.Everything {
		c.Purge()
	} else {
		c.Revoke(r.Tags)
	}
}

// revocation returns what changes revoke.
func (c *cache) revocation(changes ...frappe.Change) (r fleet.Revocation) {
	for _, change := range changes {
		sites := []uint64{0} // combined with 0, a tag is itself
		if change.Site != "" {
			sites = []uint64{c.siteTag(change.Site), c.unnamedTag(onlySite), c.unnamedTag(anySite)}
		}
		// Frappe never creates an odd key or token, and it is not known which spellings its database treats as equal.
		everything := change.Everything || verdicts.IsOdd(change.Key) || verdicts.IsOdd(change.Token) || verdicts.IsOdd(change.Session)
		if everything && change.Site == "" {
			return fleet.Revocation{Everything: true}
		}
		for _, site := range sites {
			if everything {
				r.Tags = append(r.Tags, site)
			}
			for _, selected := range []struct{ kind, name string }{
				{"user", change.User}, {"pair", change.Key}, {"bearer", change.Token}, {"session", change.Session},
			} {
				if selected.name != "" {
					r.Tags = append(r.Tags, c.Tag(selected.kind, selected.name)^site)
				}
			}
		}
	}
	return r
}
