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
	"github.com/caddy-frappe/frappe-auth/internal/metrics"
	"github.com/caddy-frappe/frappe-auth/internal/occasional"
)

func init() {
	caddy.RegisterModule(Webhook{})
	for o := range deliveryOutcomes {
		metrics.ExpectDeliveries(o.String())
	}
}

// Webhook receives the deliveries of Frappe's Webhook documents for `User` and `OAuth Bearer Token`, and drops the cached
// verdicts they concern, granted and denied: those of the user and the API key, or those of the access token.
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

	logger   *zap.Logger
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

// UnmarshalJSON rejects unknown fields, as Caddy does. For the old field `for`, the error names the new one.
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
		return d.Err("write the Webhook Secret of the Webhook in Frappe after frappe_auth_webhook, preferably as a placeholder such as {env.FRAPPE_WEBHOOK_SECRET}")
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
	return registerMetrics(ctx)
}

// ServeHTTP receives a delivery and answers it.
func (h *Webhook) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	refused := h.take(w, r)
	metrics.Delivery(refused.outcome.String())
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

// deliveryOutcome is the result of a delivery, for metrics and logs.
type deliveryOutcome uint8

const (
	deliveryAccepted deliveryOutcome = iota
	deliveryBadSignature
	deliveryMalformed // also: wrong method, too long, too slow
	deliveryUnknownHandler
	deliveryOutcomes // number of outcomes
)

func (o deliveryOutcome) String() string {
	return [deliveryOutcomes]string{"accepted", "bad_signature", "malformed", "unknown_handler"}[o]
}

// refusedDelivery says why a delivery is refused and what to do. It contains nothing from the client.
type refusedDelivery struct {
	outcome deliveryOutcome
	status  int
	what    string
}

func malformedDelivery(status int, what string) refusedDelivery {
	return refusedDelivery{outcome: deliveryMalformed, status: status, what: what}
}

// take verifies a delivery and drops the verdicts it concerns. It returns the zero refusedDelivery if the delivery is
// accepted.
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
	if !revokeIn(h.HandlerName, change, metrics.Webhook) && h.HandlerName != "" {
		return refusedDelivery{
			outcome: deliveryUnknownHandler, status: http.StatusInternalServerError,
			what: fmt.Sprintf("no frappe_auth is named %s, so nothing was revoked; in Caddy, correct `handler` of frappe_auth_webhook or "+
				"`name` of frappe_auth", h.HandlerName),
		}
	}
	return refusedDelivery{}
}

// readBody reads the body of a delivery, within limits of size and time.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > maxDelivery {
		return nil, &http.MaxBytesError{Limit: maxDelivery}
	}
	err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(maxDeliveryTime))
	if err != nil && !errors.Is(err, http.ErrNotSupported) { // if not supported, the timeouts of Caddy's server apply
		return nil, err
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, maxDelivery))
}

// signed reports whether there is exactly one signature and it matches the body.
func (h *Webhook) signed(body []byte, signatures []string) bool {
	mac := hmac.New(sha256.New, []byte(h.Secret))
	mac.Write(body)
	want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return len(signatures) == 1 && hmac.Equal([]byte(signatures[0]), []byte(want))
}

// readDelivery parses a delivery and returns what has changed.
func readDelivery(body []byte) (frappe.Change, error) {
	var delivery struct {
		Doctype string `json:"doctype"`
		Name    string `json:"name"`
		APIKey  string `json:"api_key"`
	}
	if err := json.Unmarshal(body, &delivery); err != nil {
		return frappe.Change{}, errors.New("the body is not a JSON object; set Request Structure to JSON in the Webhook, and its JSON Request Body " +
			"to the one in docs/freshness.md of frappe-auth")
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

// revokeIn drops the verdicts that a change selects, in the caches of all handlers or of those with that name. It reports
// whether there was such a cache.
func revokeIn(name string, change frappe.Change, source metrics.Source) (found bool) {
	states.Range(func(_, value any) bool {
		if s := value.(*state); name == "" || s.serves(name) {
			s.cache.revoke(change)
			found = true
		}
		return true
	})
	if found {
		metrics.Revocation(source)
	}
	return found
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Webhook)(nil)
	_ caddyhttp.MiddlewareHandler = (*Webhook)(nil)
	_ caddyfile.Unmarshaler       = (*Webhook)(nil)
)
