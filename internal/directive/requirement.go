package directive

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// Requirement reads a line of `require` and adds it to a list.
func Requirement(list *[]frappe.Requirement) Option {
	return func(d *caddyfile.Dispenser) error {
		if !d.NextArg() {
			return d.Err("write require role, user, scope or client and its names")
		}
		kind, names := d.Val(), d.RemainingArgs()
		var required frappe.Requirement
		into, ok := map[string]*[]string{
			"role": &required.Roles, "user": &required.Users, "scope": &required.Scopes, "client": &required.Clients,
		}[kind]
		if !ok {
			return d.Errf("unknown requirement %s; write require role, user, scope or client and its names", kind)
		}
		if len(names) == 0 {
			return d.Errf("require %s needs at least one name", kind)
		}
		*into = names
		*list = append(*list, required)
		return NoBlock(d, "require")
	}
}
