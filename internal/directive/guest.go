package directive

import (
	"encoding/json"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Guest is an option whose first argument names a guest module, which parses the rest.
type Guest struct {
	// Option is the name of the option.
	Option string

	// Kind is the kind of the module, such as `backend`. It is the inline key of its JSON. The namespace is
	// `http.frappe_auth.` and the plural of Kind.
	Kind string

	// Example is an example of the arguments, beginning with the name of a module.
	Example string

	// Optional is the name of a module that not every Caddy has, and Package is the directory of its package.
	Optional, Package string
}

func (g Guest) namespace() string { return "http.frappe_auth." + g.Kind + "s" }

// names returns the names of the modules of this Caddy, and of the optional one.
func names(g Guest) []string {
	modules := caddy.GetModules(g.namespace())
	all := make([]string, 0, len(modules)+1)
	all = append(all, g.Optional)
	for _, module := range modules {
		all = append(all, module.ID.Name())
	}
	return all
}

// Module parses the option and returns the JSON of the module, which must be a T.
func Module[T any](d *caddyfile.Dispenser, g Guest) (json.RawMessage, error) {
	if !d.NextArg() {
		return nil, d.Errf("%s needs a type, such as %s %s", g.Option, g.Option, g.Example)
	}
	name := d.Val()
	if strings.Contains(name, "://") {
		return nil, d.Errf("the type of the %s is missing; write %s %s %s", g.Kind, g.Option, strings.Fields(g.Example)[0],
			name)
	}
	id := g.namespace() + "." + name
	if _, err := caddy.GetModule(id); err != nil {
		if nearest, ok := Nearest(name, names(g)); ok && nearest != name {
			return nil, d.Errf("this Caddy has no %s %s; did you mean %s?", g.Kind, name, nearest)
		}
		return nil, d.Errf("this Caddy has no %s %s; build Caddy with it: for %s, add --with "+
			"github.com/caddy-frappe/frappe-auth/%s",
			g.Kind, name, g.Optional, g.Package)
	}
	module, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return nil, err
	}
	if _, ok := module.(T); !ok {
		return nil, d.Errf("module %T is not a %s", module, g.Kind)
	}
	return caddyconfig.JSONModuleObject(module, g.Kind, name, nil), nil
}
