package database

import (
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	database [<site directory>] {
//	    refresh        <duration>
//	    max_open       <n>
//	    timeout        <duration>
//	    db_type        mariadb|postgres|sqlite
//	    db_host        <host>
//	    db_port        <port>
//	    db_socket      <path>
//	    db_name        <name>
//	    db_user        <name>
//	    db_password    <password>
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
		if d.NextBlock(d.Nesting()) {
			return d.Errf("%s takes no block", name)
		}
	}
	if err := b.check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (b *Backend) set(d *caddyfile.Dispenser, name, value string) error {
	texts := map[string]*string{
		"db_type": &b.DBType, "db_host": &b.DBHost, "db_port": &b.DBPort, "db_socket": &b.DBSocket, "db_name": &b.DBName,
		"db_user": &b.DBUser, "db_password": &b.DBPassword, "encryption_key": &b.EncryptionKey,
	}
	durations := map[string]*caddy.Duration{"refresh": &b.Refresh, "timeout": &b.Timeout}
	switch {
	case texts[name] != nil:
		*texts[name] = value
	case durations[name] != nil:
		duration, err := caddy.ParseDuration(value)
		if err != nil || duration <= 0 {
			return d.Errf("%s is no duration; write it as 500ms or 1s", value)
		}
		*durations[name] = caddy.Duration(duration)
	case name == "max_open":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return d.Errf("%s is no positive whole number", value)
		}
		b.MaxOpen = n
	default:
		return d.Errf("unrecognized subdirective %s of backend database", name)
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Backend)(nil)
