package directive

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// Fingerprint returns a hash of values, which are compared as JSON. Handlers share state, also across reloads, while the
// fingerprint of what the state depends on stays the same. The values may be secrets.
func Fingerprint(values ...any) (string, error) {
	raw, err := json.Marshal(values)
	if err != nil {
		return "", fmt.Errorf("fingerprint of the configuration: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

// ModuleFingerprint returns what the answers of a module depend on besides its configuration, or an empty string.
func ModuleFingerprint(module any) string {
	if f, ok := module.(frappe.Fingerprinter); ok {
		return f.Fingerprint()
	}
	return ""
}
