package directive

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Distinct returns an error if two of these modules, each a backend or whatever kind says, are the same, however their JSON is
// written. The error ends with the advice.
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
