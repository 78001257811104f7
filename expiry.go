package frappeauth

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
	"time"
)

// unixNanos is the time in Unix nanoseconds, or the nearest that there is: nanoseconds end in the year 2262.
func unixNanos(t time.Time) int64 {
	switch seconds := t.Unix(); {
	case seconds >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	case seconds <= math.MinInt64/int64(time.Second):
		return math.MinInt64
	}
	return t.UnixNano()
}

// jwtExpiry reads the `exp` claim of an access token that has the form of a JWT (RFC 7519 section 4.1.4), without verifying
// the token. The zero time says that there is none. It may shorten what a backend said, and never lengthen it.
func jwtExpiry(token string) time.Time {
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
