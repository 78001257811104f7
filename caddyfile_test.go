package frappeauth_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/caddy-frappe/frappe-auth/database" // registers its options
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
	_ "github.com/caddy-frappe/frappe-auth/redis" // registers its options
)

const goldenSeparator = "----------\n"

// TestCaddyfileGolden: what each subdirective becomes, and what each mistake is told.
func TestCaddyfileGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/caddyfile/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	for name, value := range map[string]string{"URL": "http://127.0.0.1:8000", "SITE": "erp.localhost", "WEBHOOK": "s3cret"} {
		t.Setenv("FRAPPE_AUTH_TEST_"+name, value)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, _, _ := strings.Cut(string(raw), goldenSeparator)
			var got string
			adapted, _, err := adapt(input)
			if err != nil {
				got = err.Error() + "\n"
			} else {
				var indented bytes.Buffer
				if err := json.Indent(&indented, adapted, "", "\t"); err != nil {
					t.Fatal(err)
				}
				got = indented.String() + "\n"
			}
			testutil.Golden(t, file, input+goldenSeparator+got)
			if err != nil {
				return
			}
			// What adapts is also complete.
			if err := testutil.Validate(t, adapted); err != nil {
				t.Error(err)
			}
		})
	}
}

// FuzzCaddyfile: no input makes the adapter panic, and what it adapts is JSON.
func FuzzCaddyfile(f *testing.F) {
	files, _ := filepath.Glob("testdata/caddyfile/*.caddyfiletest")
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		input, _, _ := strings.Cut(string(raw), goldenSeparator)
		_, block, found := strings.Cut(input, "frappe_auth")
		if found {
			f.Add("frappe_auth" + strings.TrimSuffix(strings.TrimSpace(block), "}"))
		}
	}
	f.Fuzz(func(t *testing.T, directive string) {
		if strings.Contains(directive, "import") {
			t.Skip("reads files")
		}
		adapted, _, err := adapt("http://localhost {\n" + directive + "\n}")
		if err == nil && !json.Valid(adapted) {
			t.Errorf("%q adapts to %q", directive, adapted)
		}
	})
}
