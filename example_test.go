package frappeauth_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-frappe/frappe-auth"
)

// protectedSite is a Caddyfile with one credential of backend static. The hash is that of the API secret
// 61066224add85e6; the command `caddy frappe-auth hash` makes such lines.
const protectedSite = `
{
	admin off
	persist_config off
	log {
		output discard
	}
}
http://localhost {
	bind unix/%s
	frappe_auth {
		backend static {
			token 2c6245becaa0961 sha256:708a11bd2c1ecdd5f774a80d15d45d3796beb5f0f7434439522136fe3a8937ca alice@example.com
		}
	}
	respond "You are {http.auth.user.id}."
}`

// A program that embeds Caddy imports the package for its side effect, and loads a configuration with frappe_auth in
// it.
func Example() {
	dir, err := os.MkdirTemp("", "frappe-auth")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "socket")
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(fmt.Appendf(nil, protectedSite, socket), nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		log.Fatal(err)
	}
	defer caddy.Stop()

	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	defer client.CloseIdleConnections()
	for _, secret := range []string{"61066224add85e6", "wrong"} {
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://localhost", nil)
		if err != nil {
			log.Fatal(err)
		}
		request.Header.Set("Authorization", "token 2c6245becaa0961:"+secret)
		response, err := client.Do(request)
		if err != nil {
			log.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(response.Status, string(body))
	}
	// Output:
	// 200 OK You are alice@example.com.
	// 401 Unauthorized
}
