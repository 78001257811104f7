// Package port reads ports in a configuration. net/url takes any digits for one, and none behind a colon.
package port

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
)

var errPort = errors.New("a port is a number from 1 to 65535")

// Parse returns the number of a port.
func Parse(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, errPort
	}
	return uint16(n), nil
}

// Of returns the port of a URL, or 0 if it has none, which means that of its scheme.
func Of(u *url.URL) (uint16, error) {
	if u.Port() == "" && !strings.HasSuffix(u.Host, ":") {
		return 0, nil
	}
	return Parse(u.Port())
}
