package frappeauth

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/input"
)

// checked is the answer to POST /frappe_auth/check.
type checked struct {
	Scheme   frappe.Scheme    `json:"scheme"`
	APIKey   string           `json:"api_key,omitempty"` // at most its first four characters
	Verdicts []handlerVerdict `json:"verdicts"`
}

// handlerVerdict is what one handler would do with a credential.
type handlerVerdict struct {
	Handler  string     `json:"handler"`
	Backends []string   `json:"backends"`
	Status   int        `json:"status"` // of the answer; 200 means that the request goes on
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

// serveCheck returns what the handlers would do with a credential.
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
		return apiError(http.StatusRequestEntityTooLarge, "the credential is longer than 8 KiB")
	case err != nil:
		return apiError(http.StatusBadRequest, "the body ended early")
	}
	header := input.Line(body)
	if strings.ContainsFunc(header, func(c rune) bool { return c == '\r' || c == '\n' || c == 0 }) || strings.TrimSpace(header) == "" {
		return apiError(http.StatusBadRequest, "send the value of one Authorization header as the body, such as `token <api_key>:<api_secret>`, or a session as `Cookie: sid=<session>`")
	}
	repl, err := input.Replacer(query.Get("url"))
	if err != nil {
		return apiError(http.StatusBadRequest, "url: write the URL of a request, such as https://files.example.com/")
	}
	answer := checked{Verdicts: []handlerVerdict{}}
	cred, _ := input.Parse(header)
	answer.Scheme = cred.Scheme
	if cred.Key != "" {
		answer.APIKey = cred.KeyPrefix()
	}
	for _, s := range currentStates(query.Get("handler")) {
		for _, o := range handlersOf(s) {
			if name := query.Get("handler"); name == "" || name == o.Name {
				answer.Verdicts = append(answer.Verdicts, o.try(r.Context(), repl, header))
			}
		}
	}
	if len(answer.Verdicts) == 0 && query.Has("handler") {
		return noSuchHandler()
	}
	return writeJSON(w, answer)
}

// decideWritten decides on a credential that an operator wrote, as input.Parse reads it.
func (o *Options) decideWritten(ctx context.Context, line string, a *attempt) decision {
	cookie, ok := input.Cookie(line)
	switch {
	case !ok:
		a.headers = []string{line}
	case !o.accepts(frappe.SchemeSession):
		return decision{rejection: rejectMalformed(errNotAccepted), outcome: outcomeMalformed}
	default:
		a.cookies = []string{cookie}
	}
	return o.decide(ctx, a)
}

// try returns what the handler would do with a credential. It counts no failure against any client.
func (o *Options) try(ctx context.Context, repl *caddy.Replacer, header string) handlerVerdict {
	d := o.decideWritten(ctx, header, &attempt{repl: repl, uncharged: true})
	found := handlerVerdict{Handler: o.Name, Status: http.StatusOK, Outcome: d.outcome.String(), Cache: d.verdict.cache}
	for _, b := range o.verifier.backends {
		found.Backends = append(found.Backends, b.Name)
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
