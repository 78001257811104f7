// Package admin serves the endpoints of frappe_auth in Caddy's admin API. It also parses the input that these endpoints
// share with the commands.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// Source is what the endpoints show and change. An empty handler name means all handlers.
type Source interface {
	// Overview returns the caches of this Caddy.
	Overview() []CacheStatus

	// Drop drops what a change selects from the caches of the handlers with a name. found is false if no handler has that
	// name. An error means that the change was not published to other Caddys yet.
	Drop(ctx context.Context, handler string, change frappe.Change) (found bool, err error)

	// Check returns what the handlers with a name would do with a credential in the form that ParseCredential reads.
	Check(ctx context.Context, handler, line string, repl *caddy.Replacer) []CheckResult
}

// Routes returns the routes of the endpoints.
func Routes(s Source) []caddy.AdminRoute {
	e := endpoints{s}
	return []caddy.AdminRoute{
		{Pattern: "/frappe_auth/", Handler: caddy.AdminHandlerFunc(e.overview)},
		{Pattern: "/frappe_auth/cache", Handler: caddy.AdminHandlerFunc(e.drop)},
		{Pattern: "/frappe_auth/check", Handler: caddy.AdminHandlerFunc(e.check)},
	}
}

type endpoints struct{ Source }

func (e endpoints) overview(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path != "/frappe_auth/" {
		return apiError(http.StatusNotFound, "no such endpoint; use /frappe_auth/, /frappe_auth/cache or /frappe_auth/check")
	}
	if _, err := requested(w, r, http.MethodGet); err != nil {
		return err
	}
	return writeJSON(w, overview{Caches: append([]CacheStatus{}, e.Overview()...)})
}

// drop drops cached verdicts.
func (e endpoints) drop(w http.ResponseWriter, r *http.Request) error {
	query, err := requested(w, r, http.MethodDelete, "user", "handler")
	if err != nil {
		return err
	}
	handler := query.Get("handler")
	found, err := e.Drop(r.Context(), handler, frappe.Change{User: query.Get("user"), Everything: !query.Has("user")})
	switch {
	case err != nil:
		return apiError(http.StatusServiceUnavailable, "%w; they are told when the shared store is back", err)
	case !found && handler != "":
		return noSuchHandler()
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// check returns what the handlers would do with a credential.
func (e endpoints) check(w http.ResponseWriter, r *http.Request) error {
	query, err := requested(w, r, http.MethodPost, "handler", "url")
	if err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, frappe.MaxHeaderSize+2))
	defer clear(body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return apiError(http.StatusRequestEntityTooLarge, "the credential is longer than 8 KiB")
	case err != nil:
		return apiError(http.StatusBadRequest, "the body ended early")
	}
	header := TrimLineBreak(body)
	if strings.ContainsFunc(header, func(c rune) bool { return c == '\r' || c == '\n' || c == 0 }) ||
		strings.TrimSpace(header) == "" {
		return apiError(http.StatusBadRequest,
			"send the value of one Authorization header as the body, such as `token <api_key>:<api_secret>`, or a session as "+
				"`Cookie: sid=<session>`")
	}
	repl, err := NewReplacer(query.Get("url"))
	if err != nil {
		return apiError(http.StatusBadRequest, "url: write the URL of a request, such as https://files.example.com/")
	}
	answer := Checked{Verdicts: append([]CheckResult{}, e.Check(r.Context(), query.Get("handler"), header, repl)...)}
	if len(answer.Verdicts) == 0 && query.Has("handler") {
		return noSuchHandler()
	}
	cred, _ := ParseCredential(header)
	answer.Scheme = cred.Scheme
	if cred.Key != "" {
		answer.APIKey = cred.KeyPrefix()
	}
	return writeJSON(w, answer)
}

// requested checks the method and the query of a request, and returns the query. It may contain only the given
// parameters.
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
			return nil, apiError(http.StatusBadRequest, "%s does not take that parameter; it takes: %s", r.URL.Path,
				strings.Join(parameters, ", "))
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

func noSuchHandler() error {
	return apiError(http.StatusNotFound, "no frappe_auth handler has that name; set one with the option `name`")
}
