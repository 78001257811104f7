package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestRefusedUploads: clients that people use see the status of a refusal, whatever the size of the body they send with it.
func TestRefusedUploads(t *testing.T) {
	requireProgram(t, "curl", "curl", "--version")
	plain, secure, page := testutil.FreeAddress(t), "localhost:"+freePort(t), "localhost:"+freePort(t)
	data := t.TempDir()
	site := "frappe_auth {\n" + alice + "failures off\n}\nrespond passed\n"
	start(t, "skip_install_trust\nauto_https disable_redirects\nservers {\nprotocols h1 h2\n}",
		fmt.Sprintf("http://%s {\n%s}\nhttps://%s {\ntls internal\n%s}\nhttps://%s {\ntls internal\n%shandle_errors {\nrespond {err.status_code}\n}\n}",
			plain, site, secure, site, page, site), "XDG_DATA_HOME="+data)
	body := func(size int) string {
		file := filepath.Join(data, fmt.Sprint(size))
		if err := os.WriteFile(file, bytes.Repeat([]byte("x"), size), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, test := range []struct {
		name  string
		tries int
		args  []string
		not   string // what must not be in the transcript
	}{
		{"curl asks before it sends", 3, []string{"http://" + plain, "--data-binary", "@" + body(10<<20)}, "100 Continue"},
		{"curl asks before it sends little", 3, []string{"http://" + plain, "-H", "Expect: 100-continue", "-d", "body"}, "100 Continue"},
		{"curl asks before it sends over TLS", 3, []string{"https://" + secure, "--http1.1", "--data-binary", "@" + body(10<<20)}, "100 Continue"},
		{"curl does not ask", 5, []string{"http://" + plain, "-H", "Expect:", "--data-binary", "@" + body(10<<20)}, ""},
		{"curl does not ask over TLS", 5, []string{"https://" + secure, "--http1.1", "-H", "Expect:", "--data-binary", "@" + body(10<<20)}, ""},
		{"curl sends little over HTTP/2", 60, []string{"https://" + secure, "--http2", "-d", "body"}, ""},
		{"curl sends much over HTTP/2", 10, []string{"https://" + secure, "--http2", "--data-binary", "@" + body(1<<20)}, ""},
		{"an error page over HTTP/2", 20, []string{"https://" + page, "--http2", "-d", "body"}, ""},
		{"an error page over HTTP/1", 5, []string{"https://" + page, "--http1.1", "-d", "body"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			failed := 0
			for range test.tries {
				args := append([]string{
					"-v", "-k", "-s", "--max-time", "20", "--expect100-timeout", "20", "-H", "Authorization: token guess:guess",
					"-o", os.DevNull, "-w", "status %{http_code}\n",
				}, test.args...)
				out, err := exec.CommandContext(t.Context(), "curl", args...).CombinedOutput()
				if err != nil || !bytes.Contains(out, []byte("status 401")) || (test.not != "" && bytes.Contains(out, []byte(test.not))) {
					if failed++; failed == 1 {
						t.Errorf("%v\n%s", err, out)
					}
				}
			}
			if failed > 0 {
				t.Errorf("%d of %d tries failed", failed, test.tries)
			}
		})
	}

	t.Run("requests", func(t *testing.T) {
		requireProgram(t, "python3-requests", pythonPath(), "-c", "import requests")
		root := filepath.Join(data, "caddy", "pki", "authorities", "local", "root.crt")
		for _, url := range []string{"http://" + plain, "https://" + secure, "https://" + page} {
			for _, size := range []int{0, 10, 100 << 10, 1 << 20, 10 << 20} {
				out, err := exec.CommandContext(t.Context(), pythonPath(), "bodies_client.py", url, fmt.Sprint(size), root).CombinedOutput()
				if err != nil || strings.TrimSpace(string(out)) != "401 401 401" {
					t.Errorf("%d bytes to %s: %v\n%s", size, url, err, out)
				}
			}
		}
	})
}
