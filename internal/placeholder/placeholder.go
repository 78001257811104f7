// Package placeholder replaces the placeholders of options when a configuration is loaded.
package placeholder

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// global are the prefixes of the placeholders that do not depend on a request.
var global = []string{"env.", "file.", "system.", "time."}

// Global reports whether a placeholder of that name, which is written without braces, does not depend on a request.
func Global(name string) bool {
	return slices.ContainsFunc(global, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// Missing returns the error for a placeholder that has no value.
func Missing(name string) error {
	return fmt.Errorf("the placeholder {%s} is empty or unknown; set it where Caddy runs, or write the value itself", name)
}

// Expand replaces the placeholders of an option. A missing value is an error. It names the placeholder, unless the braces may
// be a part of a password.
func Expand(option, value string) (string, error) {
	expanded, err := caddy.NewReplacer().ReplaceFunc(value, func(name string, value any) (any, error) {
		switch {
		case caddy.ToString(value) != "":
			return value, nil
		case Global(name):
			return nil, Missing(name)
		}
		return nil, errors.New("what stands in braces is no placeholder that is known when the configuration is loaded; write one such as {env.NAME} or {file./path}")
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w", option, err)
	}
	return expanded, nil
}
