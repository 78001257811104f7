package frappeauth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/internal/drain"
	"github.com/caddy-frappe/frappe-auth/internal/occasional"
)

func init() {
	caddy.RegisterModule(Webhook{})
}

// Webhook takes the deliveries of Frappe's Webhook documents for `User` and `OAuth Bearer Token`, and drops the cached
// verdicts that they concern: those of the user, or those about the access token, granted and denied.
//
// A delivery is a POST of a JSON object with `doctype` and `name`, and for a `User` preferably `api_key`, signed as
// Frappe does with the Webhook Secret: X-Frappe-Webhook-Signature is the base64 of the HMAC-SHA256 of the body. Repeating a
// delivery does no harm; backends are asked once more.
//
// A delivery that is accepted is answered with 204. Any other is answered with a JSON object whose `error` says what to do.
// Frappe's Webhook Request Log shows that answer, so it is written by this handler itself and not by `handle_errors`:
//
// Status | Cause
// -------|------
// 403 | The signature is missing or wrong
// 405 | The method is not POST
// 408 | The body did not arrive within 10 seconds
// 413 | The body is longer than 64 KiB
// 422 | The body is signed, but is not a delivery
// 500 | No `frappe_auth` has the name that this webhook is for
//
// Refused deliveries are logged at level WARN, at most once a minute for each cause, and counted in the metric
// `caddy_frappe_auth_webhook_deliveries_total`.
type Webhook struct {
	// The Webhook Secret, as in Frappe. Placeholders such as `{env.*}` and `{file.*}` are allowed. Required.
	Secret string `json:"secret"`

	// The name of the handlers whose cached verdicts are dropped. Handlers with the same backends share a cache, so
	// that it concerns them too. Default: every handler of this Caddy.
	HandlerName string `json:"handler_name,omitempty"`

	logger   *zap.Logger
	metrics  *metrics
	warnings *occasional.Log
	bodies   *drain.Drain
}

const (
	// maxDelivery is how much of a delivery is read, in bytes.
	maxDelivery = 64 << 10

	// maxDeliveryTime is how long the body of a delivery may take to arrive. Frappe gives up after 5 seconds.
	maxDeliveryTime = 10 * time.Second

	// signatureHeader holds the signature of a delivery (frappe/integrations/doctype/webhook/webhook.py).
	signatureHeader = "X-Frappe-Webhook-Signature"
)

// CaddyModule returns the Caddy module information.
func (Webhook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.frappe_auth_webhook",
		New: func() caddy.Module { return new(Webhook) },
	}
}

// UnmarshalJSON rejects unknown fields, as Caddy does, and names the field that is called for.
func (h *Webhook) UnmarshalJSON(raw []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return err
	}
	if _, ok := fields["for"]; ok {
		return errors.New("frappe_auth_webhook has no field for; write handler_name")
	}
	type plain Webhook
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	return decoder.Decode((*plain)(h))
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	frappe_auth_webhook [<matcher>] <secret> {
//	    handler <name>
//	}
func (h *Webhook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return d.Err("give the Webhook Secret of the Webhook in Frappe, preferably as a placeholder such as {env.FRAPPE_WEBHOOK_SECRET}")
	}
	h.Secret = args[0]
	return directive.Block{
		Owner:   "frappe_auth_webhook",
		Options: map[string]directive.Option{"handler": directive.Text(&h.HandlerName)},
		Instead: map[string]string{"for": "write handler <name>", "name": "write handler <name>"},
	}.Read(d)
}

// Provision expands the secret.
func (h *Webhook) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	secret, err := caddy.NewReplacer().ReplaceOrErr(h.Secret, true, true)
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	if secret == "" {
		return errors.New("a secret is required: the Webhook Secret of the Webhook in Frappe")
	}
	h.Secret = secret
	h.warnings = &occasional.Log{Now: time.Now}
	h.bodies = new(drain.Drain)
	h.metrics, err = registerMetrics(ctx)
	return err
}

// ServeHTTP takes a delivery.
func (h *Webhook) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	refused := h.take(w, r)
	h.metrics.countDelivery(refused.outcome)
	if refused.outcome == deliveryAccepted {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if suppressed, ok := h.warnings.May(refused.outcome.String()); ok {
		h.logger.Warn("refused a webhook delivery", zap.String("outcome", refused.outcome.String()), zap.String("reason", refused.what),
			zap.Int("status", refused.status), zap.String("client_ip", clientIP(r)), zap.Uint64("suppressed", suppressed))
	}
	body, err := json.Marshal(map[string]string{"error": refused.what})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(refused.status)
	_, err = w.Write(append(body, '\n'))
	return err
}

// deliveryOutcome is what became of a delivery, for metrics and logs.
type deliveryOutcome uint8

