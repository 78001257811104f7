package clients

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// The API key and the API secret that people type into the login box.
const (
	apiKey    = "2c6245becaa0961"
	apiSecret = "61066224add85e6"
)

// userAgent is a browser that a test drives.
type userAgent interface {
	// open goes to a page.
	open(url string) (at string, status int64)

	// does runs an expression in the page, with helpers, and returns what its promise becomes.
	does(expression string) string

	// follow runs an expression that leads to another page, and waits for that page.
	follow(expression string) (at string, status int64)

	// opened returns the URLs for which a login box opened since the last call.
	opened() []string

	// types makes the browser's user answer login boxes, instead of closing them.
	types(user, password string)

	setCookie(url, name, value string)
}

// eachBrowser runs a test in each browser, over https and over plain http. ADDRESS stands for the address of the site.
func eachBrowser(t *testing.T, site string, test func(t *testing.T, b userAgent, base string)) {
	t.Helper()
	for name, newBrowser := range map[string]func(*testing.T) userAgent{
		"Chromium": func(t *testing.T) userAgent { return newTab(t) },
		"Firefox":  func(t *testing.T) userAgent { return newFirefox(t) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBrowser(t)
			plain := "http://erp.lan:" + testutil.PortOf(testutil.FreeAddress(t))
			sites := strings.ReplaceAll(site, "ADDRESS", "erp.example.com") + "\n" + strings.ReplaceAll(site, "ADDRESS", plain)
			_, port, _ := runCaddy(t, sites, "erp.example.com")
			for _, base := range []string{"https://erp.example.com:" + port, plain} {
				scheme, _, _ := strings.Cut(base, ":")
				t.Run(scheme, func(t *testing.T) { test(t, b, base) })
			}
		})
	}
}

// pageSite is a site with a page, and what belongs to it in other folders.
func pageSite(options string) string {
	return fmt.Sprintf(`ADDRESS {
	frappe_auth {
		backend static {
			token %s %s %s
		}
		%s
	}
	handle /app/page {
		header Content-Type text/html
		respond <<HTML
			<!DOCTYPE html><title>Page</title>
			<link rel="stylesheet" href="/static/style.css">
			<script src="/assets/script.js"></script>
			<img src="/files/picture.svg">
			HTML
	}
	handle /static/style.css {
		header Content-Type text/css
		respond "img { width: 123px }"
	}
	handle /assets/script.js {
		header Content-Type text/javascript
		respond "window.loaded = true"
	}
	handle /files/picture.svg {
		header Content-Type image/svg+xml
		respond "<svg xmlns='http://www.w3.org/2000/svg' width='7' height='7'/>"
	}
	handle {
		respond {http.auth.user.id}
	}
}`, apiKey, testutil.Hash(apiSecret), alice, options)
}

// whole is what everything that belongs to the page says.
const whole = `ask("/api/data").then(data => [
	"style " + getComputedStyle(document.querySelector("img")).width,
	"script " + window.loaded,
	"picture " + document.querySelector("img").naturalWidth,
	"fetch " + data,
].join(", "))`

// TestLoginBoxAndWholePage: a page that the user opened by the browser's login box is whole: what belongs to it in
// other folders comes without another box.
func TestLoginBoxAndWholePage(t *testing.T) {
	eachBrowser(t, pageSite(""), func(t *testing.T, b userAgent, base string) {
		b.types(apiKey, apiSecret)
		if at, status := b.open(base + "/app/page"); status != 200 {
			t.Fatalf("the page has status %d at %s", status, at)
		}
		if got, want := b.does(whole), "style 123px, script true, picture 7, fetch 200 "+alice; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if boxes := b.opened(); len(boxes) != 1 {
			t.Errorf("login boxes opened for %v", boxes)
		}
	})
}

// TestNoLoginBoxOverPage: where a page's script has no good credential, whether it had one before or not, it gets 401,
// and no login box opens.
func TestNoLoginBoxOverPage(t *testing.T) {
	site := strings.Replace(pageSite(""), "frappe_auth {", `@protected not path /spa
	handle /spa {
		header Content-Type text/html
		respond "<!DOCTYPE html><title>SPA</title><body></body>"
	}
	frappe_auth @protected {`, 1)
	const authorization = `ask("/api/data", {headers: {Authorization: "%s"}})`
	eachBrowser(t, site, func(t *testing.T, b userAgent, base string) {
		b.open(base + "/spa")
		for name, expression := range map[string]string{
			"no credential":            `ask("/api/data")`,
			"an API key has ended":     fmt.Sprintf(authorization, "token "+apiKey+":old"),
			"a token has ended":        fmt.Sprintf(authorization, "Bearer old"),
			"a token, JSON":            `ask("/api/data", {headers: {Authorization: "Bearer old", Accept: "application/json"}})`,
			"a token, HTML":            `ask("/api/data", {headers: {Authorization: "Bearer old", Accept: "text/html"}})`,
			"a token, POST":            `ask("/api/data", {method: "POST", body: "x", headers: {Authorization: "Bearer old"}})`,
			"no referrer":              `ask("/api/data", {referrerPolicy: "no-referrer", headers: {Authorization: "Bearer x"}})`,
			"an older script":          `xhr("/api/data")`,
			"no credential, a picture": `image("/files/picture.svg").then(() => "401")`,
		} {
			if got := b.does(expression); !strings.HasPrefix(got, "401") {
				t.Errorf("%s: %s", name, got)
			}
			if boxes := b.opened(); len(boxes) > 0 {
				t.Errorf("%s: a login box opened for %v", name, boxes)
			}
		}
	})
}
