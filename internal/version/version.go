// Package version says which frappe-auth this program contains.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

const module = "github.com/caddy-frappe/frappe-auth"

// unknown is the version of a program that was built without one.
const unknown = "unknown"

// Module returns the version of frappe-auth, such as v0.1.0, as Go recorded it when the program was built: of the
// module that Caddy was built with, or of the checkout. It is `unknown` if nothing was recorded.
var Module = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknown
	}
	return moduleIn(info)
})

func moduleIn(info *debug.BuildInfo) string {
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path != module {
			continue
		}
		switch {
		case m.Replace != nil && recorded(m.Replace.Version): // by a fork
			return m.Replace.Path + " " + m.Replace.Version
		case recorded(m.Version):
			return m.Version
		}
	}
	return unknown
}

// recorded reports whether a module has a version. A directory has none.
func recorded(version string) bool { return version != "" && version != "(devel)" }

// Caddy returns the version of Caddy.
func Caddy() string {
	simple, _ := caddy.Version()
	return simple
}

// Line returns all versions that a report of a fault needs.
func Line() string {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	return fmt.Sprintf("frappe-auth %s, Caddy %s, %s %s", Module(), Caddy(), runtime.Version(), platform)
}
