package browser

import (
	"regexp"
	"strings"
)

// scripts are what Frappe's login page removes from the way back after it has looked whether that leads to its own host
// (frappe.utils.sanitise_redirect of 15.44.2). Without it, /javascript/evil.example.net is another site's URL.
var scripts = []*regexp.Regexp{
	regexp.MustCompile(`(?is)<script\b.*?</script>`),
	regexp.MustCompile(`(?i)(?:confirm|alert|prompt)\(.*\)`),
	regexp.MustCompile(`(?i)` + strings.Join(strings.Split("javascript", ""), `[\s\pZ]*(?:&#x.{1,7})?`)),
}

// withoutScripts returns what Frappe's login page makes of a way back.
func withoutScripts(way string) string {
	for _, script := range scripts {
		way = script.ReplaceAllString(way, "")
	}
	return way
}
