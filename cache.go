package frappeauth

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// verdict is a grant, or an error as frappe.Backend returns it.
type verdict struct {
	*grant
	cache string // where it came from; empty: neither the cache nor a backend was asked
	err   error
}

// The values of the placeholder {http.auth.frappe.cache}.
const (
	cacheHit    = "hit"
	cacheMiss   = "miss"
	cacheStale  = "stale"
	cacheShared = "shared"
)

// grant is a granted verdict. Once it is in the cache, only renewal changes.
type grant struct {
	verdicts.Entry
	verdicts.Validity
	user    string
	profile *profile        // nil if the backend told only the user
	by      *backends.State // the backend that granted
	renewal atomic.Int64    // earliest time of the next refresh ahead, on the clock of the state
}

// profile is what some backends know about a user besides the name.
type profile struct {
	fullName string
	roles    []string
	roleList string // roles, joined by commas
	scopes   string // joined by spaces
	client   string // that an access token was issued to
}

// noProfile is the profile of users of whom only the name is known.
var noProfile profile

// identity returns the part of an identity that requirements are about.
func (g *grant) identity() frappe.Identity {
	id := frappe.Identity{User: g.user}
	if g.profile != nil {
		id.Roles, id.Scopes, id.Client = g.profile.roles, strings.Fields(g.profile.scopes), g.profile.client
	}
	return id
}

// denial is a denied verdict. It stays in the cache after it expires, because a client that repeats a credential known
// to be bad is not guessing and is not charged again.
type denial = verdicts.Entry

// cache keeps the verdicts of one state: which credentials are good, and which are known to be bad.
type cache struct {
	*verdicts.Cache[*grant]
	*verdicts.Keyring
}

// newCache returns a cache with room for one granted and one denied verdict. tagSecret is that of its tags.
func newCache(tagSecret []byte) *cache {
	return &cache{verdicts.New[*grant](), verdicts.NewKeyring(tagSecret)}
}

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

// newGrant turns an identity into the form that is cached and published. by is the backend that granted it for a site.
func (c *cache) newGrant(
	cred *frappe.Credential, spelling uint64, id frappe.Identity, by *backends.State, site string,
) *grant {
	g := &grant{user: id.User, by: by}
	g.Spelling = spelling
	g.Tags = c.credentialTags(cred)
	g.Tags.User, g.Tags.Site = c.userTag(id.User), c.siteTag(site)
	g.Session = cred.Scheme == frappe.SchemeSession
	g.ExpiryUnknown = id.Expiry.IsZero() && (g.Session || cred.Bearer())
	if expiry := expiryOf(cred, id.Expiry); !expiry.IsZero() {
		g.Expiry = unixNanos(expiry)
	}
	if id.FullName != "" || id.Roles != nil || id.Scopes != nil || id.Client != "" {
		g.profile = &profile{
			fullName: id.FullName,
			roles:    id.Roles,
			roleList: strings.Join(id.Roles, ","),
			scopes:   strings.Join(id.Scopes, " "),
			client:   id.Client,
		}
	}
	return g
}

// expiryOf returns when a credential ends: when its backend says, or earlier if it is a JSON Web Token that says so.
// The zero time means that neither says.
func expiryOf(cred *frappe.Credential, known time.Time) time.Time {
	if !cred.Bearer() {
		return known
	}
	claimed := claimedExpiry(cred.Token)
	if known.IsZero() || !claimed.IsZero() && claimed.Before(known) {
		return claimed
	}
	return known
}

// claimedExpiry returns the `exp` claim of an access token that has the form of a JSON Web Token (RFC 7519 section
// 4.1.4), without verifying the token; the zero time if there is none. It must only be used to end a grant earlier.
func claimedExpiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Exp *float64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Exp == nil {
		return time.Time{}
	}
	seconds := min(max(*claims.Exp, 1), math.MaxInt32*100) // to the year 8774, so that nothing overflows
	return time.Unix(int64(seconds), 0)
}

// unixNanos returns the time in Unix nanoseconds, or the nearest that there is: nanoseconds end in the year 2262.
func unixNanos(t time.Time) int64 {
	switch seconds := t.Unix(); {
	case seconds >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	case seconds <= math.MinInt64/int64(time.Second):
		return math.MinInt64
	}
	return t.UnixNano()
}

// The sites of verdicts that do not concern one named site. A change of a named site concerns these verdicts too.
const (
	onlySite = "only" // the backend serves one site, which it does not name
	anySite  = "any"  // the denial of backends that serve different sites
)

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

// denialTags returns the tags of a denial, on which the backends of all the sites agree.
func (c *cache) denialTags(cred *frappe.Credential, sites []string) verdicts.Tags {
	t := c.credentialTags(cred)
	t.Site = c.siteTag(siteOf(sites, 0))
	for i := range sites {
		if c.siteTag(sites[i]) != t.Site {
			t.Site = c.unnamedTag(anySite)
			break
		}
	}
	return t
}

// siteOf returns the request's site for a backend; empty if the backend serves only one. sites is what verifier.sites
// returned.
func siteOf(sites []string, backend int) string {
	if sites == nil {
		return ""
	}
	return sites[backend]
}

// siteTag returns the tag of a site as a frappe.SiteResolver names it; empty: the only one of its backend.
func (c *cache) siteTag(site string) uint64 {
	if site == "" {
		return c.unnamedTag(onlySite)
	}
	return c.Tag("site", site)
}

// unnamedTag returns the tag of onlySite or anySite.
func (c *cache) unnamedTag(which string) uint64 { return c.Tag("unnamed site", which) }

// apply drops the verdicts that a revocation selects. Verdicts that a backend is being asked for right now are affected
// too.
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
		everything := change.Everything ||
			verdicts.IsOdd(change.Key) || verdicts.IsOdd(change.Token) || verdicts.IsOdd(change.Session)
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
