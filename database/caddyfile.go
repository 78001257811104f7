package database

import (
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	database [<site directory>] {
//	    poll_interval  <duration>
//	    max_open_conns <n>
//	    timeout        <duration>
//	    db_type        mariadb|postgres|sqlite
//	    db_host        <host>
//	    db_port        <port>
//	    db_socket      <path>
//	    db_name        <name>
//	    db_user        <name>
//	    db_password    <password>
//	    db_ssl_ca      <file>
//	    db_ssl_cert    <file>
//	    db_ssl_key     <file>
//	    encryption_key <key>
//	}
func (b *Backend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	if d.NextArg() {
		b.Site = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	given := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if given[name] {
			return d.Errf("%s is given twice", name)
		}
		given[name] = true
		if !d.NextArg() || d.Val() == "" {
			return d.ArgErr()
		}
		value := d.Val()
		if d.NextArg() {
			return d.ArgErr()
		}
		if err := b.set(d, name, value); err != nil {
			return err
		}
		if err := directive.NoBlock(d, name); err != nil {
			return err
		}
	}
	if err := b.validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (b *Backend) set(d *caddyfile.Dispenser, name, value string) error {
	texts := b.texts()
	durations := map[string]*caddy.Duration{"poll_interval": &b.PollInterval, "timeout": &b.Timeout}
	renamed := map[string]string{"refresh": "poll_interval", "max_open": "max_open_conns"}
	switch {
	case texts[name] != nil:
		*texts[name] = value
	case durations[name] != nil:
		duration, err := caddy.ParseDuration(value)
		if err != nil || duration <= 0 {
			return d.Errf("%s is not a duration; write it as 500ms or 1s", value)
		}
		*durations[name] = caddy.Duration(duration)
	case renamed[name] != "":
		return d.Errf("%s is now %s; write %[2]s %s", name, renamed[name], value)
	case name == "max_open_conns":
		return directive.ParseNumber(d, value, &b.MaxOpenConns)
	default:
		options := slices.Concat(slices.Collect(maps.Keys(texts)), slices.Collect(maps.Keys(durations)), []string{"max_open_conns"})
		slices.Sort(options)
		return directive.Unknown(d, "backend database", name, options)
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Backend)(nil)
