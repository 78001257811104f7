package verdicts

import "time"

// Lifetimes is how long verdicts serve after their backend was asked.
type Lifetimes struct {
	// TTL is for grants, except for those that BearerTTL and SessionTTL are for.
	TTL time.Duration

	// BearerTTL is for access tokens whose expiry the backend cannot see.
	BearerTTL time.Duration

	// SessionTTL is for sessions.
	SessionTTL time.Duration

	// NegativeTTL is for denials.
	NegativeTTL time.Duration

	// StaleIfError is how much longer a grant serves while the backends are unavailable.
	StaleIfError time.Duration
}

// Validity is what limits how long a grant serves, besides Lifetimes.
type Validity struct {
	// Expiry is that of the credential, in Unix nanoseconds; 0: none.
	Expiry int64

	// ExpiryUnknown is set for an access token or session whose expiry the backend cannot see.
	ExpiryUnknown bool

	// Session is set if the credential is a session.
	Session bool
}

// Freshness says how a cached grant may be used. A smaller one is better.
type Freshness int

// How a cached grant may be used.
const (
	Fresh             Freshness = iota
	Due                         // still served, but refreshed ahead of its expiry
	Stale                       // served only while the backends are unavailable
	Expired                     // a backend must be asked again
	CredentialExpired           // the credential itself has expired
)

// Freshness is the only rule on how long a grant is served. It is served for its ttl after a backend was asked, and for
// StaleIfError longer while the backends are unavailable. It is never served past the credential's expiry, and never
// stale if that expiry is not known. age is how long ago the backend was asked.
func (l Lifetimes) Freshness(of Validity, age time.Duration, now time.Time) Freshness {
	if of.Expiry != 0 && now.UnixNano() >= of.Expiry {
		return CredentialExpired
	}
	ttl := l.For(of)
	switch {
	case age < ttl-ttl/5:
		return Fresh
	case age < ttl:
		return Due
	case age < ttl+l.StaleIfError && !of.ExpiryUnknown:
		return Stale
	}
	return Expired
}

// For returns the ttl of a grant.
func (l Lifetimes) For(of Validity) time.Duration {
	switch {
	case of.Session:
		return l.SessionTTL
	case of.ExpiryUnknown:
		return l.BearerTTL
	}
	return l.TTL
}

// Longest returns how long a grant may be kept after its backend was asked: no longer than it can serve.
func (l Lifetimes) Longest(of Validity, now time.Time) time.Duration {
	longest := l.For(of)
	if !of.ExpiryUnknown {
		longest += l.StaleIfError
	}
	if of.Expiry != 0 {
		longest = min(longest, time.Duration(of.Expiry-now.UnixNano()))
	}
	return longest
}
