package redis

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

func init() { directive.Register(new(Store).block(), new(FrappeEvents).block()) }

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	redis <url> {
//	    secret            <secret> [<old secret>...]
//	    password          <password>
//	    prefix            <prefix>
//	    timeout           <duration>
//	    tls_ca            <file>
//	    tls_cert          <file>
//	    tls_key           <file>
//	    tls_server_name   <name>
//	    sentinel_user     <user>
//	    sentinel_password <password>
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
	options := s.access().options()
	options["secret"] = s.readSecrets
	options["prefix"] = directive.Text(&s.Prefix)
	options["timeout"] = directive.PositiveDuration(&s.RequestTimeout)
	return directive.Block{
		Owner:   "share redis",
		Options: options,
		Instead: map[string]string{
			"user": "write it into the URL, as redis://<user>@<host>",
			"db":   "write its number into the URL, as redis://<host>:6379/1",
			"tls":  "write the URL as rediss://…",
			"cert": "write tls_cert <file> and tls_key <file>",
		},
		Check: s.validateOptions,
	}
}

// access returns the options that say how to reach Redis.
func (s *Store) access() access {
	return access{
		url: &s.URL, password: &s.Password, sentinelUser: &s.SentinelUser, sentinelPassword: &s.SentinelPassword,
		ca: &s.TLSCA, cert: &s.TLSCert, key: &s.TLSKey, serverName: &s.TLSServerName,
	}
}

// UnmarshalCaddyfile sets up the feed from Caddyfile tokens. Syntax:
//
//	frappe_events <url> {
//	    site              <name>...
//	    password          <password>
//	    tls_ca            <file>
//	    tls_cert          <file>
//	    tls_key           <file>
//	    tls_server_name   <name>
//	    sentinel_user     <user>
//	    sentinel_password <password>
//	}
func (f *FrappeEvents) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume feed name
	d.Args(&f.URL)
	if err := checkURL(f.URL); err != nil {
		return d.WrapErr(err)
	}
	if err := f.block().Read(d); err != nil {
		return err
	}
	if err := f.validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (f *FrappeEvents) block() directive.Block {
	options := f.access().options()
	options["site"] = func(d *caddyfile.Dispenser) error {
		names := d.RemainingArgs()
		if len(names) == 0 {
			return d.Err("site needs the name of a site, as its directory in the bench is called")
		}
		f.Sites = append(f.Sites, names...)
		return directive.NoBlock(d, "site")
	}
	return directive.Block{
		Owner:      "feed frappe_events",
		Options:    options,
		Repeatable: []string{"site"},
		Instead:    map[string]string{"secret": "it only listens, and stores nothing"},
		Check:      f.validateSites,
	}
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Store)(nil)
	_ caddyfile.Unmarshaler = (*FrappeEvents)(nil)
)
