package directive

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// DecodeJSON decodes the JSON of a module and rejects unknown fields, as Caddy does. instead maps fields that users are likely
// to try to what to do instead, which the error of the owner says.
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
