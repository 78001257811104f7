package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

func TestReadCredential(t *testing.T) {
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
			"too long is truncated, and still too long for the parser", "Bearer " + strings.Repeat("x", 2*frappe.MaxHeaderSize),
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
			got, err := readCredential(file, nil)
			if got != test.want || (err != nil) != (test.want == "") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
