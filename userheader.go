package frappeauth

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/internal/headers"
)

// checkUserHeader returns an error if a header must not be used as the user header.
func checkUserHeader(name string) error {
	if err := headers.CheckName(name); err != nil {
		return fmt.Errorf("user_header: %w; use a header of its own, such as X-Frappe-User", err)
	}
	return nil
}

// userHeaderVar returns the name of the request variable that says that a handler has set this user header, or one that
// an upstream could take for it.
func userHeaderVar(name string) string {
	return "frappe_auth.user_header." + headers.Fold(name)
}

// setUserHeader sets the user header for the next handlers.
func (h *Handler) setUserHeader(r *http.Request, user string) {
	r.Header.Set(h.UserHeader, user)
	caddyhttp.SetVar(r.Context(), h.userHeaderVar, true)
}
