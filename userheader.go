package frappeauth

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// reservedHeaders frame the message, route it, or carry the credential. A name that ends with a hyphen is a prefix.
var reservedHeaders = []string{
	// framing and connection: RFC 9110 sections 7.6.1, 7.8, 10.1.1 and 10.1.4, RFC 9112 sections 6 and 7
	"Connection", "Content-", "Expect", "HTTP2-Settings", "Keep-Alive", "Proxy-", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
	// routing, and what proxies say about the client
	"Forwarded", "Host", "Max-Forwards", "Via", "X-Forwarded-By", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port",
	"X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Forwarded-Server", "X-Frappe-Site-Name", "X-Real-IP",
	// credentials, and headers that browsers set and scripts cannot
	"Authorization", "Cookie", "Frappe-Authorization-Source", "Origin", "Sec-",
}

// checkUserHeader returns an error if a header must not be used as the user header.
func checkUserHeader(name string) error {
	const instead = "use a header of its own, such as X-Frappe-User"
	if !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("user_header: %q is not a header name; %s", name, instead)
	}
	for _, reserved := range reservedHeaders {
		prefix := strings.HasSuffix(reserved, "-") && len(name) >= len(reserved) && foldedEqual(name[:len(reserved)], reserved)
		if prefix || foldedEqual(name, reserved) {
			return fmt.Errorf("user_header: %q already has a meaning in HTTP or to Frappe, so it cannot hold the user; %s", name, instead)
		}
	}
	return nil
}

// userHeaderVar returns the name of the request variable that says that a handler has set this user header, or one that
// an upstream could take for it.
func userHeaderVar(name string) string {
	folded := []byte(name)
	for i := range folded {
		folded[i] = foldByte(folded[i])
	}
	return "frappe_auth.user_header." + string(folded)
}

// scrub removes everything from the client that an upstream could take for the user header.
func (h *Handler) scrub(r *http.Request) {
	removeFolded(r.Header, h.UserHeader)
	if r.Trailer != nil {
		removeFolded(r.Trailer, h.UserHeader)
		r.Body = &trailerFilter{ReadCloser: r.Body, trailer: r.Trailer, name: h.UserHeader}
	}
}

// setUserHeader sets the user header for the next handlers.
func (h *Handler) setUserHeader(r *http.Request, user string) {
	r.Header.Set(h.UserHeader, user)
	caddyhttp.SetVar(r.Context(), h.userHeaderVar, true)
}

// removeFolded removes every header that an upstream could take for the named one. It also removes the name from the
// client's Connection header, which would make a proxy remove the header that the handler sets.
func removeFolded(header http.Header, name string) {
	for field := range header {
		if foldedEqual(field, name) {
			delete(header, field)
		}
	}
	for i, options := range header["Connection"] {
		kept := slices.DeleteFunc(strings.Split(options, ","), func(option string) bool {
			return foldedEqual(strings.TrimSpace(option), name)
		})
		header["Connection"][i] = strings.Join(kept, ",")
	}
}

// trailerFilter is a body that removes the trailers that an upstream could take for the named header. Proxies pass
// trailers on, and some servers merge them with headers (RFC 9110 section 6.5.1).
type trailerFilter struct {
	io.ReadCloser
	trailer http.Header // filled in when the body has been read
	name    string
}

// Read implements io.Reader.
func (f *trailerFilter) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if err != nil {
		removeFolded(f.trailer, f.name)
	}
	return n, err
}

// foldedEqual reports whether two header names become the same variable name in CGI or PHP.
func foldedEqual(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if foldByte(a[i]) != foldByte(b[i]) {
			return false
		}
	}
	return true
}

func foldByte(c byte) byte {
	switch {
	case c == '_' || c == '.':
		return '-'
	case 'A' <= c && c <= 'Z':
		return c + ('a' - 'A')
	}
	return c
}
