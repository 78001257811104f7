// Package webhook receives deliveries of Frappe's Webhook documents for `User` and `OAuth Bearer Token`. It checks
// their signatures and returns what has changed.
package webhook

import (
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

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/drain"
)

const (
	// maxDelivery is how much of a delivery is read, in bytes.
	maxDelivery = 64 << 10

	// maxDeliveryTime is how long the body of a delivery may take to arrive. Frappe gives up after 5 seconds.
	maxDeliveryTime = 10 * time.Second

	// signatureHeader holds the signature of a delivery (frappe/integrations/doctype/webhook/webhook.py).
	signatureHeader = "X-Frappe-Webhook-Signature"
)

// Outcome is the result of a delivery, for metrics and logs.
type Outcome string

// The outcomes of deliveries.
const (
	Accepted       Outcome = "accepted"
	BadSignature   Outcome = "bad_signature"
	Malformed      Outcome = "malformed" // also a wrong method, or a body that is too long or too slow
	UnknownHandler Outcome = "unknown_handler"
	Unpublished    Outcome = "unpublished" // revoked here, but not published to other Caddys
)

// Outcomes are all outcomes of deliveries.
var Outcomes = []Outcome{Accepted, BadSignature, Malformed, UnknownHandler, Unpublished}

// Refusal is the answer to a delivery that is not accepted. It contains nothing from the client.
type Refusal struct {
	Outcome Outcome
	Status  int
	Reason  string // what is wrong and what to do
}

func malformed(status int, reason string) *Refusal {
	return &Refusal{Outcome: Malformed, Status: status, Reason: reason}
}

// NotPublished returns the answer if the change could not be published to the other Caddys that share the store.
func NotPublished() *Refusal {
	return &Refusal{
		Outcome: Unpublished, Status: http.StatusServiceUnavailable,
		Reason: "the change took effect in this Caddy, but the shared store is not available, so the other Caddys were " +
			"not told yet; they are told when it is back",
	}
}

// NoHandler returns the answer if no handler has the name in the webhook's option `handler`.
func NoHandler(name string) *Refusal {
	return &Refusal{
		Outcome: UnknownHandler, Status: http.StatusInternalServerError,
		Reason: fmt.Sprintf("no frappe_auth is named %s, so nothing was revoked; in Caddy, correct `handler` of "+
			"frappe_auth_webhook or `name` of frappe_auth", name),
	}
}

// Write answers the delivery with a JSON object whose `error` is the reason.
func (f *Refusal) Write(w http.ResponseWriter) error {
	body, err := json.Marshal(map[string]string{"error": f.Reason})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(f.Status)
	_, err = w.Write(append(body, '\n'))
	return err
}

// Receiver reads deliveries. It must not be copied after its first use.
type Receiver struct {
	// Secret is the Webhook Secret that is set in Frappe. It must not be empty.
	Secret string

	bodies drain.Drain
}

// Receive reads a delivery and returns what has changed, or why the delivery is refused. A refusal does not wait for
// the rest of the body.
func (v *Receiver) Receive(w http.ResponseWriter, r *http.Request) ([]frappe.Change, *Refusal) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		v.bodies.End(w, r)
		return nil, malformed(http.StatusMethodNotAllowed,
			"deliveries must be sent with POST; set Request Method to POST in the Webhook")
	}
	body, err := readBody(w, r)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		v.bodies.End(w, r)
		return nil, malformed(http.StatusRequestEntityTooLarge,
			"the body is longer than 64 KiB; send only doctype, name and api_key")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, malformed(http.StatusRequestTimeout, fmt.Sprintf("the body did not arrive within %s", maxDeliveryTime))
	case err != nil:
		return nil, malformed(http.StatusBadRequest, "the body ended early")
	case !v.signed(body, r.Header[signatureHeader]):
		return nil, &Refusal{
			Outcome: BadSignature, Status: http.StatusForbidden,
			Reason: "the signature is missing or wrong; tick Enable Security in the Webhook, and set its Webhook Secret to " +
				"the secret of frappe_auth_webhook in Caddy",
		}
	}
	changes, err := parse(body)
	if err != nil {
		return nil, malformed(http.StatusUnprocessableEntity, err.Error())
	}
	return changes, nil
}

// readBody reads the body of a delivery, within limits of size and time.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > maxDelivery {
		return nil, &http.MaxBytesError{Limit: maxDelivery}
	}
	err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(maxDeliveryTime))
	if err != nil && !errors.Is(err, http.ErrNotSupported) { // otherwise the timeouts of Caddy's server apply
		return nil, err
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, maxDelivery))
}

// signed reports whether there is exactly one signature and it matches the body.
func (v *Receiver) signed(body []byte, signatures []string) bool {
	mac := hmac.New(sha256.New, []byte(v.Secret))
	mac.Write(body)
	want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return len(signatures) == 1 && hmac.Equal([]byte(signatures[0]), []byte(want))
}

// parse returns what a delivery says has changed.
func parse(body []byte) ([]frappe.Change, error) {
	var delivery struct {
		Doctype     string `json:"doctype"`
		Name        string `json:"name"`
		APIKey      string `json:"api_key"`
		AccessToken string `json:"access_token"` // or its hash
	}
	if err := json.Unmarshal(body, &delivery); err != nil {
		return nil, errors.New("the body is not a JSON object; set Request Structure to JSON in the Webhook, and its JSON " +
			"Request Body to the one in docs/freshness.md of frappe-auth")
	}
	switch {
	case delivery.Name == "":
		return nil, errors.New(`the body has no name; add "name": "{{ doc.name }}" to the JSON Request Body of the Webhook`)
	case delivery.Doctype == "User":
		return []frappe.Change{{User: delivery.Name, Key: delivery.APIKey}}, nil
	case delivery.Doctype == "OAuth Bearer Token":
		changes := []frappe.Change{{Token: delivery.Name}}
		if delivery.AccessToken != "" && delivery.AccessToken != delivery.Name {
			changes = append(changes, frappe.Change{Token: delivery.AccessToken})
		}
		return changes, nil
	}
	return nil, errors.New(`the doctype of the body must be "User" or "OAuth Bearer Token"; ` +
		"webhooks of other documents revoke nothing")
}
