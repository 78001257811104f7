package directive

import (
	"encoding/json"
	"fmt"
	"slices"
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

	// Instead maps names that are not modules, but that users are likely to try, to advice, as in Block.
	Instead map[string]string
}

func (g Guest) namespace() string { return "http.frappe_auth." + g.Kind + "s" }

// find returns an error if this Caddy has no module with that name.
func (g Guest) find(name string) error {
	if _, err := caddy.GetModule(g.namespace() + "." + name); err == nil {
		return nil
	}
	advice, known := g.Instead[strings.ToLower(name)]
	if known {
		return fmt.Errorf("%s is not a %s; %s", name, g.Kind, advice)
	}
	var names []string
	for _, module := range caddy.GetModules(g.namespace()) {
		names = append(names, module.ID.Name())
	}
	build := ""
	if !slices.Contains(names, g.Optional) {
		build = fmt.Sprintf("; for %s, build Caddy with it: add --with github.com/caddy-frappe/frappe-auth/%s", g.Optional,
			g.Package)
	}
	if nearest, ok := Nearest(name, append(names, g.Optional)); ok && nearest != name {
		return fmt.Errorf("this Caddy has no %s %s; did you mean %s?", g.Kind, name, nearest)
	}
	if name != g.Optional && len(names) > 0 {
		slices.Sort(names)
		return fmt.Errorf("this Caddy has no %s %s; it has %s%s", g.Kind, name, strings.Join(names, ", "), build)
	}
	return fmt.Errorf("this Caddy has no %s %s%s", g.Kind, name, build)
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
	if err := g.find(name); err != nil {
		return nil, d.WrapErr(err)
	}
	module, err := caddyfile.UnmarshalModule(d, g.namespace()+"."+name)
	if err != nil {
		return nil, err
	}
	if _, ok := module.(T); !ok {
		return nil, d.Errf("module %T is not a %s", module, g.Kind)
	}
	return caddyconfig.JSONModuleObject(module, g.Kind, name, nil), nil
}

// Check returns an error if the JSON of a module names none that this Caddy has. Caddy's own error does not say what to
// write instead.
func (g Guest) Check(raw json.RawMessage) error {
	var module map[string]json.RawMessage
	if err := json.Unmarshal(raw, &module); err != nil {
		return fmt.Errorf("each %s is an object, such as %s", g.Kind, g.object())
	}
	var name string
	if json.Unmarshal(module[g.Kind], &name) != nil || name == "" {
		return fmt.Errorf("the type of a %s is missing; write its name as %s, such as %s", g.Kind, g.Kind, g.object())
	}
	return g.find(name)
}

// object is an example of the JSON of a module.
func (g Guest) object() string {
	return fmt.Sprintf(`{"%s": "%s", …}`, g.Kind, strings.Fields(g.Example)[0])
}
