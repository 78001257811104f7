package frappeauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/internal/headers"
	"github.com/caddy-frappe/frappe-auth/internal/resource"
	"github.com/caddy-frappe/frappe-auth/site"
)

// ProtectedResource describes what is protected to OAuth clients (RFC 9728). The `Bearer` challenge then carries
// `resource_metadata`, the URL of the description, and `scope`. The handler serves the description to everybody, and to
// scripts of every origin: at `/.well-known/oauth-protected-resource` with the path of the resource behind it, and without.
//
// It does so whether or not the handler's matcher matches these paths. But the requests must reach the handler: if it is
// inside a `handle` or `handle_path` block for other paths, give these paths to such a block too. Of several handlers with a
// description, the first answers at the path without the resource's path.
type ProtectedResource struct {
	// The URLs of the authorization servers that issue access tokens: the Frappe site, as users' browsers reach it. Default:
	// the URL of the first `site` backend, if it is `https` and has no site_name; otherwise at least one is required.
	AuthorizationServers []string `json:"authorization_servers,omitempty"`

	// The URL of the resource, as users type it into their client. Default: the scheme and the host of the request.
	// X-Forwarded-Proto and X-Forwarded-Host count only if they come from one of Caddy's trusted_proxies.
	Resource string `json:"resource,omitempty"`

	// The scopes that a client should ask for at first. Default: those that are required, else none are listed. A client whose
	// token lacks a required scope is told the required ones.
	Scopes []string `json:"scopes,omitempty"`
}

var errNoAuthorizationServer = errors.New("protected_resource: no backend site has an https URL that clients can reach; " +
	"write authorization_server and the URL of the Frappe site, as browsers reach it")

// validate returns an error if the configuration is wrong.
func (p *ProtectedResource) validate() error {
	m := resource.Metadata{Resource: p.Resource, AuthorizationServers: p.AuthorizationServers, ScopesSupported: p.Scopes}
	if err := m.Validate(); err != nil {
		return fmt.Errorf("protected_resource: %w", err)
	}
	return nil
}

// setServers applies the default of the authorization servers.
func (p *ProtectedResource) setServers(backends []backends.Backend) error {
	if len(p.AuthorizationServers) > 0 {
		return nil
	}
	for _, b := range backends {
		if s, ok := b.Backend.(*site.Backend); ok && s.SiteName == "" && strings.HasPrefix(s.URLs[0], "https://") && resource.Check(s.URLs[0]) == nil {
			p.AuthorizationServers = []string{s.URLs[0]}
			return nil
		}
	}
	return errNoAuthorizationServer
}

// identifier returns the URL of the resource. It is empty if only the request could tell it, and names no host.
func (p *ProtectedResource) identifier(r *http.Request) string {
	if p.Resource != "" {
		return p.Resource
	}
	scheme, host := headers.Addressed(r)
	if host == "" {
		return ""
	}
	return (&url.URL{Scheme: scheme, Host: host}).String()
}

func (p *ProtectedResource) metadataURL(r *http.Request) string {
	identifier := p.identifier(r)
	if identifier == "" {
		return ""
	}
	return resource.MetadataURL(identifier)
}

// serveMetadata answers a request for the description of the resource. served is false for any other request.
func (h *Handler) serveMetadata(w http.ResponseWriter, r *http.Request) (served bool, err error) {
	if h.resource == nil {
		return false, nil
	}
	identifier := h.resource.identifier(r)
	if identifier == "" || !resource.Serves(identifier, headers.OriginalURL(r).Path) {
		return false, nil
	}
	publishNobody(r)
	h.bodies.End(w, r)
	return true, resource.Serve(w, r, resource.Metadata{
		Resource:               identifier,
		AuthorizationServers:   h.resource.AuthorizationServers,
		ScopesSupported:        h.challenges.Scopes,
		BearerMethodsSupported: []string{"header"}, // Frappe reads no other
	})
}

func (p *ProtectedResource) block() directive.Block {
	return directive.Block{
		Owner: "protected_resource",
		Options: map[string]directive.Option{
			"authorization_server": func(d *caddyfile.Dispenser) error {
				var server string
				err := directive.Text(&server)(d)
				p.AuthorizationServers = append(p.AuthorizationServers, server)
				return err
			},
			"resource": directive.Text(&p.Resource),
			"scopes":   directive.List(&p.Scopes, "scopes needs at least one scope, such as all"),
		},
		Repeatable: []string{"authorization_server"},
		Instead:    map[string]string{"scope": "write scopes <scope>...", "authorization_servers": "write authorization_server <url>"},
		Check:      p.validate,
	}
}
