// Package clients drives a running Caddy with clients that need libraries of their own: Chromium, an MCP client and HTTP/3.
package clients

import (
	_ "github.com/caddy-frappe/frappe-auth" // registers frappe_auth
)
