package frappeauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

func init() {
	caddy.RegisterModule(AdminAPI{})
}

// AdminAPI shows on Caddy's admin endpoint what the `frappe_auth` handlers of this Caddy do, and lets an operator
// intervene. It needs no configuration.
//
// `GET /frappe_auth/` answers with the handlers, the state of their backends, and how full and how useful the caches are.
//
// `DELETE /frappe_auth/cache` drops all cached verdicts, with `?user=<name>` those of that user, and with
// `&handler=<name>` only in the caches of the handlers of that name. It is answered with 204.
//
// `POST /frappe_auth/check`, with a credential in the body as an Authorization header would carry it, answers what each
// handler would do with it, as whom, and where the verdict came from. It asks backends as a request would, fills the cache,
// and counts against no client. With `?handler=<name>` only handlers of that name are asked; `?url=<URL>` is the URL of
// the request, for backends that serve several sites. The answer never holds more of the credential than four characters
// of the API key.
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

// requested checks the method, and that the query has no parameters but those.
func requested(w http.ResponseWriter, r *http.Request, method string, parameters ...string) (url.Values, error) {
	if r.Method != method {
		w.Header().Set("Allow", method)
		return nil, apiError(http.StatusMethodNotAllowed, "the method for %s is %s", r.URL.Path, method)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, "the query cannot be read; in it a user's + is written %%2B")
	}
	for name, values := range query {
		switch {
		case !slices.Contains(parameters, name):
			return nil, apiError(http.StatusBadRequest, "%s has no such parameter; it has: %s", r.URL.Path, strings.Join(parameters, ", "))
		case len(values) != 1 || values[0] == "":
			return nil, apiError(http.StatusBadRequest, "give %s once, and not empty", name)
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
	Name         string          `json:"name"`
	Schemes      []frappe.Scheme `json:"schemes"`
	Require      []Requirement   `json:"require,omitempty"`
	TTL          string          `json:"ttl"`
	BearerTTL    string          `json:"bearer_ttl"`
	NegativeTTL  string          `json:"negative_ttl"`
	StaleIfError string          `json:"stale_if_error"`
	MaxInflight  int             `json:"max_inflight"`
}

type backendOverview struct {
	Name        string   `json:"name"`
	Source      string   `json:"source,omitempty"`
	InFlight    int64    `json:"in_flight"`
	Waiting     int64    `json:"waiting"`
	CircuitOpen []string `json:"circuit_open"`                // sites; the empty name where there is but one
	WatchAge    *float64 `json:"watch_age_seconds,omitempty"` // of backends that look for changes
}

func serveOverview(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path != "/frappe_auth/" {
		return apiError(http.StatusNotFound, "there are /frappe_auth/, /frappe_auth/cache and /frappe_auth/check")
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

// currentStates are the states of all handlers, or of those of that name: by the names of their handlers, those without a
// name last, and among these in an order that only another configuration changes.
func currentStates(name string) []*state {
	type sortable struct {
		*state
		by string
	}
	var found []sortable
	states.Range(func(fingerprint, value any) bool {
		s := value.(*state)
		if name != "" && !s.serves(name) {
			return true
		}
		by := "\xff"
		for _, v := range s.sharers() {
			if v.name != "" {
				by = v.name
				break
			}
		}
		found = append(found, sortable{s, by + "\xff" + fingerprint.(string)})
		return true
	})
	slices.SortFunc(found, func(a, b sortable) int { return strings.Compare(a.by, b.by) })
	sorted := make([]*state, len(found))
	for i, s := range found {
		sorted[i] = s.state
	}
	return sorted
}

func (s *state) overview() cacheOverview {
	o := cacheOverview{
		Handlers:       []handlerOverview{},
		Lookups:        make(map[string]uint64),
		FailingClients: s.throttle.failing(),
	}
	o.Granted, o.Denied, o.Size = s.cache.fill()
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
	for _, v := range s.sharers() {
		o.Handlers = append(o.Handlers, handlerOverview{
			Name:         v.name,
			Schemes:      v.owner.Schemes,
			Require:      v.owner.Require,
			TTL:          time.Duration(*v.cache.TTL).String(),
			BearerTTL:    time.Duration(*v.cache.BearerTTL).String(),
			NegativeTTL:  time.Duration(*v.cache.NegativeTTL).String(),
			StaleIfError: time.Duration(v.cache.StaleIfError).String(),
			MaxInflight:  v.maxInflight,
		})
		for i, b := range v.backends {
			sources[i] = b.source()
		}
	}
	for i, g := range s.backends {
		b := backendOverview{
			Name:        g.name,
			Source:      sources[i],
			InFlight:    g.limit.Load().InFlight(),
			Waiting:     g.limit.Load().Waiting(),
			CircuitOpen: g.sites.Open(),
		}
		if age, ok := g.watch.age(s.clock(s.now())); ok {
			seconds := age.Seconds()
			b.WatchAge = &seconds
		}
		o.Backends = append(o.Backends, b)
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
	if !revokeIn(handler, change, revokedByAdmin) && handler != "" {
		return noSuchHandler()
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func noSuchHandler() error {
	return apiError(http.StatusNotFound, "no frappe_auth handler has that name; give it one with the option `name`")
}

// checked is the answer to POST /frappe_auth/check.
type checked struct {
	Scheme   frappe.Scheme    `json:"scheme"`
	APIKey   string           `json:"api_key,omitempty"` // its first four characters at most
	Verdicts []handlerVerdict `json:"verdicts"`
}

// verdict is what one handler does with a credential.
type handlerVerdict struct {
	Handler  string     `json:"handler"`
	Backends []string   `json:"backends"`
	Status   int        `json:"status"` // of the answer; 200 stands for whatever the next handler answers
	Outcome  string     `json:"outcome"`
	Reason   string     `json:"reason,omitempty"` // in the backend's words, where it was unavailable
	User     string     `json:"user,omitempty"`
	FullName string     `json:"full_name,omitempty"`
	Roles    []string   `json:"roles,omitempty"`
	Scopes   []string   `json:"scopes,omitempty"`
	Expires  *time.Time `json:"expires,omitempty"`
	Backend  string     `json:"backend,omitempty"` // that granted
	Cache    string     `json:"cache,omitempty"`   // as {http.auth.frappe.cache}
}

// serveCheck tells what the handlers do with a credential.
func serveCheck(w http.ResponseWriter, r *http.Request) error {
	query, err := requested(w, r, http.MethodPost, "handler", "url")
	if err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, frappe.MaxHeaderSize+2))
	defer clear(body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return apiError(http.StatusRequestEntityTooLarge, "a credential has 8 KiB at most")
	case err != nil:
		return apiError(http.StatusBadRequest, "the body ended early")
	}
	header := withoutLineEnd(body)
	if strings.ContainsFunc(header, func(c rune) bool { return c == '\r' || c == '\n' || c == 0 }) || strings.TrimSpace(header) == "" {
		return apiError(http.StatusBadRequest, "the body is the value of one Authorization header, such as `token <api_key>:<api_secret>`")
	}
	repl, err := replacerFor(query.Get("url"))
	if err != nil {
		return apiError(http.StatusBadRequest, "url: write the URL of a request, such as https://files.example.com/")
	}
	answer := checked{Verdicts: []handlerVerdict{}}
	cred, _ := frappe.ParseCredential(header)
	answer.Scheme = cred.Scheme
	if cred.Key != "" {
		answer.APIKey = cred.KeyPrefix()
	}
	for _, s := range currentStates(query.Get("handler")) {
		for _, v := range s.sharers() {
			if name := query.Get("handler"); name == "" || name == v.name {
				answer.Verdicts = append(answer.Verdicts, v.owner.try(r.Context(), repl, header))
			}
		}
	}
	if len(answer.Verdicts) == 0 && query.Has("handler") {
		return noSuchHandler()
	}
	return writeJSON(w, answer)
}

// withoutLineEnd is a line as text.
func withoutLineEnd(line []byte) string {
	return string(bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")))
}

// replacerFor has the placeholders of a request for a URL.
func replacerFor(requestURL string) (*caddy.Replacer, error) {
	repl := caddy.NewReplacer()
	if requestURL == "" {
		return repl, nil
	}
	u, err := url.Parse(requestURL)
	if err != nil || u.Host == "" {
		return nil, errors.New("no URL of a request")
	}
	r := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, RequestURI: u.RequestURI(), Header: make(http.Header)}
	caddyhttp.PrepareRequest(r, repl, noResponse{}, new(caddyhttp.Server))
	return repl, nil
}

// noResponse is the response to a request that nobody sent.
type noResponse struct{ http.ResponseWriter }

// Header implements http.ResponseWriter.
func (noResponse) Header() http.Header { return http.Header{} }

// try is what the handler does with a header, which counts against no client.
func (o *Options) try(ctx context.Context, repl *caddy.Replacer, header string) handlerVerdict {
	d := o.decide(ctx, &attempt{headers: []string{header}, repl: repl, failures: unlimited})
	found := handlerVerdict{Handler: o.Name, Status: http.StatusOK, Outcome: d.outcome.String(), Cache: d.verdict.cache}
	for _, b := range o.verifier.backends {
		found.Backends = append(found.Backends, b.name)
	}
	if d.rejection != nil {
		found.Status, found.Reason = d.status, d.reason.Error()
		if d.outcome == outcomeUnavailable {
			found.Reason = d.verdict.err.Error() // for the operator
		}
		return found
	}
	more := d.detail()
	found.User, found.Backend, found.FullName, found.Roles = d.user(), d.backend(), more.fullName, more.roles
	found.Scopes = strings.Fields(more.scopes)
	if expiry := d.verdict.expiry; expiry != 0 {
		expires := time.Unix(0, expiry).UTC()
		found.Expires = &expires
	}
	return found
}

// Interface guards
var _ caddy.AdminRouter = (*AdminAPI)(nil)
