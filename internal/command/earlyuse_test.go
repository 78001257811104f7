package command

import (
	"slices"
	"testing"
)

// TestFindEarlyUses: a use counts if an authentication follows. Named routes that invoke each other end.
func TestFindEarlyUses(t *testing.T) {
	const use, auth = `{"handler": "vars", "root": "/srv/{http.auth.user.id}"}`, `{"handler": "frappe_auth"}`
	early := earlyUse{by: "root", placeholder: "{http.auth.user.id}", where: "every host"}
	for _, test := range []struct {
		name, routes string
		want         []earlyUse
	}{
		{"before", `[{"handle": [` + use + `, ` + auth + `]}]`, []earlyUse{early}},
		{"after", `[{"handle": [` + auth + `, ` + use + `]}]`, nil},
		{
			"other route of a group", `[{"group": "g", "handle": [` + use + `]}, {"group": "g", "handle": [` + auth + `]}]`, nil,
		},
		{"terminal", `[{"terminal": true, "handle": [` + use + `]}, {"handle": [` + auth + `]}]`, nil},
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
