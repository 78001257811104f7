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

// reservedHeaders frame the message, route it, or carry the credential. A name that ends with a hyphen stands for all that
// begin with it.
var reservedHeaders = []string{
	// framing and connection: RFC 9110 sections 7.6.1, 7.8, 10.1.1 and 10.1.4, RFC 9112 sections 6 and 7
	"Connection", "Content-", "Expect", "HTTP2-Settings", "Keep-Alive", "Proxy-", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
	// routing, and what proxies say of the client
	"Forwarded", "Host", "Max-Forwards", "Via", "X-Forwarded-By", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port",
	"X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Forwarded-Server", "X-Frappe-Site-Name", "X-Real-IP",
	// credentials, and what browsers vouch for
	"Authorization", "Cookie", "Frappe-Authorization-Source", "Origin", "Sec-",
}

// checkUserHeader reports why a header cannot tell an application the user.
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

// userHeaderVar is the request's variable that says that a handler has set the user header, or one that an upstream could
// take for it.
func userHeaderVar(name string) string {
	folded := []byte(name)
	for i := range folded {
		folded[i] = foldByte(folded[i])
	}
	return "frappe_auth.user_header." + string(folded)
}

// scrub removes everything that the client sent and that an upstream could take for the user header.
func (h *Handler) scrub(r *http.Request) {
	removeFolded(r.Header, h.UserHeader)
	if r.Trailer != nil {
		removeFolded(r.Trailer, h.UserHeader)
		r.Body = &trailerFilter{ReadCloser: r.Body, trailer: r.Trailer, name: h.UserHeader}
	}
}

// setUserHeader tells the next handlers the user.
func (h *Handler) setUserHeader(r *http.Request, user string) {
	r.Header.Set(h.UserHeader, user)
	caddyhttp.SetVar(r.Context(), h.userHeaderVar, true)
}

// removeFolded removes every header that an upstream could take for the named one, and keeps a proxy from removing
// the header that is set in their place: a client can name it in its Connection header.
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

// trailerFilter is a body behind which no trailer comes that an upstream could take for the named header: some make no
// difference between headers and trailers (RFC 9110 section 6.5.1), and a proxy passes trailers on.
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

// foldedEqual reports whether two header names are equal after CGI, or PHP, has made variables of them.
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
