package command

import (
	"context"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// builtByRun matches the paths of programs that `go run` builds, in a temporary directory or in Go's cache.
var builtByRun = regexp.MustCompile(`[/\\]go-build[0-9]*[/\\]`)

// invocation returns how the operator called this program, whose path is given.
func invocation(program string) string {
	if builtByRun.MatchString(program) {
		return "go run ./cmd/caddy"
	}
	return shellWord(program)
}

// request returns a command that sends a request to an address of a Caddyfile. It is empty if the address does not name
// one host.
func request(address string) string {
	const curl = `curl -H "Authorization: token <api_key>:<api_secret>" `
	parsed, err := httpcaddyfile.ParseAddress(address)
	if err != nil || strings.ContainsAny(parsed.Host, "*, ") {
		return ""
	}
	options, scheme, host := "", parsed.Scheme, parsed.Host
	switch {
	case host == "" && scheme == "":
		scheme, host = "http", "127.0.0.1"
	case host == "":
		host = "127.0.0.1"
	case scheme == "" && parsed.Port == "80":
		scheme = "http"
	case scheme == "":
		scheme = "https"
	}
	if scheme == "https" && !public(host) {
		options = "--insecure " // Caddy signs the certificate itself
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if parsed.Port != "" {
		host += ":" + parsed.Port
	}
	return curl + options + shellWord(scheme+"://"+host+"/")
}

// listening returns where a server already answers at an address of a Caddyfile on this machine. It is empty if none
// does. Where two Caddys listen at one port, the system gives each of them some of the requests.
func listening(address string) string {
	parsed, err := httpcaddyfile.ParseAddress(address)
	if err != nil || parsed.Port == "" || !slices.Contains([]string{"", "localhost", "127.0.0.1"}, parsed.Host) {
		return ""
	}
	local := net.JoinHostPort("127.0.0.1", parsed.Port)
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(context.Background(), "tcp", local)
	if err != nil {
		return ""
	}
	_ = conn.Close() // it was only opened to see whether that works
	return local
}

// public reports whether Caddy gets a certificate from a public authority for a host.
func public(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil || !strings.Contains(host, ".") {
		return false
	}
	return !slices.ContainsFunc([]string{".localhost", ".local", ".internal", ".home.arpa"}, func(suffix string) bool {
		return strings.HasSuffix(host, suffix)
	})
}

// plainWord matches a text that shells take as it is.
var plainWord = regexp.MustCompile(`^[\pL\pN_@%+=:,./-]+$`)

// shellWord writes a text as one word of a shell's command line.
func shellWord(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