const (
	deliveryAccepted deliveryOutcome = iota
	deliveryBadSignature
	deliveryMalformed // also: another method, too long, too slow
	deliveryUnknownHandler
	deliveryOutcomes // how many there are
)

func (o deliveryOutcome) String() string {
	return [deliveryOutcomes]string{"accepted", "bad_signature", "malformed", "unknown_handler"}[o]
}

// refusedDelivery says why a delivery is not accepted, and what to do. It holds nothing that the client sent.
type refusedDelivery struct {
	outcome deliveryOutcome
	status  int
	what    string
}

func malformedDelivery(status int, what string) refusedDelivery {
	return refusedDelivery{outcome: deliveryMalformed, status: status, what: what}
}

// take verifies a delivery and drops what it concerns. The zero refusedDelivery accepts it.
func (h *Webhook) take(w http.ResponseWriter, r *http.Request) refusedDelivery {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		h.bodies.End(w, r)
		return malformedDelivery(http.StatusMethodNotAllowed, "deliveries must be sent with POST; set Request Method to POST in the Webhook")
	}
	body, err := readBody(w, r)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		h.bodies.End(w, r)
		return malformedDelivery(http.StatusRequestEntityTooLarge, "the body is longer than 64 KiB; send only doctype, name and api_key")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return malformedDelivery(http.StatusRequestTimeout, fmt.Sprintf("the body did not arrive within %s", maxDeliveryTime))
	case err != nil:
		return malformedDelivery(http.StatusBadRequest, "the body ended early")
	case !h.signed(body, r.Header[signatureHeader]):
		return refusedDelivery{
			outcome: deliveryBadSignature, status: http.StatusForbidden,
			what: "the signature is missing or wrong; tick Enable Security in the Webhook, and set its Webhook Secret to the secret of " +
				"frappe_auth_webhook in Caddy",
		}
	}
	change, err := readDelivery(body)
	if err != nil {
		return malformedDelivery(http.StatusUnprocessableEntity, err.Error())
	}
	if !revokeIn(h.HandlerName, change, revokedByWebhook) && h.HandlerName != "" {
		return refusedDelivery{
			outcome: deliveryUnknownHandler, status: http.StatusInternalServerError,
			what: fmt.Sprintf("no frappe_auth is named %s, so nothing was revoked; in Caddy, correct `handler` of frappe_auth_webhook or "+
				"`name` of frappe_auth", h.HandlerName),
		}
	}
	return refusedDelivery{}
}

// readBody reads the body of a delivery, which is bounded in size and in time.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > maxDelivery {
		return nil, &http.MaxBytesError{Limit: maxDelivery}
	}
	err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(maxDeliveryTime))
	if err != nil && !errors.Is(err, http.ErrNotSupported) { // then the timeouts of Caddy's server hold
		return nil, err
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, maxDelivery))
}

// signed reports whether the only signature is that of the body.
func (h *Webhook) signed(body []byte, signatures []string) bool {
	mac := hmac.New(sha256.New, []byte(h.Secret))
	mac.Write(body)
	want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return len(signatures) == 1 && hmac.Equal([]byte(signatures[0]), []byte(want))
}

// readDelivery reads what a delivery says has changed.
func readDelivery(body []byte) (frappe.Change, error) {
	var delivery struct {
		Doctype string `json:"doctype"`
		Name    string `json:"name"`
		APIKey  string `json:"api_key"`
	}
	if err := json.Unmarshal(body, &delivery); err != nil {
		return frappe.Change{}, errors.New("the body is not a JSON object; set Request Structure to JSON in the Webhook, and its JSON Request Body " +
			"to the one in the README of frappe-auth")
	}
	switch {
	case delivery.Name == "":
		return frappe.Change{}, errors.New(`the body has no name; add "name": "{{ doc.name }}" to the JSON Request Body of the Webhook`)
	case delivery.Doctype == "User":
		return frappe.Change{User: delivery.Name, Key: delivery.APIKey}, nil
	case delivery.Doctype == "OAuth Bearer Token":
		return frappe.Change{Token: delivery.Name}, nil
	}
	return frappe.Change{}, errors.New(`the doctype of the body must be "User" or "OAuth Bearer Token"; webhooks of other documents revoke nothing`)
}

// revokeIn drops the verdicts that a change selects in the caches of all handlers, or of those with that name. It
// reports whether there was any.
func revokeIn(name string, change frappe.Change, source string) (found bool) {
	states.Range(func(_, value any) bool {
		if s := value.(*state); name == "" || s.serves(name) {
			s.cache.revoke(change)
			found = true
		}
		return true
	})
	if found {
		collectors.countRevocation(source)
	}
	return found
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Webhook)(nil)
	_ caddyhttp.MiddlewareHandler = (*Webhook)(nil)
	_ caddyfile.Unmarshaler       = (*Webhook)(nil)
)
