package verdicts

import "time"

// Lifetimes are how long verdicts are used after their backend was asked.
type Lifetimes struct {
	// TTL applies to grants, unless BearerTTL or SessionTTL applies.
	TTL time.Duration

	// BearerTTL applies to access tokens whose expiry the backend cannot see.
	BearerTTL time.Duration

	// SessionTTL applies to sessions.
	SessionTTL time.Duration

	// NegativeTTL applies to denials.
	NegativeTTL time.Duration

	// StaleIfError is how much longer a grant is used while the backends are unavailable.
	StaleIfError time.Duration
}

// Validity limits how long a grant is used, besides Lifetimes.
type Validity struct {
	// Expiry is when the credential expires, in Unix nanoseconds. 0 means that it does not.
	Expiry int64

	// ExpiryUnknown is set for an access token or session whose expiry the backend cannot see.
	ExpiryUnknown bool

	// Session is set if the credential is a session.
	Session bool
}

// Freshness is how a cached grant may be used. A smaller value is better.
type Freshness int

// How a cached grant may be used.
const (
	Fresh             Freshness = iota
	Due                         // still served, but refreshed ahead of its expiry
	Stale                       // served only while the backends are unavailable
	Expired                     // a backend must be asked again
	CredentialExpired           // the credential itself has expired
)

// Freshness is the only rule for how long a grant is used: for its ttl after a backend was asked, and for StaleIfError
// longer while the backends are unavailable. It is never used after the credential has expired, and never stale if the
// expiry is not known. age is how long ago the backend was asked.
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

// Longest returns how long a grant can be used after its backend was asked.
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
