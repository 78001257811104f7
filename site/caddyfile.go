package site

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	site <url> [<url>...] {
//	    site_name <name>
//	    timeout   <duration>
//	    roles
//	    refuse_disabled
//	    transport <name> {
//	        ...
//	    }
//	}
func (s *Backend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	s.URLs = d.RemainingArgs()
	err := directive.Block{
		Owner: "backend site",
		Options: map[string]directive.Option{
			"site_name":       directive.Text(&s.SiteName),
			"timeout":         directive.PositiveDuration(&s.Timeout),
			"roles":           directive.Toggle(&s.Roles),
			"refuse_disabled": directive.Toggle(&s.RefuseDisabled),
			"transport":       s.unmarshalTransport,
		},
	}.Read(d)
	if err != nil {
		return err
	}
	if err := s.Validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (s *Backend) unmarshalTransport(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, "http.reverse_proxy.transport."+name)
	if err != nil {
		return err
	}
	if _, ok := module.(http.RoundTripper); !ok {
		return d.Errf("module %T cannot carry HTTP requests", module)
	}
	s.TransportRaw = caddyconfig.JSONModuleObject(module, "protocol", name, nil)
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Backend)(nil)
