package database

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

func init() { directive.Register(new(Backend).block()) }

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
	if err := b.block().Read(d); err != nil {
		return err
	}
	if err := b.validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (b *Backend) block() directive.Block {
	options := map[string]directive.Option{
		"poll_interval":  directive.PositiveDuration(&b.PollInterval),
		"timeout":        directive.PositiveDuration(&b.Timeout),
		"max_open_conns": directive.Number(&b.MaxOpenConns),
	}
	for name, value := range b.texts() {
		options[name] = directive.Text(value)
	}
	return directive.Block{
		Owner:   "backend database",
		Options: options,
		Instead: map[string]string{
			"refresh":         "write poll_interval <duration>",
			"max_open":        "write max_open_conns <n>",
			"roles":           "remove the line; a database always tells the roles",
			"refuse_disabled": "remove the line; disabled users are always refused",
		},
		Check: b.validateOptions,
	}
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Backend)(nil)
