// Package fingerprint names what state depends on: it is shared, and outlives a reload, only while the name stays the same.
package fingerprint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// Of returns the fingerprint of values, which are compared as JSON. It contains none of them, so they may be secrets.
func Of(values ...any) (string, error) {
	raw, err := json.Marshal(values)
	if err != nil {
		return "", fmt.Errorf("fingerprint of the configuration: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

// Further returns what the answers of a module depend on besides its configuration.
func Further(module any) string {
	if f, ok := module.(frappe.Fingerprinter); ok {
		return f.Fingerprint()
	}
	return ""
}
