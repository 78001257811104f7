// Package browser recognizes requests of browsers: preflights, navigations, requests of scripts, and cross-site
// requests. It also redirects browsers to the login page.
package browser

import (
	"net/http"
	"strconv"
	"strings"
)

// Preflight reports whether the request is a CORS preflight (https://fetch.spec.whatwg.org/#cors-preflight-request).
func Preflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" &&
		r.Header.Get("Access-Control-Request-Method") != ""
}

// fromPage reports whether a page made a browser send the request, for a script, a picture or anything else but the
// page itself. Over plain http browsers send no fetch metadata.
func fromPage(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Dest") { // https://www.w3.org/TR/fetch-metadata/#sec-fetch-dest-header
	case "":
		return fromLibrary(r) || opensSocket(r) || likeBrowser(r) && sentByPage(r) && !acceptsHTML(r.Header["Accept"])
	case "document", "iframe", "frame":
		return false
	}
	// With `none`, the browser itself sent it, or a mail program built on one.
	return r.Header.Get("Sec-Fetch-Site") != "none" && !Navigation(r)
}

// likeBrowser reports whether the client calls itself a browser, as some other programs also do, such as PowerShell.
func likeBrowser(r *http.Request) bool { return strings.HasPrefix(r.UserAgent(), "Mozilla/") }

// sentByPage reports whether the request has headers that browsers send for pages, and programs usually do not.
func sentByPage(r *http.Request) bool {
	return r.Header.Get("Referer") != "" || r.Header.Get("Origin") != "" || r.Header.Get("Cookie") != ""
}

// opensSocket reports whether a browser sent the request to open a WebSocket. Chromium sends no fetch metadata with it.
func opensSocket(r *http.Request) bool { return upgrades(r) && r.Header.Get("Origin") != "" }

// upgrades reports whether the request upgrades its connection, as for a WebSocket. Over HTTP/2 and 3, the method is
// CONNECT and there is no upgrade (RFC 8441). Traefik, if it asks whether a request may pass, removes Upgrade, but not
// the other headers of the WebSocket.
func upgrades(r *http.Request) bool {
	return r.Header.Get("Upgrade") != "" || r.Header.Get("Sec-Websocket-Version") != "" || r.Method == http.MethodConnect
}

// fromLibrary reports whether a script of an older browser sent the request, with a library that says so.
func fromLibrary(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("X-Requested-With"), "XMLHttpRequest")
}

// Navigation reports whether a browser sent the request to show a page that the user navigates to. Older browsers do
// not say so, but they ask for HTML.
func Navigation(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || upgrades(r) {
		return false
	}
	for _, name := range []string{"Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-Dest", "Sec-Fetch-User"} {
		if r.Header[name] != nil {
			return r.Header.Get("Sec-Fetch-Mode") == "navigate" || throughWorker(r)
		}
	}
	return !fromLibrary(r) && acceptsHTML(r.Header["Accept"])
}

// throughWorker reports whether a service worker passes on a navigation. In Firefox, its mode is that of a script's
// request, but the headers are those of a navigation.
func throughWorker(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Mode") == "same-origin" && r.Header.Get("Upgrade-Insecure-Requests") == "1" &&
		acceptsHTML(r.Header["Accept"])
}

// acceptsHTML reports whether Accept headers name HTML. Wildcards do not count, because every client sends them.
func acceptsHTML(accept []string) bool {
	for media := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, parameters, _ := strings.Cut(media, ";")
		if strings.EqualFold(strings.TrimSpace(name), "text/html") && quality(parameters) > 0 {
			return true
		}
	}
	return false
}

// quality returns the weight in the parameters of a media range (RFC 9110 section 12.4.2), or 0 if it is invalid.
func quality(parameters string) float64 {
	for parameter := range strings.SplitSeq(parameters, ";") {
		if name, value, ok := strings.Cut(strings.TrimSpace(parameter), "="); ok && strings.EqualFold(name, "q") {
			q, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0
			}
			return q
		}
	}
	return 1
}
