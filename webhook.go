package frappeauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/internal/headers"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
	"github.com/caddy-frappe/frappe-auth/internal/webhook"
)

func init() {
	caddy.RegisterModule(Webhook{})
	for _, o := range webhook.Outcomes {
		telemetry.ExpectDeliveries(string(o))
	}
}

// Webhook receives the deliveries of Frappe's Webhook documents for `User` and `OAuth Bearer Token`, and drops the
// cached verdicts they concern, granted and denied: those of the user and the API key, or those of the access token.
//
// A delivery is a POST request whose body is a JSON object with `doctype` and `name` and, for a `User`, preferably
// `api_key`. It is signed with the Webhook Secret, as Frappe does: X-Frappe-Webhook-Signature is the base64 of the
// HMAC-SHA256 of the body. A repeated delivery does no harm; it only makes the backends be asked once more.
//
// An accepted delivery is answered with 204. Any other is answered with a JSON object whose `error` says what to do.
// Frappe's Webhook Request Log shows that answer, so the handler writes it itself and does not use `handle_errors`:
//
// Status | Cause
// -------|------
// 403 | The signature is missing or wrong
// 405 | The method is not POST
// 408 | The body did not arrive within 10 seconds
// 413 | The body is longer than 64 KiB
// 422 | The body is signed, but is not a delivery
// 500 | No `frappe_auth` has the name that this webhook is for
// 503 | The change took effect here, but the other Caddys that share the store could not be told yet; Frappe tries again
//
// Refused deliveries are logged at level WARN, at most once a minute for each cause, and are counted in the metric
// `caddy_frappe_auth_webhook_deliveries_total`.
type Webhook struct {
	// The Webhook Secret that is set in Frappe. Placeholders such as `{env.*}` and `{file.*}` are allowed. Required.
	Secret string `json:"secret"`

	// The name of the `frappe_auth` handlers whose cached verdicts are dropped. Handlers with the same backends share a
	// cache, so they are affected too. If no handler has that name, deliveries are answered with 500. Default: every
	// handler of this Caddy.
	HandlerName string `json:"handler_name,omitempty"`

	configured
	logger   *zap.Logger // writes each message at most once a minute
	receiver *webhook.Receiver
}

// CaddyModule returns the Caddy module information.
func (Webhook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.frappe_auth_webhook",
		New: func() caddy.Module { return new(Webhook) },
	}
}

// UnmarshalJSON rejects unknown fields, as Caddy does. For the old field `for`, the error names the new one.
func (h *Webhook) UnmarshalJSON(raw []byte) error {
	type plain Webhook
	return directive.DecodeJSON(raw, (*plain)(h), "frappe_auth_webhook", map[string]string{"for": "write handler_name"})
}

// Provision expands the secret.
func (h *Webhook) Provision(ctx caddy.Context) error {
	if err := h.keep(h); err != nil {
		return err
	}
	h.logger = ctx.Logger().WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Minute, 1, 0)
	}))
	secret, err := caddy.NewReplacer().ReplaceOrErr(h.Secret, true, true)
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	if secret == "" {
		return errors.New("a secret is required: the Webhook Secret of the Webhook in Frappe")
	}
	h.Secret = secret
	h.receiver = &webhook.Receiver{Secret: secret}
	if _, err = registerMetrics(ctx); err != nil {
		return err
	}
	_, err = review(ctx)
	return err
}

// ServeHTTP receives a delivery, drops the verdicts it concerns, and answers it.
func (h *Webhook) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	changes, refusal := h.receiver.Receive(w, r)
	if refusal == nil {
		refusal = h.revoke(r.Context(), changes)
	}
	if refusal == nil {
		telemetry.CountDelivery(string(webhook.Accepted))
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	telemetry.CountDelivery(string(refusal.Outcome))
	h.logger.Warn("refused a webhook delivery: "+string(refusal.Outcome), zap.String("outcome", string(refusal.Outcome)),
		zap.String("reason", refusal.Reason), zap.Int("status", refusal.Status), zap.String("client_ip", headers.ClientIP(r)))
	return refusal.Write(w)
}

// revoke drops the verdicts that a delivery concerns. It returns why that was not possible, or nil.
func (h *Webhook) revoke(ctx context.Context, changes []frappe.Change) *webhook.Refusal {
	found, err := revoke(ctx, h.HandlerName, changes, telemetry.SourceWebhook)
	switch {
	case err != nil:
		return webhook.NotPublished()
	case !found && h.HandlerName != "":
		return webhook.NoHandler(h.HandlerName)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Webhook)(nil)
	_ caddyhttp.MiddlewareHandler = (*Webhook)(nil)
)
