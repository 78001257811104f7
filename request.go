package frappeauth

import (
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/browser"
	"github.com/caddy-frappe/frappe-auth/internal/challenge"
	"github.com/caddy-frappe/frappe-auth/internal/request"
	"github.com/caddy-frappe/frappe-auth/internal/tracing"
)

// decideRequest decides on a request, in its own span if the request is traced.
func (o *Options) decideRequest(r *http.Request, guest bool) decision {
	ctx, span := tracing.StartDecision(r.Context())
	a := attempt{
		headers: r.Header["Authorization"],
		repl:    r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer),
		guest:   guest,
		caller:  caller{client: request.ClientIP(r)},
	}
	if o.crossSite != nil {
		_, host := request.Addressed(r)
		a.cookies, a.crossSite = r.Header["Cookie"], o.crossSite.Refuses(r, host)
	}
	d := o.decide(ctx, &a)
	if span != nil {
		tracing.EndDecision(span, d.traced())
	}
	return d
}

// challenge sets the header fields of a rejection.
func (o *Options) challenge(w http.ResponseWriter, r *http.Request, d *decision) {
	details := challenge.Bearer{Error: d.bearerError}
	if d.describe {
		details.Description = d.reason.Error()
	}
	if o.resource != nil {
		details.ResourceMetadata = o.resource.metadataURL(r)
	}
	if challenges := o.challenges.Lines(d.status, browser.FromScript(r), details); len(challenges) > 0 {
		w.Header()["Www-Authenticate"] = challenges
		if o.resource != nil && r.Header.Get("Origin") != "" { // a script of another origin needs the challenge
			w.Header().Add("Access-Control-Expose-Headers", "WWW-Authenticate")
		}
	}
	if d.retryAfter > 0 {
		seconds := int64((d.retryAfter + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
}
