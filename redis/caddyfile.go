package redis

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

func init() { directive.Register(new(Store).block(), new(FrappeEvents).block()) }

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	redis <url> {
//	    password <password>
//	    tls_ca   <file>
//	    secret   <secret>
//	    prefix   <prefix>
//	    timeout  <duration>
//	}
func (s *Store) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume store name
	d.Args(&s.URL)
	if err := checkURL(s.URL); err != nil {
		return d.WrapErr(err)
	}
	if err := s.block().Read(d); err != nil {
		return err
	}
	if err := s.validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (s *Store) block() directive.Block {
	return directive.Block{
		Owner: "share redis",
		Options: map[string]directive.Option{
			"password": directive.Text(&s.Password),
			"tls_ca":   directive.Text(&s.TLSCA),
			"secret":   directive.Text(&s.SharedSecret),
			"prefix":   directive.Text(&s.Prefix),
			"timeout":  directive.PositiveDuration(&s.RequestTimeout),
		},
		Instead: map[string]string{
			"user": "write it into the URL, as redis://<user>@<host>",
			"db":   "write its number into the URL, as redis://<host>:6379/1",
			"tls":  "write the URL as rediss://…",
		},
		Check: s.validateOptions,
	}
}

// UnmarshalCaddyfile sets up the feed from Caddyfile tokens. Syntax:
//
//	frappe_events <url> {
//	    password <password>
//	    tls_ca   <file>
//	    site     <name>...
//	}
func (f *FrappeEvents) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume feed name
	d.Args(&f.URL)
	if err := checkURL(f.URL); err != nil {
		return d.WrapErr(err)
	}
	return f.block().Read(d)
}

func (f *FrappeEvents) block() directive.Block {
	return directive.Block{
		Owner: "feed frappe_events",
		Options: map[string]directive.Option{
			"password": directive.Text(&f.Password),
			"tls_ca":   directive.Text(&f.TLSCA),
			"site": func(d *caddyfile.Dispenser) error {
				names := d.RemainingArgs()
				if len(names) == 0 {
					return d.Err("site needs the name of a site, as its directory in the bench is called")
				}
				f.Sites = append(f.Sites, names...)
				return directive.NoBlock(d, "site")
			},
		},
		Repeatable: []string{"site"},
		Instead:    map[string]string{"secret": "it only listens, and stores nothing"},
		Check:      f.validate,
	}
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Store)(nil)
	_ caddyfile.Unmarshaler = (*FrappeEvents)(nil)
)
