package jwt

import (
	"encoding/base64"
	"math"
	"testing"
	"time"
)

// unsigned makes a token with that payload, which nobody signed.
func unsigned(payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"HS256"}`)) + "." + encode([]byte(payload)) + "." + encode([]byte("signature"))
}

func TestExpiry(t *testing.T) {
	for _, test := range []struct {
		name, token string
		want        time.Time
	}{
		{"exp", unsigned(`{"exp":1900000000}`), time.Unix(1_900_000_000, 0)},
		{"exp with a fraction", unsigned(`{"exp":1900000000.9}`), time.Unix(1_900_000_000, 0)},
		{"exp of 0", unsigned(`{"exp":0}`), time.Unix(1, 0)},
		{"negative exp", unsigned(`{"exp":-1e300}`), time.Unix(1, 0)},
		{"exp beyond all time", unsigned(`{"exp":1e300}`), time.Unix(math.MaxInt32*100, 0)},
		{"no exp", unsigned(`{"sub":"alice"}`), time.Time{}},
		{"exp is a text", unsigned(`{"exp":"1900000000"}`), time.Time{}},
		{"exp is null", unsigned(`{"exp":null}`), time.Time{}},
		{"no JSON", unsigned(`exp`), time.Time{}},
		{"no base64", "a.b!.c", time.Time{}},
		{"two parts", "a.b", time.Time{}},
		{"Frappe's", "641cc7393fbf7e529b94837c181e81", time.Time{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Expiry(test.token); !got.Equal(test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
