package frappeauth

import (
	"maps"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// addPeople adds the options for people in browsers and for OAuth clients to the block of frappe_auth. Call check when the
// block has been read: whether an option makes sense may depend on others.
func (h *Handler) addPeople(block *directive.Block) (check func() error) {
	lines := make(map[string]func(error) error) // adds file and line of an option to an error
	for name, read := range map[string]directive.Option{
		"login":              directive.Text(&h.Login),
		"trusted_origins":    directive.List(&h.TrustedOrigins, "trusted_origins needs at least one origin, such as https://app.example.com"),
		"protected_resource": h.unmarshalProtectedResource,
	} {
		block.Options[name] = func(d *caddyfile.Dispenser) error {
			lines[name] = directive.Here(d)
			return read(d)
		}
	}
	const inResource = "write it inside the block of protected_resource"
	maps.Copy(block.Instead, map[string]string{
		"session": "write schemes basic bearer token session", "session_ttl": "write it inside the block of cache",
		"scope": "write require scope <name>", "client": "write require client <client_id>",
		"authorization_server": inResource, "resource": inResource, "scopes": inResource,
	})
	return func() error {
		option, err := h.checkSchemes()
		if err != nil {
			return lines[option](err)
		}
		return nil
	}
}

func (h *Handler) unmarshalProtectedResource(d *caddyfile.Dispenser) error {
	p := new(ProtectedResource)
	h.ProtectedResource = p
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
	}.Read(d)
}
