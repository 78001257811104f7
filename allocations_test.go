//go:build !race

package frappeauth

import (
	"net/http/httptest"
	"testing"
)

// TestHitAllocations: a cached grant allocates nothing but what setting the placeholders does.
func TestHitAllocations(t *testing.T) {
	h := provisioned(t, `{"backends": [`+benchBackend()+`]}`)
	w := httptest.NewRecorder()
	for _, c := range hitCases {
		r := prepared(c.authorization)
		if err := h.ServeHTTP(w, r, nothing); err != nil {
			t.Fatal(err)
		}
		if got := testing.AllocsPerRun(200, func() { h.ServeHTTP(w, r, nothing) }); got > c.allocations { //nolint:errcheck // as above
			t.Errorf("%s: %v allocations, want %v", c.name, got, c.allocations)
		}
	}
}
