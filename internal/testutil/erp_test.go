package testutil

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// visit is a browser's requests to a login page, whose answers are recorded.
type visit struct {
	t    *testing.T
	site *LoginSite
	jar  *cookiejar.Jar

	names   []string
	answers map[string]string // by name, as in a file of recordings
}

// makeVisit logs in, in all ways that matter, and out.
func makeVisit(t *testing.T, site *LoginSite) *visit {
	t.Helper()
	v := &visit{t: t, site: site, answers: make(map[string]string)}
	login, second := "/login?cmd=login", "/?cmd=login" // as the page's script does
	if strings.HasPrefix(site.Version, "17.") {
		login, second = "/api/method/login", "/api/method/login"
	}
	form := url.Values{"usr": {site.User}, "pwd": {site.Password}}.Encode()
	const page, logout = "/login?redirect-to=%2Fa%3Fb%3Dc", "/api/method/logout"

	v.newBrowser()
	v.record("login page", http.MethodGet, page, "")
	v.record("login, wrong password", http.MethodPost, login, form+"x")
	v.record("login, unknown user", http.MethodPost, login, "usr=nobody%40example.com&pwd=x")
	v.record("login", http.MethodPost, login, form)
	v.record("login page, logged in", http.MethodGet, page, "")
	v.record("logout", http.MethodPost, logout, "")

	v.newBrowser()
	v.send(http.MethodPost, login, form)
	v.send(http.MethodGet, "/app", "")
	v.send(http.MethodGet, "/desk", "")
	v.record("logout, after Desk", http.MethodPost, logout, "")
	account := v.send(http.MethodGet, "/me", "")
	token := regexp.MustCompile(`csrf_token = "(\w+)"`).FindSubmatch(account)
	if token == nil {
		t.Fatalf("/me has no CSRF token: %.3000s", account)
	}
	v.record("logout, after Desk, with the token", http.MethodPost, logout, "", "X-Frappe-CSRF-Token: "+string(token[1]))

	v.newBrowser()
	v.send(http.MethodPost, login, form)
	v.record("logout, GET", http.MethodGet, logout, "")

	v.newBrowser()
	site.RequireCode()
	v.record("login, second factor", http.MethodPost, login, form)
	var asked struct {
		ID string `json:"tmp_id"`
	}
	answer := v.send(http.MethodPost, login, form)
	if err := json.Unmarshal(answer, &asked); err != nil || asked.ID == "" {
		t.Fatalf("no second factor: %s", answer)
	}
	v.record("login, wrong code", http.MethodPost, second, "otp=1&tmp_id="+asked.ID)
	v.record("login, right code", http.MethodPost, second, "otp="+site.Code()+"&tmp_id="+asked.ID)

	site.SetEnabled(false)
	v.record("login page, session of a disabled user", http.MethodGet, page, "")
	v.record("session of a disabled user", http.MethodGet, LoggedUser, "")
	v.newBrowser()
	v.record("login, disabled user", http.MethodPost, login, form)
	return v
}

func (v *visit) newBrowser() {
	var err error
	if v.jar, err = cookiejar.New(nil); err != nil {
		v.t.Fatal(err)
	}
}

// send sends a request, keeps the cookies of the answer, and returns the answer, byte for byte.
func (v *visit) send(method, target, body string, headers ...string) []byte {
	v.t.Helper()
	raw := v.raw(method, target, body, headers...)
	_, content, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	return content
}

