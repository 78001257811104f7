package directive

import (
	"bytes"
	"encoding/json"
)

// Distinct reports whether no two of these JSON values are the same, however they are written.
func Distinct(values []json.RawMessage) (bool, error) {
	seen := make(map[string]bool)
	for _, raw := range values {
		var value any
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		if err := decoder.Decode(&value); err != nil {
			return false, err
		}
		canonical, err := json.Marshal(value)
		if err != nil {
			return false, err
		}
		if seen[string(canonical)] {
			return false, nil
		}
		seen[string(canonical)] = true
	}
	return true, nil
}
