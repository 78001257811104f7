package directive

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// CheckDuration returns an error for a duration between 0 and a millisecond. A bare number in JSON means nanoseconds, so
// 60 would be 60 ns where 60 seconds were meant.
func CheckDuration(name string, d caddy.Duration) error {
	if d > 0 && time.Duration(d) < time.Millisecond {
		return fmt.Errorf("%s: %s is shorter than a millisecond; a bare number in JSON is nanoseconds, so write a text such as \"60s\"",
			name, time.Duration(d))
	}
	return nil
}
