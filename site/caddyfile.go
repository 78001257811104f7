package site

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

func init() { directive.Register(new(Backend).block()) }

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
	if err := s.Validate(); err != nil {
		return d.WrapErr(err)
	}
	return s.block().Read(d)
}

func (s *Backend) block() directive.Block {
	return directive.Block{
		Owner: "backend site",
		Options: map[string]directive.Option{
			"site_name":       directive.Text(&s.SiteName),
			"timeout":         directive.PositiveDuration(&s.Timeout),
			"roles":           directive.Toggle(&s.Roles),
			"refuse_disabled": directive.Toggle(&s.RefuseDisabled),
			"transport":       s.unmarshalTransport,
		},
		Instead: map[string]string{
			"tls": inTransport, "tls_insecure_skip_verify": inTransport, "tls_server_name": inTransport,
			"tls_client_auth": inTransport, "tls_trust_pool": inTransport,
			"keepalive": inTransport, "dial_timeout": inTransport, "network_proxy": inTransport, "proxy": inTransport,
		},
		Check: s.Validate,
	}
}

const inTransport = "write it inside the block of transport http"

func (s *Backend) unmarshalTransport(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("transport needs a name, such as transport http")
	}
	const namespace = "http.reverse_proxy.transport"
	name := d.Val()
	if _, err := caddy.GetModule(namespace + "." + name); err != nil {
		return d.Errf("this Caddy has no transport %s; write transport http", name)
	}
	module, err := caddyfile.UnmarshalModule(d, namespace+"."+name)
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
