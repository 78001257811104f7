// Package jwt reads what a JSON Web Token says of its own end.
package jwt

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
	"time"
)

// Expiry reads the `exp` claim of an access token that has the form of a JWT (RFC 7519 section 4.1.4), without verifying
// the token. The zero time says that there is none. Nothing that it says may be relied on, except to distrust the token earlier.
func Expiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Exp *float64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Exp == nil {
		return time.Time{}
	}
	seconds := min(max(*claims.Exp, 1), math.MaxInt32*100) // to the year 8774, so that nothing overflows
	return time.Unix(int64(seconds), 0)
}
