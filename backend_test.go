package frappeauth_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// lookUp is the directory of the example in docs/backends.md.
func lookUp(_ context.Context, token string) (partner string, found bool, err error) {
	switch token {
	case "acme":
		return "acme@partners.example", true, nil
	case "away":
		return "", false, errors.New("away")
	}
	return "", false, nil
}

// TestDocsBackend: the backend of docs/backends.md is the one in example_test.go, and works.
func TestDocsBackend(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if shown := testutil.Blocks(t, testutil.Page(t, "docs/backends.md"), "go")[0]; !strings.Contains(string(source), shown) {
		t.Errorf("docs/backends.md has\n%s", shown)
	}
	address := freeAddress(t)
	runCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend partners\nrequire role Partner\n}\nrespond {http.auth.user.id}|{http.auth.user.backend}\n}", address))
	for token, want := range map[string]string{"acme": "200 acme@partners.example|partners", "away": "503 ", "other": "401 "} {
		got := get(t, "http://"+address, "Authorization: Bearer "+token)
		if answer := fmt.Sprintf("%d %s", got.Status, got.Body); answer != want {
			t.Errorf("%s: %s, want %s", token, answer, want)
		}
	}
}
