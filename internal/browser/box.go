package browser

import "net/http"

// boxCookie marks a browser whose user opened the last page of this host with the login box.
const boxCookie = "frappe_auth_box"

// MayAsk reports whether a Basic challenge helps the client. It makes browsers open their login box, which is right for
// a page. The box must not open over a page because a script of it has no good credential. But if the user opened the
// page with the box, the browser needs a challenge for each new folder, and answers it without the user. sentToken is
// set if the request has a credential other than a Basic one.
func MayAsk(r *http.Request, sentToken bool) bool {
	if sentToken && (likeBrowser(r) || fromPage(r)) {
		return false // browsers send such a credential only for scripts
	}
	return !fromPage(r) || openedByBox(r)
}

// openedByBox reports whether the user opened a page with the login box, and no page of another origin made the browser
// send the request. Without fetch metadata, SameSite excludes other sites.
func openedByBox(r *http.Request) bool {
	_, err := r.Cookie(boxCookie)
	site := r.Header.Get("Sec-Fetch-Site")
	return err == nil && (site == "" || site == "same-origin")
}

// NotePage records for MayAsk whether the user opened a page with the login box. MayAsk uses this for the later
// requests of that page. Requests for anything but pages change nothing.
func NotePage(w http.ResponseWriter, r *http.Request, byBox bool) {
	if !Navigation(r) {
		return
	}
	_, err := r.Cookie(boxCookie)
	if known := err == nil; known == byBox {
		return
	}
	//nolint:gosec // not Secure: it holds no secret, and must also come back over plain HTTP
	mark := http.Cookie{Name: boxCookie, Value: "1", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if !byBox {
		mark.MaxAge = -1
	}
	http.SetCookie(w, &mark)
}
