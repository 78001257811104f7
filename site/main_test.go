package site_test

import (
	"os"
	"testing"

	_ "github.com/caddy-frappe/frappe-auth" // the handler that the backend is for
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestMain fails the test run if a secret was logged anywhere in it.
func TestMain(m *testing.M) { os.Exit(testutil.Main(m)) }
