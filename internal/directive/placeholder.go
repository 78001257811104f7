package directive

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// globalPrefixes are the prefixes of the placeholders that do not depend on a request.
var globalPrefixes = []string{"env.", "file.", "system.", "time."}

// IsGlobalPlaceholder reports whether the placeholder with that name, written without braces, is independent of a request.
func IsGlobalPlaceholder(name string) bool {
	return slices.ContainsFunc(globalPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// MissingPlaceholder returns the error for a placeholder that has no value.
func MissingPlaceholder(name string) error {
	return fmt.Errorf("the placeholder {%s} is empty or unknown; set it where Caddy runs, or write the value itself", name)
}

// Expand replaces the placeholders of an option. A missing value is an error. It names the placeholder, unless the braces may
// be a part of a password.
func Expand(option, value string) (string, error) {
	expanded, err := caddy.NewReplacer().ReplaceFunc(value, func(name string, value any) (any, error) {
		switch {
		case caddy.ToString(value) != "":
			return value, nil
		case IsGlobalPlaceholder(name):
			return nil, MissingPlaceholder(name)
		}
		return nil, errors.New("what stands in braces is no placeholder that is known when the configuration is loaded; write one such as {env.NAME} or {file./path}")
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w", option, err)
	}
	return expanded, nil
}
