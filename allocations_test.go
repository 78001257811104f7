//go:build !race

package frappeauth

import (
	"net/http/httptest"
	"testing"
)

// TestHitAllocations: a cached grant allocates once, for what the placeholders stand for.
func TestHitAllocations(t *testing.T) {
	h := provisioned(t, `{"backends": [`+benchBackend()+`]}`)
	w := httptest.NewRecorder()
	for _, c := range hitCases {
		r := prepared(c.authorization)
		if err := h.ServeHTTP(w, r, nothing); err != nil {
			t.Fatal(err)
		}
		caddys := testing.AllocsPerRun(200, func() { renew(r) })
		all := testing.AllocsPerRun(200, func() {
			renew(r)
			h.ServeHTTP(w, r, nothing) //nolint:errcheck // as above
		})
		if got := all - caddys; got > c.allocations {
			t.Errorf("%s: %v allocations, want %v", c.name, got, c.allocations)
		}
	}
}
