package frappeauth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/metrics"
)

func init() {
	caddy.RegisterModule(AdminAPI{})
}

// AdminAPI adds endpoints to Caddy's admin API that show what the `frappe_auth` handlers of this Caddy do, and that let
// an operator drop cached verdicts and check a credential. It needs no configuration.
//
// `GET /frappe_auth/` returns the handlers, the state of their backends, and the size and the hit ratio of their caches.
//
// `DELETE /frappe_auth/cache` drops all cached verdicts. With `?user=<name>` it drops only those of that user; with
// `handler=<name>`, only those in the caches of the handlers with that name. Other Caddys that share a store drop them, too.
// The answer is 204, or 503 if the verdicts were dropped here but the other Caddys could not be told yet.
//
// `POST /frappe_auth/check` takes a credential in the body, written as in an Authorization header. It returns what each
// handler would do with it, the user, and where the verdict came from. It asks the backends as a request would and fills
// the cache, but it does not count failures against any client. `?handler=<name>` selects the handlers with that name.
// `?url=<URL>` is the URL of the request, for backends that serve several sites. Of the credential, the answer contains
// at most four characters of the API key.
type AdminAPI struct{}

// CaddyModule returns the Caddy module information.
func (AdminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.frappe_auth",
		New: func() caddy.Module { return new(AdminAPI) },
	}
}

// Routes implements caddy.AdminRouter.
func (AdminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/frappe_auth/", Handler: caddy.AdminHandlerFunc(serveOverview)},
		{Pattern: "/frappe_auth/cache", Handler: caddy.AdminHandlerFunc(serveDrop)},
		{Pattern: "/frappe_auth/check", Handler: caddy.AdminHandlerFunc(serveCheck)},
	}
}

// requested checks the method and the query, which may contain only the given parameters, and returns the query.
func requested(w http.ResponseWriter, r *http.Request, method string, parameters ...string) (url.Values, error) {
	if r.Method != method {
		w.Header().Set("Allow", method)
		return nil, apiError(http.StatusMethodNotAllowed, "the method for %s is %s", r.URL.Path, method)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, "the query cannot be parsed; write a + in a user's name as %%2B")
	}
	for name, values := range query {
		switch {
		case !slices.Contains(parameters, name):
			return nil, apiError(http.StatusBadRequest, "%s does not take that parameter; it takes: %s", r.URL.Path, strings.Join(parameters, ", "))
		case len(values) != 1 || values[0] == "":
			return nil, apiError(http.StatusBadRequest, "give %s exactly once, with a value", name)
		}
	}
	return query, nil
}

func apiError(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

func writeJSON(w http.ResponseWriter, body any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(body)
}

// overview is the answer to GET /frappe_auth/.
type overview struct {
	Caches []cacheOverview `json:"caches"`
}

// cacheOverview is a cache with the handlers that share it: those with the same backends.
type cacheOverview struct {
	Handlers       []handlerOverview `json:"handlers"`
	Backends       []backendOverview `json:"backends"`
	Granted        int               `json:"granted"`
	Denied         int               `json:"denied"`
	Size           int               `json:"size"`
	Lookups        map[string]uint64 `json:"lookups"`
	HitRatio       float64           `json:"hit_ratio"`
	FailingClients int               `json:"failing_clients"`
}

type handlerOverview struct {
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

type backendOverview struct {
	Name        string   `json:"name"`
	Source      string   `json:"source,omitempty"`
	InFlight    int64    `json:"in_flight"`
	Waiting     int64    `json:"waiting"`
	CircuitOpen []string `json:"circuit_open"`                // sites; an empty name if the backend serves only one
	WatchAge    *float64 `json:"watch_age_seconds,omitempty"` // only for backends that look for changes
}

func serveOverview(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path != "/frappe_auth/" {
		return apiError(http.StatusNotFound, "no such endpoint; use /frappe_auth/, /frappe_auth/cache or /frappe_auth/check")
	}
	if _, err := requested(w, r, http.MethodGet); err != nil {
		return err
	}
	answer := overview{Caches: []cacheOverview{}}
	for _, s := range currentStates("") {
		answer.Caches = append(answer.Caches, s.overview())
	}
	return writeJSON(w, answer)
}

func (s *state) overview() cacheOverview {
	o := cacheOverview{
		Handlers:       []handlerOverview{},
		Lookups:        make(map[string]uint64),
		FailingClients: s.failures.Clients(),
	}
	o.Granted, o.Denied, o.Size = s.cache.Fill()
	var all uint64
	for result := range lookupResults {
		n := s.results[result].Load()
		o.Lookups[result.String()] = n
		all += n
	}
	if all > 0 {
		o.HitRatio = float64(o.Lookups[lookupHit.String()]+o.Lookups[lookupHitDenied.String()]) / float64(all)
	}
	sources := make([]string, len(s.backends))
	for _, h := range handlersOf(s) {
		o.Handlers = append(o.Handlers, handlerOverview{
			Name:         h.Name,
			Schemes:      h.Schemes,
			Require:      h.Require,
			TTL:          time.Duration(*h.Cache.TTL).String(),
			BearerTTL:    time.Duration(*h.Cache.BearerTTL).String(),
			SessionTTL:   time.Duration(*h.Cache.SessionTTL).String(),
			NegativeTTL:  time.Duration(*h.Cache.NegativeTTL).String(),
			StaleIfError: time.Duration(h.Cache.StaleIfError).String(),
			MaxInflight:  h.MaxInflight,
		})
		for i, b := range h.verifier.backends {
			sources[i] = b.Source()
		}
	}
	for i, b := range s.backends {
		calls, waiting := b.InFlight()
		shown := backendOverview{
			Name:        b.Name,
			Source:      sources[i],
			InFlight:    calls,
			Waiting:     waiting,
			CircuitOpen: b.Open(),
		}
		if age, ok := b.Watch.Age(s.now()); ok {
			seconds := age.Seconds()
			shown.WatchAge = &seconds
		}
		o.Backends = append(o.Backends, shown)
	}
	return o
}

// serveDrop drops cached verdicts.
func serveDrop(w http.ResponseWriter, r *http.Request) error {
	query, err := requested(w, r, http.MethodDelete, "user", "handler")
	if err != nil {
		return err
	}
	change := frappe.Change{User: query.Get("user"), Everything: !query.Has("user")}
	handler := query.Get("handler")
	found, err := revokeIn(r.Context(), handler, []frappe.Change{change}, metrics.Admin)
	switch {
	case err != nil:
		return apiError(http.StatusServiceUnavailable, "%w; they are told when the shared store is back", err)
	case !found && handler != "":
		return noSuchHandler()
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func noSuchHandler() error {
	return apiError(http.StatusNotFound, "no frappe_auth handler has that name; give it one with the option `name`")
}

// Interface guards
var _ caddy.AdminRouter = (*AdminAPI)(nil)
