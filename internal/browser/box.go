package browser

import "net/http"

// boxCookie says that the user opened the last page of this host by the browser's login box.
const boxCookie = "frappe_auth_box"

// MayAsk reports whether a Basic challenge helps the client. It makes browsers open their login box, which is right for
// a page. The box must not open over a page because a script of it has no good credential. But if the user opened the
// page by the box, the browser needs a challenge for each new folder, and answers it without the user. sentToken is
// whether the request has a credential other than a Basic one.
func MayAsk(r *http.Request, sentToken bool) bool {
	if sentToken && (likeBrowser(r) || fromPage(r)) {
		return false // browsers send such a credential only for scripts
	}
	return !fromPage(r) || openedByBox(r)
}

// openedByBox reports whether the user opened a page by the login box, and no page of another origin made the browser
// send the request. Without fetch metadata, SameSite keeps other sites out.
func openedByBox(r *http.Request) bool {
	_, err := r.Cookie(boxCookie)
	site := r.Header.Get("Sec-Fetch-Site")
	return err == nil && (site == "" || site == "same-origin")
}

// NotePage makes MayAsk know whether the user opened a page by the login box, when the browser requests what belongs to
// the page. Other requests than those for pages change nothing.
func NotePage(w http.ResponseWriter, r *http.Request, byBox bool) {
	if !Navigation(r) {
		return
	}
	_, err := r.Cookie(boxCookie)
	if known := err == nil; known == byBox {
		return
	}
	//nolint:gosec // without Secure: it holds nothing, and must come back over plain HTTP, too
	mark := http.Cookie{Name: boxCookie, Value: "1", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if !byBox {
		mark.MaxAge = -1
	}
	http.SetCookie(w, &mark)
}
