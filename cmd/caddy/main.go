// Command caddy is Caddy with its standard modules, frappe_auth and the database backend. Its main function is Caddy's
// own.
package main

import (
	_ "time/tzdata"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-frappe/frappe-auth"
	_ "github.com/caddy-frappe/frappe-auth/database"
)

func main() {
	caddycmd.Main()
}
