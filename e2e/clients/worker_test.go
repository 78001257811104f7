package clients

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestServiceWorker: a page that comes by way of a service worker is sent to the login page, too.
func TestServiceWorker(t *testing.T) {
	for name, newBrowser := range map[string]func(*testing.T) userAgent{
		"Chromium": func(t *testing.T) userAgent { return newTab(t) },
		"Firefox":  func(t *testing.T) userAgent { return newFirefox(t) },
	} {
		t.Run(name, func(t *testing.T) {
			b, erp := newBrowser(t), newERP(t)
			base := "http://localhost:" + testutil.PortOf(testutil.FreeAddress(t)) // where workers need no TLS
			testutil.RunCaddy(t, fmt.Sprintf(`%s {
	log
	frappe_auth /bi/* {
		backend site %[2]s
		schemes session
		login /login
	}
	handle /bi/* {
		respond "the report"
	}
	handle /worker.js {
		header Content-Type text/javascript
		respond <<JS
			addEventListener("install", () => skipWaiting());
			addEventListener("activate", event => event.waitUntil(clients.claim()));
			addEventListener("fetch", event => event.respondWith(fetch(event.request)));
			JS
	}
	handle {
		reverse_proxy %[2]s
	}
}`, base, erp.URL))
			b.open(base + "/")
			b.does(`navigator.serviceWorker.register("/worker.js").then(() => navigator.serviceWorker.ready).then(() => "")`)
			at, status := b.open(base + "/bi/report")
			if status != 200 || at != base+"/login?redirect-to=%2Fbi%2Freport" {
				t.Errorf("the page has status %d at %s", status, at)
			}
			if said := b.does(`ask("/bi/data", {mode: "same-origin"})`); !strings.HasPrefix(said, "401") {
				t.Errorf("a script: %s", said)
			}
		})
	}
}
