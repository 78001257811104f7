package frappeauth_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestUserHeader attacks the header that tells an application the user.
func TestUserHeader(t *testing.T) {
	received := make(chan http.Header, 1)
	application := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { received <- r.Header.Clone() }))
	defer application.Close()
	address, viaHeaderUp := freeAddress(t), freeAddress(t)
	runCaddy(t, fmt.Sprintf(`
{
	servers {
		expected_underscore_headers X_Frappe_User
		expected_dot_headers X.Frappe.User
	}
}
http://%[1]s {
	frappe_auth {
		%[3]s
		anonymous
		user_header x-frappe-user
	}
	reverse_proxy %[4]s
	handle_errors {
		reverse_proxy %[4]s
	}
}
http://%[2]s {
	frappe_auth {
		%[3]s
		anonymous
	}
	reverse_proxy %[4]s {
		header_up X-Frappe-User {http.auth.user.id}
	}
}`, address, viaHeaderUp, staticSite(t), strings.TrimPrefix(application.URL, "http://")))

	for _, test := range []struct {
		name    string
		headers []string
		user    string
	}{
		{"no attack", []string{"Authorization: " + aliceToken}, "alice@example.com"},
		{"the header itself", []string{"Authorization: " + aliceToken, "X-Frappe-User: Administrator"}, "alice@example.com"},
		{"in another case", []string{"Authorization: " + aliceToken, "x-fRAPPE-uSER: Administrator"}, "alice@example.com"},
		{"with underscores", []string{"Authorization: " + aliceToken, "X_Frappe_User: Administrator"}, "alice@example.com"},
		{"with dots", []string{"Authorization: " + aliceToken, "X.Frappe.User: Administrator"}, "alice@example.com"},
		{"several at once", []string{"Authorization: " + aliceToken, "X_Frappe_User: a", "X-Frappe-User: b", "X.Frappe.User: c"}, "alice@example.com"},
		{"named in Connection", []string{"Authorization: " + aliceToken, "Connection: keep-alive, X-Frappe-User"}, "alice@example.com"},
		{"named in Connection with underscores", []string{"Authorization: " + aliceToken, "Connection: x_frappe_user,close"}, "alice@example.com"},
		{"anonymous", []string{"X-Frappe-User: Administrator", "X_Frappe_User: Administrator"}, "Guest"},
		{"refused, and proxied by handle_errors", []string{"Authorization: token x:y", "X-Frappe-User: Administrator", "X_Frappe_User: Administrator"}, ""},
	} {
		for option, via := range map[string]string{"user_header": address, "header_up": viaHeaderUp} {
			headers := strings.Join(test.headers, "\r\n")
			otherSpelling := strings.Contains(headers, "X_Frappe_User") || strings.Contains(headers, "X.Frappe.User")
			if option == "header_up" && (test.user == "" || otherSpelling) {
				continue // header_up sets one spelling only; Caddy removes the others unless told to expect them
			}
			t.Run(test.name+" with "+option, func(t *testing.T) {
				raw := "GET / HTTP/1.1\r\nHost: " + via + "\r\n" + headers + "\r\n\r\n"
				rawRequest(t, via, raw)
				seen := ""
				for name, values := range <-received {
					if strings.EqualFold(strings.NewReplacer("_", "-", ".", "-").Replace(name), "X-Frappe-User") {
						seen += strings.Join(values, ",")
					}
				}
				if seen != test.user {
					t.Errorf("the application sees %q, want %q", seen, test.user)
				}
			})
		}
	}
}

// TestUserHeaderAsTrailer: no trailer of the client's that is named as the header reaches an upstream, which may make no
// difference between the two; other trailers do.
func TestUserHeaderAsTrailer(t *testing.T) {
	received := make(chan http.Header, 1)
	application := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "body" {
			t.Errorf("the application reads %q %v", body, err)
		}
		received <- r.Trailer
	}))
	defer application.Close()
	address := freeAddress(t)
	runCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth {\n%s\nuser_header X-Frappe-User\n}\nreverse_proxy %s\n}",
		address, staticSite(t), strings.TrimPrefix(application.URL, "http://")))
	for _, test := range []struct {
		name, announced, trailers string
	}{
		{"announced", "X-Frappe-User, X-Checksum", "X-Frappe-User: Administrator\r\n"},
		{"announced, with underscores", "X_Frappe_User, X-Checksum", "X_Frappe_User: Administrator\r\n"},
		{"not announced, beside one that is", "X-Checksum", "X-Frappe-User: Administrator\r\nx.frappe.user: Administrator\r\n"},
		{"none", "X-Checksum", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			rawRequest(t, address, "POST / HTTP/1.1\r\nHost: "+address+"\r\nAuthorization: "+aliceToken+"\r\nTrailer: "+test.announced+
				"\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n"+test.trailers+"X-Checksum: 1\r\n\r\n")
			if got := <-received; len(got) != 1 || got.Get("X-Checksum") != "1" {
				t.Errorf("the application receives the trailers %q", got)
			}
		})
	}
}

// TestNoSecondExpansion: what a client or Frappe says is never a template.
func TestNoSecondExpansion(t *testing.T) {
	t.Setenv("FRAPPE_AUTH_TEST_SECRET", "expanded")
	const template = "{env.FRAPPE_AUTH_TEST_SECRET}"
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"message": %q}`, template)
	}))
	defer site.Close()
	received := make(chan string, 1)
	application := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { received <- r.Header.Get("X-User") }))
	defer application.Close()
	address := freeAddress(t)
	runCaddy(t, fmt.Sprintf(`
http://%s {
	frappe_auth %s {
		user_header X-User
	}
	reverse_proxy %s
	handle_errors {
		respond "{http.auth.candidate.id} {http.auth.frappe.error}"
	}
}`, address, site.URL, strings.TrimPrefix(application.URL, "http://")))
	get(t, "http://"+address, "Authorization: Bearer x")
	if user := <-received; user != template {
		t.Errorf("the user became %q", user)
	}
	site.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{}`)
	})
	if got := get(t, "http://"+address, "Authorization: token "+template+":x"); strings.Contains(got.Body, "expanded") {
		t.Errorf("the API key was expanded: %s", got.Body)
	}
}
