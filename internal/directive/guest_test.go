package directive_test

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// plant is a module of a namespace that only this test has.
type plant struct{ id caddy.ModuleID }

func (p plant) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: p.id, New: func() caddy.Module { return p }}
}

// TestGuestCheck: the JSON of a module that this Caddy does not have is an error that says what to write. Only for the
// module that not every Caddy has, and only where it is missing, that is how to build Caddy.
func TestGuestCheck(t *testing.T) {
	guest := directive.Guest{
		Option: "grow", Kind: "plant", Example: "tree 3", Optional: "orchid", Package: "flowers",
		Instead: map[string]string{"oak": "write grow tree"},
	}
	tests := []struct{ name, raw, without, with string }{
		{"there", `{"plant": "tree"}`, "", ""},
		{"optional", `{"plant": "orchid"}`, "no plant orchid; for orchid, build Caddy with it: add --with", ""},
		{"optional, misspelled", `{"plant": "orchids"}`, "did you mean orchid?", "did you mean orchid?"},
		{"misspelled", `{"plant": "treee"}`, "did you mean tree?", "did you mean tree?"},
		{"another name", `{"plant": "Oak"}`, "Oak is not a plant; write grow tree", "Oak is not a plant; write grow tree"},
		{
			"unlike any", `{"plant": "nothing"}`, "no plant nothing; it has tree; for orchid, build Caddy",
			"no plant nothing; it has orchid, tree",
		},
		{"no type", `{"size": 3}`, `write its name as plant, such as {"plant": "tree", …}`, "the type of a plant is missing"},
		{"empty type", `{"plant": ""}`, "is missing", "is missing"},
		{"not an object", `"tree"`, "each plant is an object", "each plant is an object"},
	}
	check := func(t *testing.T, raw, want string) {
		t.Helper()
		if err := guest.Check([]byte(raw)); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	caddy.RegisterModule(plant{"http.frappe_auth.plants.tree"})
	for _, test := range tests {
		t.Run(test.name+", without the optional module", func(t *testing.T) { check(t, test.raw, test.without) })
	}
	caddy.RegisterModule(plant{"http.frappe_auth.plants.orchid"})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { check(t, test.raw, test.with) })
	}
}
