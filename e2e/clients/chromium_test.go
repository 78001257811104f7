package clients

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// tab is a tab of a Chromium of its own, with no cookies yet. Every host name is this machine for it.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu             sync.Mutex
	boxes          []string // the URLs for which a login box opened
	user, password string   // what is typed into login boxes; empty: they are closed
}

func newTab(t *testing.T) *tab {
	t.Helper()
	path := testutil.RequireProgram(t, "chromium", "chromium", "chromium-browser", "google-chrome")
	profile := filepath.Join(t.TempDir(), "Default")
	if err := os.MkdirAll(profile, 0o700); err != nil {
		t.Fatal(err)
	}
	// Chromium may be set up to keep third-party cookies back. These tests are about what happens without that help.
	const preferences = `{"profile": {"cookie_controls_mode": 0, "block_third_party_cookies": false}}`
	if err := os.WriteFile(filepath.Join(profile, "Preferences"), []byte(preferences), 0o600); err != nil {
		t.Fatal(err)
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path),
		chromedp.UserDataDir(filepath.Dir(profile)),
		chromedp.Flag("ignore-certificate-errors", true),
		chromedp.Flag("host-resolver-rules", "MAP * 127.0.0.1"),
		chromedp.Flag("disable-quic", true),
		chromedp.NoSandbox, // root and many containers have none, and all pages are of these tests
	)
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	allocator, stopAllocator := chromedp.NewExecAllocator(ctx, options...)
	b := &tab{t: t}
	var closeTab context.CancelFunc
	b.ctx, closeTab = chromedp.NewContext(allocator)
	t.Cleanup(func() {
		if err := chromedp.Cancel(b.ctx); err != nil && ctx.Err() == nil {
			t.Errorf("Chromium does not end: %v", err)
		}
		closeTab()
		stopAllocator()
		stop()
	})
	if err := chromedp.Listen(b.ctx, b.listen); err != nil {
		t.Fatal(err)
	}
	handle := true
	if _, err := chromedp.Call(b.ctx, fetch.Enable, fetch.EnableParams{HandleAuthRequests: &handle}); err != nil {
		t.Fatal(err)
	}
	return b
}

// listen lets every request go on, and answers or closes every login box.
func (b *tab) listen(event any) {
	switch event := event.(type) {
	case *fetch.EventRequestPaused:
		go chromedp.Call(b.ctx, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: event.RequestID})
	case *fetch.EventAuthRequired:
		b.mu.Lock()
		b.boxes = append(b.boxes, event.Request.URL)
		response := &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseCancelAuth}
		if b.user != "" {
			response = &fetch.AuthChallengeResponse{
				Response: fetch.AuthChallengeResponseResponseProvideCredentials, Username: b.user, Password: b.password,
			}
		}
		b.mu.Unlock()
		go chromedp.Call(b.ctx, fetch.ContinueWithAuth, fetch.ContinueWithAuthParams{
			RequestID: event.RequestID, AuthChallengeResponse: response,
		})
	}
}

// opened returns the URLs for which a login box opened since the last call.
func (b *tab) opened() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	boxes := b.boxes
	b.boxes = nil
	return boxes
}

// types makes the user answer login boxes from now on.
func (b *tab) types(user, password string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.user, b.password = user, password
}

// run runs a step in the page, and returns what it returns.
func run[T any](b *tab, step chromedp.Action[T]) T {
	b.t.Helper()
	result, err := chromedp.Run(b.ctx, step)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// open goes to a page, and returns the URL and the status at the end of all redirects.
func (b *tab) open(url string) (at string, status int64) {
	b.t.Helper()
	response, err := chromedp.RunResponse(b.ctx, chromedp.Navigate(url))
	if err != nil {
		b.t.Fatalf("%s: %v", url, err)
	}
	return response.URL, response.Status
}

// helpers are what a page's script does in the ways of the web. Each returns a promise of a text.
const helpers = `
const ask = (url, options) => fetch(url, options).then(async r => r.type == "opaque" ? "opaque" : r.status + " " + (await r.text()).trim(), () => "failed");
const xhr = url => new Promise(done => {
	const r = new XMLHttpRequest();
	r.open("GET", url);
	r.onloadend = () => done(r.status + " " + r.responseText.trim());
	r.send();
});
const image = url => new Promise(done => {
	const i = new Image();
	i.onload = () => done("loaded " + i.naturalWidth);
	i.onerror = () => done("failed");
	i.src = url;
});
const socket = url => new Promise(done => {
	const s = new WebSocket(url);
	s.onmessage = event => done("said " + event.data);
	s.onclose = () => done("failed");
});
const events = url => new Promise(done => {
	const e = new EventSource(url, {withCredentials: true});
	e.onmessage = event => { e.close(); done("said " + event.data) };
	e.onerror = () => { e.close(); done("failed") };
});
const script = url => new Promise(done => {
	const s = document.createElement("script");
	s.onload = () => done("loaded");
	s.onerror = () => done("failed");
	s.src = url;
	document.head.append(s);
});
const frame = url => new Promise(done => {
	const f = document.createElement("iframe");
	f.onload = () => done(f.contentDocument ? f.contentDocument.title : "hidden");
	f.src = url;
	document.body.append(f);
});
`

// does runs an expression in the page, with helpers, and returns what its promise becomes.
func (b *tab) does(expression string) string {
	b.t.Helper()
	return run(b, chromedp.Evaluate[string]("(() => {"+helpers+"return "+expression+"})()", chromedp.EvalAwaitPromise))
}

func (b *tab) follow(expression string) (at string, status int64) {
	b.t.Helper()
	run(b, chromedp.Evaluate[chromedp.Void]("window.followed = true;"+expression))
	const where = `window.followed || document.readyState != "complete" ? {} :
		{at: location.href, status: performance.getEntriesByType("navigation")[0].responseStatus}`
	type place struct {
		At     string `json:"at"`
		Status int64  `json:"status"`
	}
	testutil.Eventually(b.t, "another page follows", func() bool {
		found, err := chromedp.Run(b.ctx, chromedp.Evaluate[place](where))
		at, status = found.At, found.Status
		return err == nil && at != "" // between two pages there is nothing to ask
	})
	return at, status
}

// send sends a form of one field from the page, as a user who presses its button, and returns the status of the answer.
func (b *tab) send(url string) (status int64) {
	b.t.Helper()
	response, err := chromedp.RunResponse(b.ctx, chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`(() => {
		const f = document.createElement("form");
		f.method = "POST";
		f.action = %q;
		f.innerHTML = "<input name=amount value=1000000>";
		document.body.append(f);
		f.submit();
	})()`, url)))
	if err != nil {
		b.t.Fatalf("%s: %v", url, err)
	}
	return response.Status
}

// cookie returns the value of a cookie for a URL, or an empty text.
func (b *tab) cookie(url, name string) string {
	b.t.Helper()
	got, err := chromedp.Call(b.ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{url}})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range got.Cookies {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// setCookie sets a cookie for the host of a URL, as somebody does who has copied it.
func (b *tab) setCookie(url, name, value string) {
	b.t.Helper()
	cookies := []*network.CookieParam{{Name: name, Value: value, URL: url, Path: "/"}}
	if _, err := chromedp.Call(b.ctx, network.SetCookies, network.SetCookiesParams{Cookies: cookies}); err != nil {
		b.t.Fatal(err)
	}
}
