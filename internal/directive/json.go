package directive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// DecodeJSON decodes the JSON of a module and rejects unknown fields, as Caddy does. instead maps fields that users are
// likely to try to advice for the error. The error names the owner.
func DecodeJSON(raw []byte, into any, owner string, instead map[string]string) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return err
	}
	for name, advice := range instead {
		if _, ok := fields[name]; ok {
			return fmt.Errorf("%s has no option %s; %s", owner, name, advice)
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

// Distinct returns an error if two modules have the same JSON, even if it is written differently. kind names the
// modules in the error, such as `backend`. The error ends with the advice.
func Distinct(kind string, modules []json.RawMessage, advice string) error {
	seen := make(map[string]bool)
	for _, raw := range modules {
		var value any
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		if err := decoder.Decode(&value); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		canonical, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		if seen[string(canonical)] {
			return fmt.Errorf("the same %s is given twice; %s", kind, advice)
		}
		seen[string(canonical)] = true
	}
	return nil
}

// Fingerprint returns a hash of values, which are compared as JSON. Handlers share state, also across reloads, while
// the fingerprint of what the state depends on stays the same. The values may be secrets.
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
