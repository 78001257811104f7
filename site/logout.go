package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

const (
	pathLogout = "/api/method/logout"

	// pathAccount is a page that every version of Frappe shows to every user, with the session's CSRF token.
	pathAccount = "/me"

	// maxPageSize is how much of that page is read, in bytes.
	maxPageSize = 1 << 20
)

// csrfToken matches the CSRF token in a page.
var csrfToken = regexp.MustCompile(`csrf_token\s*=\s*["']([0-9A-Za-z]{16,128})["']`)

// EndSession implements frappe.SessionEnder. It logs the session out as its user would, and returns nil once Frappe
// refuses the session.
func (s *Backend) EndSession(ctx context.Context, c frappe.Credential) error {
	carried, ok := carry(c)
	if !ok || c.Scheme != frappe.SchemeSession {
		return errors.New("not a session")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Timeout))
	defer cancel()
	defer s.closeIfUnloaded()
	_, err := s.askAddresses(ctx, request{backend: s, credential: carried, site: c.Site}, request.endSession)
	switch {
	case errors.Is(err, frappe.ErrDenied):
		return nil
	case err == nil:
		return fmt.Errorf("site %s: the session goes on after a logout; does something in front of Frappe keep POST %s back?",
			s, pathLogout)
	}
	return err
}

// endSession logs the session out, and returns ErrDenied once it is over. A POST ends it in every version, until Desk
// was opened; from then on it needs the session's CSRF token, which the user's pages have. In 15.44.2, a GET needs
// none, but in 17.0.0-dev it is refused.
func (c request) endSession(ctx context.Context) (frappe.Identity, error) {
	for _, attempt := range []struct {
		method string
		token  bool
	}{{http.MethodPost, false}, {http.MethodGet, false}, {http.MethodPost, true}} {
		var header http.Header
		if attempt.token {
			page, err := c.send(ctx, http.MethodGet, pathAccount, nil)
			if err != nil {
				return frappe.Identity{}, err
			}
			token := csrfToken.FindSubmatch(page)
			if token == nil {
				break
			}
			header = http.Header{"X-Frappe-Csrf-Token": {string(token[1])}}
		}
		if _, err := c.send(ctx, attempt.method, pathLogout, header); err != nil {
			return frappe.Identity{}, err
		}
		if _, err := c.loggedUser(ctx); err != nil {
			return frappe.Identity{}, c.unlessUnknownSite(ctx, err)
		}
	}
	return frappe.Identity{}, nil
}

// send sends a request with further headers, and returns the body of the answer, whatever its status.
func (c request) send(ctx context.Context, method, path string, header http.Header) ([]byte, error) {
	var progress progress
	r := c.httpRequest(progress.watch(ctx), path, "")
	r.Method = method
	maps.Copy(r.Header, header)
	resp, err := c.backend.transport.RoundTrip(r)
	if err != nil {
		return nil, &nextAddressError{c.noAnswer(err, &progress)}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPageSize))
	if err != nil {
		return nil, &nextAddressError{c.noAnswer(err, &progress)}
	}
	return body, nil
}

// Interface guard
var _ frappe.SessionEnder = (*Backend)(nil)
