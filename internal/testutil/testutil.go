// Package testutil is what the tests of several packages need: free addresses, waiting, recorded answers of real Frappe
// sites, doubles of sites, and a Caddy that runs in the process of the test.
package testutil

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// handedOut holds the addresses that FreeAddress has returned: until somebody listens on one, the system may offer it again.
var handedOut sync.Map

// FreeAddress returns an address of this machine, host and port, on which nothing listens. Each is handed out once.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := listener.Addr().String()
		listener.Close()
		if _, taken := handedOut.LoadOrStore(address, true); !taken {
			return address
		}
	}
}

// FreePort returns the port of a FreeAddress.
func FreePort(t testing.TB) string {
	t.Helper()
	return PortOf(FreeAddress(t))
}

// PortOf returns the port of an address.
func PortOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// patience is how long Eventually waits. Only a test that fails takes so long.
const patience = 30 * time.Second

// Eventually waits until a condition holds, and fails the test if it does not within half a minute.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	if !Holds(patience, holds) {
		t.Fatalf("after %s it still does not hold that %s", patience, what)
	}
}

// Holds waits until a condition holds, for as long as told at the most, and reports whether it does.
func Holds(atMost time.Duration, holds func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(atMost); !holds(); {
		if now := <-tick.C; now.After(deadline) {
			return holds()
		}
	}
	return true
}

// Hash returns the hash of a random secret as backend static takes it.
func Hash(secret string) string {
	digest := sha256.Sum256([]byte(secret))
	return "sha256:" + hex.EncodeToString(digest[:])
}

// RequireProgram returns the path of the first of several programs that is installed; a name may be a glob pattern of paths,
// of which the last match counts. Without any, it skips the test, or fails it where CI=true says that everything is there.
func RequireProgram(t testing.TB, debianPackage string, names ...string) string {
	t.Helper()
	for _, name := range names {
		if matches, _ := filepath.Glob(name); len(matches) > 0 {
			return matches[len(matches)-1]
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing(t, debianPackage, names[0]+" is missing")
	return ""
}

// RequireCommand does as RequireProgram does where a command does not succeed.
func RequireCommand(t testing.TB, debianPackage, program string, args ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, args...)
	if err := command.Run(); err != nil {
		missing(t, debianPackage, fmt.Sprintf("%s: %v", command, err))
	}
}

func missing(t testing.TB, debianPackage, what string) {
	t.Helper()
	message := what + ": apt-get install " + debianPackage
	if os.Getenv("CI") == "true" {
		t.Fatal(message)
	}
	t.Skip(message)
}
