// Package headers reads and cleans the headers of requests. It finds the client and the host of a request, and removes
// cookies and whatever an upstream could take for a header that only Caddy may set.
package headers

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// reserved are headers that frame the message, route it, or carry the credential. A name that ends with a hyphen is a
// prefix.
var reserved = []string{
	// framing and connection: RFC 9110 sections 7.6.1, 7.8, 10.1.1 and 10.1.4, RFC 9112 sections 6 and 7
	"Connection", "Content-", "Expect", "HTTP2-Settings", "Keep-Alive", "Proxy-", "TE", "Trailer", "Transfer-Encoding",
	"Upgrade",
	// routing, and what proxies say about the client
	"Forwarded", "Host", "Max-Forwards", "Via", "X-Forwarded-By", "X-Forwarded-For", "X-Forwarded-Host",
	"X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Forwarded-Server",
	"X-Frappe-Site-Name", "X-Real-IP",
	// credentials, and headers that browsers set and scripts cannot
	"Authorization", "Cookie", "Frappe-Authorization-Source", "Origin", "Sec-",
}

// CheckName returns an error if a header must not be used to pass the user to an upstream.
func CheckName(name string) error {
	if !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("%q is not a header name", name)
	}
	folded := Fold(name)
	for _, taken := range reserved {
		if taken = Fold(taken); folded == taken || strings.HasSuffix(taken, "-") && strings.HasPrefix(folded, taken) {
			return fmt.Errorf("%q already has a meaning in HTTP or to Frappe, so it cannot hold the user", name)
		}
	}
	return nil
}

// Fold returns the same text for all header names that become the same variable in CGI or PHP.
func Fold(name string) string {
	folded := []byte(name)
	for i := range folded {
		folded[i] = foldByte(folded[i])
	}
	return string(folded)
}

// Scrub removes everything from a request that an upstream could take for the named header: headers, trailers, and the
// name in the client's Connection header, which would make a proxy remove the header that is set later.
func Scrub(r *http.Request, name string) {
	remove(r.Header, name)
	if r.Trailer != nil {
		remove(r.Trailer, name)
		r.Body = &trailerFilter{ReadCloser: r.Body, trailer: r.Trailer, name: name}
	}
}

func remove(header http.Header, name string) {
	for field := range header {
		if Same(field, name) {
			delete(header, field)
		}
	}
	for i, options := range header["Connection"] {
		kept := slices.DeleteFunc(strings.Split(options, ","), func(option string) bool {
			return Same(strings.TrimSpace(option), name)
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
		remove(f.trailer, f.name)
	}
	return n, err
}

// Same reports whether an upstream could take one header name for the other.
func Same(a, b string) bool {
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

// foldByte folds letters to lower case, and every byte that is not a letter or digit to a hyphen. CGI and PHP fold `_`
// and `.` like that, and lighttpd folds all of them.
func foldByte(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + ('a' - 'A')
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	}
	return '-'
}
