// Package resource describes a protected resource to OAuth clients (RFC 9728).
package resource

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// WellKnown is the path of the metadata of a resource without a path (RFC 9728 section 3).
const WellKnown = "/.well-known/oauth-protected-resource"

// Metadata is the metadata of a protected resource (RFC 9728 section 2).
type Metadata struct {
	Resource               string   `json:"resource"`
	AuthorizationServers   []string `json:"authorization_servers,omitempty"`
	ScopesSupported        []string `json:"scopes_supported,omitempty"`
	BearerMethodsSupported []string `json:"bearer_methods_supported,omitempty"`
}

// Validate returns an error if a field that is set is wrong.
func (m Metadata) Validate() error {
	if m.Resource != "" {
		if err := Check(m.Resource); err != nil {
			return err
		}
	}
	for _, server := range m.AuthorizationServers {
		if err := check(server, "an authorization server",
			"write that of the Frappe site, such as https://erp.example.com"); err != nil {
			return err
		}
	}
	for _, scope := range m.ScopesSupported {
		if !frappe.ValidScope(scope) {
			return fmt.Errorf("%q is not a scope; write names such as all or openid, separated by spaces", scope)
		}
	}
	return nil
}

// Check returns an error if a URL is not the identifier of a resource. Its scheme must be https, or http for
// development, and it must not have a fragment. It must not have a query either, because that would make the URL of the
// metadata ambiguous.
func Check(identifier string) error {
	return check(identifier, "a resource", "write a scheme, a host and a path, such as https://mcp.example.com/mcp")
}

func check(address, what, advice string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil ||
		u.RawQuery != "" || u.ForceQuery ||
		strings.ContainsAny(address, "#\\\" ") || u.EscapedPath() != u.Path {
		return fmt.Errorf("%q is not the URL of %s; %s", address, what, advice)
	}
	if _, err := directive.Port(u); err != nil {
		return fmt.Errorf("%q: %w; %s", address, err, advice)
	}
	return nil
}

// MetadataURL returns the URL of the metadata of a resource. The well-known path is inserted between the host and the
// path of the resource (RFC 9728 section 3.1).
func MetadataURL(identifier string) string {
	scheme, rest, _ := strings.Cut(identifier, "://")
	host, path, _ := strings.Cut(rest, "/")
	if path != "" {
		path = "/" + path
	}
	return scheme + "://" + host + WellKnown + path
}

// BelowURL returns another URL of the metadata: the well-known path below that of the resource. It reaches a handler
// that gets only what is below the resource.
func BelowURL(identifier string) string { return strings.TrimSuffix(identifier, "/") + WellKnown }

// Path returns the path of a URL that MetadataURL or BelowURL has made.
func Path(metadataURL string) string {
	_, rest, _ := strings.Cut(metadataURL, "://")
	_, path, _ := strings.Cut(rest, "/")
	return "/" + path
}

// Serves reports whether the metadata of a resource is at a path: that of MetadataURL, that of BelowURL, or the
// well-known path alone, for clients that know only the host. A trailing slash makes no difference.
func Serves(identifier, path string) bool {
	path = strings.TrimSuffix(path, "/")
	return path == WellKnown || path == strings.TrimSuffix(Path(MetadataURL(identifier)), "/") ||
		path == Path(BelowURL(identifier))
}

// Serve answers a request for the metadata. Scripts of any origin may read it.
func Serve(w http.ResponseWriter, r *http.Request, m Metadata) error {
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", "*")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		header.Set("Access-Control-Allow-Methods", "GET, HEAD")
		header.Set("Access-Control-Allow-Headers", "*")
		header.Set("Access-Control-Max-Age", "86400")
		header.Set("Allow", allowed)
		w.WriteHeader(http.StatusNoContent)
		return nil
	default:
		header.Set("Allow", allowed)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	}
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	header.Set("Content-Type", "application/json")
	_, err = w.Write(append(body, '\n'))
	return err
}

const allowed = "GET, HEAD, OPTIONS"
