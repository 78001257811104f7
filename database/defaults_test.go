package database

import (
	"regexp"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestDocsDefaults: the defaults that docs/database.md shows are those of the code.
func TestDocsDefaults(t *testing.T) {
	page := testutil.Page(t, "docs/database.md")
	b := new(Backend)
	b.setDefaults()
	duration := func(text string) any {
		d, err := caddy.ParseDuration(text)
		if err != nil {
			t.Error(err)
		}
		return caddy.Duration(d)
	}
	for name, test := range map[string]struct {
		is    any
		shown func(string) any
	}{
		"poll_interval":  {b.PollInterval, duration},
		"timeout":        {b.Timeout, duration},
		"max_open_conns": {caddy.ToString(b.MaxOpenConns), func(text string) any { return text }},
	} {
		row := regexp.MustCompile("(?m)^\\| `" + name + " [^|]*\\|[^|]*\\| `([^|`]+)` \\|$").FindStringSubmatch(page)
		if row == nil {
			t.Errorf("the page shows no default of %s", name)
		} else if shown := test.shown(row[1]); shown != test.is {
			t.Errorf("the page shows %v as the default of %s, but it is %v", shown, name, test.is)
		}
	}
}
