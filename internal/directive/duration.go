package directive

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// CheckDuration rejects a duration between 0 and a millisecond. In JSON a bare number is a number of nanoseconds, so that 60
// would mean 60 ns to Caddy, where 60 seconds were meant.
func CheckDuration(name string, d caddy.Duration) error {
	if d > 0 && time.Duration(d) < time.Millisecond {
		return fmt.Errorf("%s: %s is shorter than a millisecond; a bare number in JSON is nanoseconds, so write a text such as \"60s\"",
			name, time.Duration(d))
	}
	return nil
}
