package admin

import (
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/fleet"
)

// overview is the answer to GET /frappe_auth/.
type overview struct {
	Caches []CacheStatus `json:"caches"`
}

// CacheStatus is a cache with the handlers that share it: those with the same backends.
type CacheStatus struct {
	Handlers       []HandlerOptions  `json:"handlers"`
	Backends       []BackendStatus   `json:"backends"`
	Granted        int               `json:"granted"`
	Denied         int               `json:"denied"`
	Size           int               `json:"size"`
	Lookups        map[string]uint64 `json:"lookups"`
	HitRatio       float64           `json:"hit_ratio"`
	StaleRatio     float64           `json:"stale_ratio"`
	FailingClients int               `json:"failing_clients"`
	Store          *StoreStatus      `json:"store,omitempty"` // only with `share`
	Feeds          []FeedStatus      `json:"feeds,omitempty"`
}

// StoreStatus is the state of a store that several Caddys share.
type StoreStatus struct {
	Source    string   `json:"source,omitempty"`
	Up        bool     `json:"up"`
	Failures  uint64   `json:"failures"`
	Published uint64   `json:"revocations_published"`
	Received  uint64   `json:"revocations_received"`
	Pending   int      `json:"revocations_pending"`
	LookAge   *float64 `json:"look_age_seconds,omitempty"` // absent before the revocations were first read
}

// StoreOf converts the state of a store.
func StoreOf(stats fleet.Stats) *StoreStatus {
	shown := &StoreStatus{
		Source: stats.Source, Up: stats.Up, Failures: stats.Failures,
		Published: stats.Published, Received: stats.Received, Pending: stats.Pending,
	}
	if stats.LookAge >= 0 {
		shown.LookAge = Seconds(stats.LookAge)
	}
	return shown
}

// Seconds converts a duration.
func Seconds(d time.Duration) *float64 {
	s := d.Seconds()
	return &s
}

// FeedStatus is the state of a change feed.
type FeedStatus struct {
	Name     string   `json:"name"`
	Source   string   `json:"source,omitempty"`
	WatchAge *float64 `json:"watch_age_seconds,omitempty"` // absent while it does not listen
}

// FeedsOf converts the states of feeds. Feeds with the same name and source are one.
func FeedsOf(feeds *backends.Feeds, now time.Time) (shown []FeedStatus) {
	feeds.Each(now, func(f backends.Feed, age time.Duration, ok bool) {
		if n := len(shown); n > 0 && shown[n-1].Name == f.Name && shown[n-1].Source == f.Source {
			return
		}
		found := FeedStatus{Name: f.Name, Source: f.Source}
		if ok {
			found.WatchAge = Seconds(age)
		}
		shown = append(shown, found)
	})
	return shown
}

// HandlerOptions are the options of a handler or provider.
type HandlerOptions struct {
	Name         string               `json:"name"`
	Schemes      []frappe.Scheme      `json:"schemes"`
	Require      []frappe.Requirement `json:"require,omitempty"`
	TTL          string               `json:"ttl"`
	BearerTTL    string               `json:"bearer_ttl"`
	SessionTTL   string               `json:"session_ttl"`
	NegativeTTL  string               `json:"negative_ttl"`
	StaleIfError string               `json:"stale_if_error"`
	MaxInflight  int                  `json:"max_inflight"`
}

// BackendStatus is the state of a backend.
type BackendStatus struct {
	Name        string   `json:"name"`
	Source      string   `json:"source,omitempty"`
	InFlight    int64    `json:"in_flight"`
	Waiting     int64    `json:"waiting"`
	CircuitOpen []string `json:"circuit_open"`                  // sites; an empty name if the backend serves only one
	Up          bool     `json:"up"`                            // whether it answered the last call or ping
	VerdictAge  *float64 `json:"verdict_age_seconds,omitempty"` // since its last verdict; absent before the first one
	WatchAge    *float64 `json:"watch_age_seconds,omitempty"`   // only for backends that watch for changes
}

// Checked is the answer to POST /frappe_auth/check.
type Checked struct {
	Scheme   frappe.Scheme `json:"scheme"`
	APIKey   string        `json:"api_key,omitempty"` // at most its first four characters
	Verdicts []CheckResult `json:"verdicts"`
}

// CheckResult is what one handler would do with a credential.
type CheckResult struct {
	Handler  string     `json:"handler"`
	Backends []string   `json:"backends"`
	Status   int        `json:"status"` // of the response; 200 if the request is accepted
	Outcome  string     `json:"outcome"`
	Reason   string     `json:"reason,omitempty"` // with the backend's error if it was unavailable
	User     string     `json:"user,omitempty"`
	FullName string     `json:"full_name,omitempty"`
	Roles    []string   `json:"roles,omitempty"`
	Scopes   []string   `json:"scopes,omitempty"`
	Expires  *time.Time `json:"expires,omitempty"`
	Backend  string     `json:"backend,omitempty"` // the one that granted
	Cache    string     `json:"cache,omitempty"`   // same as {http.auth.frappe.cache}
}
