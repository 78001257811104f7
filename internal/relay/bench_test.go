package relay_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/relay"
)

// BenchmarkSession measures what the cookie of a login adds to a request.
func BenchmarkSession(b *testing.B) {
	k, w := keys(b, secret), httptest.NewRecorder()
	k.SetSession(w, "https://app.example.com", session, now)
	cookies := w.Result().Cookies()
	line := []string{cookies[0].Name + "=" + cookies[0].Value}
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	b.ReportAllocs()
	for b.Loop() {
		r.Header["Cookie"] = line
		if _, ok := relay.TakeCookies(r).Session(k, "https", "app.example.com"); !ok {
			b.Fatal("no session")
		}
	}
}
