package command

import (
	"slices"
	"testing"
)

// TestFindEarlyUses: named routes that invoke each other end the walk.
func TestFindEarlyUses(t *testing.T) {
	early := earlyUse{by: "root", placeholder: "{http.auth.user.id}", where: "every host"}
	for _, test := range []struct {
		name, routes string
		want         []earlyUse
	}{
		{"before", `[{"handle": [{"handler": "vars", "root": "/srv/{http.auth.user.id}"}, {"handler": "frappe_auth"}]}]`, []earlyUse{early}},
		{"after", `[{"handle": [{"handler": "frappe_auth"}, {"handler": "vars", "root": "/srv/{http.auth.user.id}"}]}]`, nil},
		{"other branch of a group", `[{"group": "g", "handle": [{"handler": "vars", "root": "/srv/{http.auth.user.id}"}]}, {"group": "g", "handle": [{"handler": "frappe_auth"}]}]`, nil},
		{"terminal", `[{"terminal": true, "handle": [{"handler": "vars", "root": "/srv/{http.auth.user.id}"}]}, {"handle": [{"handler": "frappe_auth"}]}]`, nil},
		{"endless", `[{"handle": [{"handler": "invoke", "name": "again"}]}]`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			http := parsed(t, `{"servers": {"a": {"listen": [":443"], "routes": `+test.routes+`, "named_routes": {
				"again": {"handle": [{"handler": "invoke", "name": "again"}]}}}}}`)
			if got := findEarlyUses(http); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
