package frappeauth

import "github.com/caddy-frappe/frappe-auth/internal/telemetry"

// outcome is the result of a request, for metrics, access logs and spans.
type outcome uint8

const (
	outcomeGranted outcome = iota
	outcomeAnonymous
	outcomeNoCredential
	outcomeMalformed // also: scheme not accepted, two headers, no site
	outcomeDenied
	outcomeForbidden
	outcomeThrottled
	outcomeUnknownSite
	outcomeUnavailable
	outcomeClientGone
	outcomes // number of outcomes
)

var outcomeNames = [outcomes]string{
	"granted", "anonymous", "no_credential", "malformed", "denied", "forbidden", "throttled", "unknown_site", "unavailable", "client_gone",
}

func (o outcome) String() string { return outcomeNames[o] }

// lookupResult says where a verdict came from.
type lookupResult uint8

const (
	lookupHit lookupResult = iota
	lookupHitDenied
	lookupMiss
	lookupStale
	lookupShared
	lookupResults // number of results
)

var lookupResultNames = [lookupResults]string{"hit", "hit_denied", "miss", "stale", "shared"}

func (r lookupResult) String() string { return lookupResultNames[r] }

func init() {
	for o := range outcomes {
		telemetry.ExpectRequests(o.String())
	}
	for r := range lookupResults {
		telemetry.ExpectLookups(r.String())
	}
}
