package frappeauth

import (
	"encoding/json"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

func (h *Handler) unmarshalShare(d *caddyfile.Dispenser) (err error) {
	h.ShareRaw, err = unmarshalGuest[frappe.Store](d, "share", "store", "redis redis://localhost:6379")
	return err
}

func (h *Handler) unmarshalFeed(d *caddyfile.Dispenser) error {
	raw, err := unmarshalGuest[frappe.Watcher](d, "feed", "feed", "frappe_events redis://localhost:6379")
	h.FeedsRaw = append(h.FeedsRaw, raw)
	return err
}

// unmarshalGuest parses an option whose first argument names a guest module of a kind, which parses the rest.
func unmarshalGuest[T any](d *caddyfile.Dispenser, option, kind, example string) (json.RawMessage, error) {
	if !d.NextArg() {
		return nil, d.Errf("%s needs a type, such as %s %s", option, option, example)
	}
	name := d.Val()
	id := "http.frappe_auth." + kind + "s." + name
	if _, err := caddy.GetModule(id); err != nil {
		return nil, d.Errf("this Caddy has no %s %s; build Caddy with it: for %s, add --with github.com/caddy-frappe/frappe-auth/redis",
			kind, name, strings.Fields(example)[0])
	}
	module, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return nil, err
	}
	if _, ok := module.(T); !ok {
		return nil, d.Errf("module %T is not a %s", module, kind)
	}
	return caddyconfig.JSONModuleObject(module, kind, name, nil), nil
}
