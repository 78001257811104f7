package docs_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestDocsCompatibility: the table shows what Frappe answered when it was recorded, and what a running Caddy answers in
// front of a recorded site.
func TestDocsCompatibility(t *testing.T) {
	versions := []string{
		testutil.Version14, testutil.OnMariaDB, testutil.OnPostgreSQL, testutil.Version16Dev, testutil.Version16,
		testutil.Version17,
	}
	site := testutil.NewRecordedSite(t, testutil.OnMariaDB)
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf(`
{
	servers {
		protocols h1 h2c
	}
}
http://:%s {
	bind 127.0.0.1
	frappe_auth %s {
		failures off
	}
	respond {http.auth.user.id}
}`, testutil.PortOf(address), site.URL))

	var table strings.Builder
	fmt.Fprintf(&table, "| request | %s | `frappe_auth`, asking %s |\n|---|%s---|\n",
		strings.Join(versions, " | "), testutil.OnMariaDB, strings.Repeat("---|", len(versions)))
	for _, c := range testutil.Corpus(t) {
		fmt.Fprintf(&table, "| %s ", strings.ReplaceAll(c.Name, "|", "\\|"))
		for _, version := range versions {
			answer := fmt.Sprint(c.Frappe[version].Status)
			if user := c.Frappe[version].User; user != nil {
				answer += " " + *user
			}
			fmt.Fprintf(&table, "| %s ", answer)
		}
		var headers []string
		for _, value := range c.Authorization {
			headers = append(headers, "Authorization: "+value)
		}
		for name, value := range c.Headers {
			headers = append(headers, name+": "+value)
		}
		client := testutil.Client
		if slices.ContainsFunc(c.Authorization, func(value string) bool { return strings.TrimSpace(value) != value }) {
			client = testutil.H2CClient() // where white space at the end arrives
		}
		got := testutil.RequestOver(t, client, http.MethodGet, "http://"+address, headers...)
		answer := fmt.Sprint(got.Status)
		if got.Status == http.StatusOK {
			answer += " " + got.Body
		}
		fmt.Fprintf(&table, "| %s |\n", answer)
	}
	page := testutil.Page(t, "docs/compatibility.md")
	generated := regexp.MustCompile(`(?s)(<!-- generated: [^>]* -->\n).*(<!-- end of what is generated -->)`)
	markers := generated.FindStringSubmatch(page)
	if markers == nil {
		t.Fatal("docs/compatibility.md has no markers")
	}
	page = generated.ReplaceAllLiteralString(page, markers[1]+"\n"+table.String()+"\n"+markers[2])
	testutil.Golden(t, "docs/compatibility.md", page)
}
