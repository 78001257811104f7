package input_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/input"
)

func TestCredential(t *testing.T) {
	for _, test := range []struct {
		name, typed, want string
	}{
		{"without a line end", "token a:b", "token a:b"},
		{"with a line end", "token a:b\r\nnext", "token a:b"},
		{"whole header", "Authorization: Bearer x\n", "Bearer x"},
		{"spaces stay", "token a:b \n", "token a:b "},
		{"nothing", "", ""},
		{"empty line", "\n", ""},
		{
			"too long is cut, so that the parser refuses it", "Bearer " + strings.Repeat("x", 2*frappe.MaxHeaderSize),
			"Bearer " + strings.Repeat("x", frappe.MaxHeaderSize+2-len("Bearer ")),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "stdin")
			if err := os.WriteFile(name, []byte(test.typed), 0o600); err != nil {
				t.Fatal(err)
			}
			file, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			got, err := input.Credential(file, nil)
			if got != test.want || (err != nil) != (test.want == "") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// TestParse: what an operator writes is read as it would be in a request.
func TestParse(t *testing.T) {
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
		if got, err := input.Parse(test.line); got != test.want || (err == nil) != (test.want.Scheme != "") {
			t.Errorf("%q: %+v %v", test.line, got, err)
		}
	}
}

func TestReplacer(t *testing.T) {
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
			repl, err := input.Replacer(test.url)
			if (err != nil) != test.bad {
				t.Fatal(err)
			}
			if err == nil && repl.ReplaceAll("{http.request.host}", "") != test.host {
				t.Errorf("the host is %q", repl.ReplaceAll("{http.request.host}", ""))
			}
		})
	}
}
