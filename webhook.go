package frappeauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(Webhook{})
}

// Webhook takes the deliveries of Frappe's Webhook documents for `User` and `OAuth Bearer Token`, and drops the cached
// verdicts that they concern: those of the user, or those about the access token, granted and denied. A revoked
// credential then stops working at once, however long the ttl.
//
// A delivery is a POST of a JSON object with `doctype` and `name`, and for a `User` preferably `api_key`, signed as
// Frappe does with the Webhook Secret: X-Frappe-Webhook-Signature is the base64 of the HMAC-SHA256 of the body. It is
// answered with 204; one with a wrong signature, or none, with 403, whatever it holds. To repeat a delivery does
// nothing but ask the backends once more.
type Webhook struct {
	// The Webhook Secret, as in Frappe. Placeholders such as `{env.*}` and `{file.*}` are allowed. Required.
	Secret string `json:"secret"`

	// The name of the handlers whose cached verdicts are dropped. Handlers with the same backends share a cache, so
	// that it concerns them too. Default: every handler of this Caddy.
	For string `json:"for,omitempty"`

	logger *zap.Logger
}

// maxDelivery is how much of a delivery is read, in bytes.
const maxDelivery = 64 << 10

// signatureHeader holds the signature of a delivery (frappe/integrations/doctype/webhook/webhook.py).
const signatureHeader = "X-Frappe-Webhook-Signature"

// CaddyModule returns the Caddy module information.
func (Webhook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.frappe_auth_webhook",
		New: func() caddy.Module { return new(Webhook) },
	}
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
	return nil
}

// ServeHTTP takes a delivery.
func (h *Webhook) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return caddyhttp.Error(http.StatusMethodNotAllowed, errors.New("a delivery is a POST"))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxDelivery))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return caddyhttp.Error(http.StatusRequestEntityTooLarge, errors.New("a delivery has 64 KiB at most"))
	case err != nil:
		return caddyhttp.Error(http.StatusBadRequest, errors.New("the delivery ended early"))
	case !h.signed(body, r.Header[signatureHeader]):
		if c := h.logger.Check(zapcore.DebugLevel, "refused a delivery with a wrong signature"); c != nil {
			c.Write(zap.String("client_ip", clientIP(r)))
		}
		return caddyhttp.Error(http.StatusForbidden, errors.New("the signature is wrong"))
	}

	change, err := readDelivery(body)
	if err != nil {
		return caddyhttp.Error(http.StatusUnprocessableEntity, err)
	}
	if !revokeIn(h.For, change, revokedByWebhook) && h.For != "" {
		h.logger.Error("no frappe_auth handler has the name that the webhook is for", zap.String("name", h.For))
		return caddyhttp.Error(http.StatusInternalServerError, errors.New("no frappe_auth handler has that name"))
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// signed reports whether the only signature is that of the body.
func (h *Webhook) signed(body []byte, signatures []string) bool {
	mac := hmac.New(sha256.New, []byte(h.Secret))
	mac.Write(body)
	want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return len(signatures) == 1 && hmac.Equal([]byte(signatures[0]), []byte(want))
}

// readDelivery reads what a delivery says has changed.
func readDelivery(body []byte) (Change, error) {
	var delivery struct {
		Doctype string `json:"doctype"`
		Name    string `json:"name"`
		APIKey  string `json:"api_key"`
	}
	if err := json.Unmarshal(body, &delivery); err != nil || delivery.Name == "" {
		return Change{}, errors.New("a delivery is a JSON object with doctype and name")
	}
	switch delivery.Doctype {
	case "User":
		return Change{User: delivery.Name, Key: delivery.APIKey}, nil
	case "OAuth Bearer Token":
		return Change{Token: delivery.Name}, nil
	}
	return Change{}, errors.New("the doctype of a delivery is User or OAuth Bearer Token")
}

// revokeIn drops the verdicts that a change selects in the caches of all handlers, or of those with that name. It
// reports whether there was any.
func revokeIn(name string, change Change, source string) (found bool) {
	states.Range(func(_, value any) bool {
		if s := value.(*state); name == "" || s.serves(name) {
			s.cache.revoke(change)
			found = true
		}
		return true
	})
	if found {
		currentMetrics().countRevocation(source)
	}
	return found
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Webhook)(nil)
	_ caddyhttp.MiddlewareHandler = (*Webhook)(nil)
)