func (v *visit) raw(method, target, body string, headers ...string) []byte {
	v.t.Helper()
	at, err := url.Parse(v.site.URL)
	if err != nil {
		v.t.Fatal(err)
	}
	target, cmd, isCommand := strings.Cut(target, "?cmd=")
	if isCommand {
		body = "cmd=" + cmd + "&" + body
	}
	var cookies []string
	for _, c := range v.jar.Cookies(at) {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	accept := "application/json"
	if method == http.MethodGet && strings.HasPrefix(target, "/login") {
		accept = "text/html"
	}
	headers = append(headers, "Host: "+v.site.Name, "Cookie: "+strings.Join(cookies, "; "), "Accept: "+accept,
		"Content-Type: application/x-www-form-urlencoded", fmt.Sprintf("Content-Length: %d", len(body)), "Connection: close")
	conn, err := new(net.Dialer).DialContext(v.t.Context(), "tcp", at.Host)
	if err != nil {
		v.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\n%s\r\n\r\n%s", method, target, strings.Join(headers, "\r\n"), body); err != nil {
		v.t.Fatal(err)
	}
	raw, err := io.ReadAll(conn)
	if err != nil {
		v.t.Fatal(err)
	}
	v.jar.SetCookies(at, parsed(v.t, raw).Cookies())
	return raw
}

// record keeps an answer under a name.
func (v *visit) record(name, method, target, body string, headers ...string) {
	v.t.Helper()
	v.names = append(v.names, name)
	v.answers[name] = v.anonymous(v.raw(method, target, body, headers...))
}

// anonymous removes from an answer what differs from one to the next: dates, names of sessions and of the user. The
// HTML of pages is left out: it is Frappe's.
func (v *visit) anonymous(raw []byte) string {
	head, body, _ := strings.Cut(string(raw), "\r\n\r\n")
	if strings.Contains(head, "\r\nContent-Type: text/html") {
		body = ""
	}
	answer := head + "\r\n\r\n" + body
	for _, change := range [][2]string{
		{`\r\nDate: [^\r]*`, ""},
		{`\r\nContent-Length: \d+`, ""},
		{`\r\nLink: [^\r]*`, ""},
		{`Expires=[^;\r]*`, "Expires=Thu, 01 Jan 1970 00:00:01 GMT"},
		{`sid=[0-9a-f]{20,}`, "sid=" + RecordedSession},
		{`"tmp_id":"\w+"`, `"tmp_id":"00000000"`},
		{`(__frappe_exc_id[\\": ]+)\w+`, "${1}0"},
		{`login-[0-9a-f]{8}(@|%40)`, "alice$1"},
		{`(File \\\\\\")[^"]*?/(frappe/[a-z_])`, "${1}apps/frappe/$2"},
	} {
		answer = regexp.MustCompile(change[0]).ReplaceAllString(answer, change[1])
	}
	return answer
}

func parsed(t *testing.T, raw []byte) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// summary returns what the login depends on in an answer: status, where a redirect leads, the message and the keys of
// the JSON, and the cookies with their attributes.
func summary(t *testing.T, answer string) string {
	t.Helper()
	resp := parsed(t, []byte(answer))
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{resp.Status[:3], "Location: " + resp.Header.Get("Location")}
	var content map[string]any
	if json.Unmarshal(raw, &content) == nil {
		maps.DeleteFunc(content, func(key string, _ any) bool { return key == "exc" || key == "exception" }) // a setting shows them
		lines = append(lines, fmt.Sprintf("JSON: %v", slices.Sorted(maps.Keys(content))), fmt.Sprintf("message: %v", content["message"]))
		if asked, ok := content["verification"].(map[string]any); ok {
			lines = append(lines, fmt.Sprintf("verification: %v", asked))
		}
	}
	cookies := resp.Header["Set-Cookie"]
	for i, cookie := range cookies {
		pair, attributes, _ := strings.Cut(cookie, "; ")
		named := strings.Split(attributes, "; ")
		slices.Sort(named)
		cookies[i] = pair + "; " + strings.Join(named, "; ")
	}
	slices.Sort(cookies)
	return strings.Join(append(lines, cookies...), "\n")
}

// TestERPAnswersAsFrappe: to the requests of a login, the double answers what real sites answered: testdata/login has
// the recordings. With a real site in the environment, as for NewLoginSite, its answers are compared, and with -update
// they are recorded.
func TestERPAnswersAsFrappe(t *testing.T) {
	sites := make(map[string]*LoginSite) // by the file of the recordings
	if IsRealFrappe() {
		real := NewLoginSite(t)
		sites[real.Version] = real
	} else {
		for major, version := range recorded {
			double := NewERP(t, nil)
			double.Version = major
			sites[version] = double.LoginSite()
		}
	}
	for version, site := range sites {
		t.Run(version, func(t *testing.T) {
			made, file := makeVisit(t, site), "testdata/login/"+version+".http"
			if IsRealFrappe() && *update {
				var recorded strings.Builder
				for _, name := range made.names {
					fmt.Fprintf(&recorded, "### %s\n%s\n\n", name, made.answers[name])
				}
				Golden(t, file, recorded.String())
			}
			for _, name := range made.names {
				if got, want := summary(t, made.answers[name]), summary(t, LoginAnswer(t, version, name)); got != want {
					t.Errorf("%s: the answer is\n%s\nand the recorded one\n%s", name, got, want)
				}
			}
		})
	}
}
