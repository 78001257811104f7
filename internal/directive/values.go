package directive

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// ParseNumber parses a positive whole number.
func ParseNumber(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%s is not a positive whole number", text)
	}
	return n, nil
}

// ParseDuration parses a duration that is not negative.
func ParseDuration(text string) (caddy.Duration, error) {
	parsed, err := caddy.ParseDuration(text)
	if err != nil || parsed < 0 {
		return 0, fmt.Errorf("%s is not a duration; write it as 30s, 5m or 1h", text)
	}
	return caddy.Duration(parsed), nil
}

// CheckDuration returns an error for a duration between 0 and a millisecond. A bare number in JSON means nanoseconds,
// so 60 would be 60 ns where 60 seconds were meant.
func CheckDuration(name string, d caddy.Duration) error {
	if d > 0 && time.Duration(d) < time.Millisecond {
		return fmt.Errorf("%s: %s is shorter than a millisecond; a bare number in JSON is nanoseconds, so write a text "+
			"such as \"60s\"", name, time.Duration(d))
	}
	return nil
}

var errPort = errors.New("a port is a number from 1 to 65535")

// ParsePort parses a port number, from 1 to 65535.
func ParsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, errPort
	}
	return uint16(n), nil
}

// Port returns the port of a URL, or 0 if it has none and the default of its scheme applies. Unlike net/url, it rejects
// numbers that are not a port, and a colon without a number.
func Port(u *url.URL) (uint16, error) {
	if u.Port() == "" && !strings.HasSuffix(u.Host, ":") {
		return 0, nil
	}
	return ParsePort(u.Port())
}

// globalPrefixes are the prefixes of the placeholders that do not depend on a request.
var globalPrefixes = []string{"env.", "file.", "system.", "time."}

// IsGlobalPlaceholder reports whether the placeholder with that name, written without braces, is independent of a
// request.
func IsGlobalPlaceholder(name string) bool {
	return slices.ContainsFunc(globalPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// MissingPlaceholder returns the error for a placeholder that has no value.
func MissingPlaceholder(name string) error {
	return fmt.Errorf("the placeholder {%s} is empty or unknown; set it where Caddy runs, or write the value itself", name)
}

// Expand replaces the placeholders in the value of an option. A missing value is an error. The error names the
// placeholder, unless the braces may be part of a password.
func Expand(option, value string) (string, error) {
	expanded, err := caddy.NewReplacer().ReplaceFunc(value, func(name string, value any) (any, error) {
		switch {
		case caddy.ToString(value) != "":
			return value, nil
		case IsGlobalPlaceholder(name):
			return nil, MissingPlaceholder(name)
		}
		return nil, errors.New("the text in braces is not a placeholder that is known when the configuration is loaded; " +
			"write one such as {env.NAME} or {file./path}")
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w", option, err)
	}
	return expanded, nil
}
