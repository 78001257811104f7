package directive

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
)

var errPort = errors.New("a port is a number from 1 to 65535")

// ParsePort parses a port number, from 1 to 65535.
func ParsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, errPort
	}
	return uint16(n), nil
}

// Port returns the port of a URL, or 0 if it has none and the default of its scheme applies. Unlike net/url, it rejects numbers
// that are not a port, and a colon without a number.
func Port(u *url.URL) (uint16, error) {
	if u.Port() == "" && !strings.HasSuffix(u.Host, ":") {
		return 0, nil
	}
	return ParsePort(u.Port())
}
