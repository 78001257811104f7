package version

import (
	"runtime/debug"
	"testing"
)

// TestModule: the version is found whether Caddy was built with the module, from a fork, or from a checkout.
func TestModule(t *testing.T) {
	ours := func(version string) debug.Module { return debug.Module{Path: module, Version: version} }
	replaced := func(path, version string) *debug.Module {
		m := ours("v0.1.0")
		m.Replace = &debug.Module{Path: path, Version: version}
		return &m
	}
	released := ours("v0.1.0")
	caddy := debug.Module{Path: "caddy", Version: "(devel)"}
	for _, test := range []struct {
		name string
		info debug.BuildInfo
		want string
	}{
		{"released", debug.BuildInfo{Main: caddy, Deps: []*debug.Module{{Path: "other", Version: "v9.9.9"}, &released}}, "v0.1.0"},
		{"from a directory", debug.BuildInfo{Main: caddy, Deps: []*debug.Module{replaced("../frappe-auth", "(devel)")}}, "v0.1.0"},
		{
			"fork",
			debug.BuildInfo{Main: caddy, Deps: []*debug.Module{replaced("github.com/you/frappe-auth", "v0.2.0")}},
			"github.com/you/frappe-auth v0.2.0",
		},
		{"checkout of a tag", debug.BuildInfo{Main: released}, "v0.1.0"},
		{"go run", debug.BuildInfo{Main: ours("(devel)")}, "unknown"},
		{"without it", debug.BuildInfo{Main: caddy}, "unknown"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := moduleIn(&test.info); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
