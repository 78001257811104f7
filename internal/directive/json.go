package directive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// DecodeJSON decodes the JSON of a module and rejects unknown fields, as Caddy does. instead maps fields that users are
// likely to try to advice for the error. The error names the owner, and what to write instead.
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
	err := decoder.Decode(into)
	if err == nil {
		return nil
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		field := strings.TrimPrefix(wrong.Field, "Options.") // the struct that handler and provider share
		return fmt.Errorf("%s: %s must be %s, not %s", owner, field, kindOf(wrong.Type), shown(wrong.Value))
	}
	// encoding/json has no error value for it.
	quoted, unknown := strings.CutPrefix(err.Error(), "json: unknown field ")
	name, unquoteErr := strconv.Unquote(quoted)
	if !unknown || unquoteErr != nil {
		return fmt.Errorf("%s: %w", owner, err)
	}
	known := make(map[string]bool)
	addFields(known, reflect.TypeOf(into))
	if nearest, ok := Nearest(name, slices.Sorted(maps.Keys(known))); ok {
		return fmt.Errorf("%s has no field %s; did you mean %s?", owner, name, nearest)
	}
	if nearest, ok := Nearest(name, slices.Sorted(maps.Keys(instead))); ok {
		return fmt.Errorf("%s has no field %s; if you mean %s, %s", owner, name, nearest, instead[nearest])
	}
	return fmt.Errorf("%s has no field %s", owner, name)
}

// shown describes a value as encoding/json names it, without the value.
func shown(value string) string {
	kind, _, _ := strings.Cut(value, " ")
	return map[string]string{
		"array": "a list", "bool": "true or false", "number": "a number", "object": "an object", "string": "a text",
	}[kind]
}

// kindOf describes the JSON of a type.
func kindOf(t reflect.Type) string {
	described, ok := map[reflect.Kind]string{
		reflect.Slice: "a list in [ ]", reflect.String: "a text in quotes", reflect.Bool: "true or false",
		reflect.Struct: "an object in { }", reflect.Map: "an object in { }",
	}[t.Kind()]
	if !ok {
		return "a number"
	}
	return described
}

// addFields adds the names of the fields of a type in JSON, and of all types in it, to a set.
func addFields(names map[string]bool, t reflect.Type) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return
	}
	for field := range t.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" && name != "-" {
			names[name] = true
		} else if !field.Anonymous {
			continue
		}
		addFields(names, field.Type)
	}
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
