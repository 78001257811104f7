package admin_test

import (
	"testing"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/admin"
)

// TestParseCredential: the input of an operator is read as in a request.
func TestParseCredential(t *testing.T) {
	for _, test := range []struct {
		line string
		want frappe.Credential // the zero value: an error
	}{
		{"token a:b", frappe.Credential{Scheme: frappe.SchemeToken, Key: "a", Secret: "b"}},
		{"Cookie: sid=abc", frappe.Credential{Scheme: frappe.SchemeSession, Session: "abc"}},
		{"cookie: a=b; sid=abc; sid=def", frappe.Credential{Scheme: frappe.SchemeSession, Session: "abc"}},
		{"Cookie: sid=Guest", frappe.Credential{}},
		{"Cookie: a=b", frappe.Credential{}},
		{"Cookie:", frappe.Credential{}},
		{"sid=abc", frappe.Credential{}},
		{"session abc", frappe.Credential{}},
	} {
		if got, err := admin.ParseCredential(test.line); got != test.want || (err == nil) != (test.want.Scheme != "") {
			t.Errorf("%q: %+v %v", test.line, got, err)
		}
	}
}

func TestNewReplacer(t *testing.T) {
	for _, test := range []struct {
		name, url, host string
		bad             bool
	}{
		{name: "none"},
		{name: "whole", url: "https://a.example.com:8443/x?y", host: "a.example.com"},
		{name: "no host", url: "nonsense", bad: true},
		{name: "no URL", url: "http://[", bad: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			repl, err := admin.NewReplacer(test.url)
			if (err != nil) != test.bad {
				t.Fatal(err)
			}
			if err == nil && repl.ReplaceAll("{http.request.host}", "") != test.host {
				t.Errorf("the host is %q", repl.ReplaceAll("{http.request.host}", ""))
			}
		})
	}
}
