// Command caddy is Caddy with its standard modules, frappe_auth, the database backend and the shared store in Redis.
// Its main function is Caddy's own.
package main

import (
	_ "time/tzdata"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-frappe/frappe-auth"
	_ "github.com/caddy-frappe/frappe-auth/database"
	_ "github.com/caddy-frappe/frappe-auth/redis"
)

func main() {
	caddycmd.Main()
}
