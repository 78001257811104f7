// Package testutil has helpers for the tests of several packages: free addresses, waiting, recorded answers of real
// Frappe sites, doubles of sites, and a Caddy that runs in the process of the test.
package testutil

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// block is how many ports a process of tests has to itself while it runs, from a first port on which it listens.
const block = 500

// claimed listens on the first port of the block, or is nil if all blocks are taken.
var claimed = sync.OnceValue(func() net.Listener {
	for first := 11000; first < 20000; first += block {
		if listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(first))); err == nil {
			return listener
		}
	}
	return nil
})

var addresses atomic.Int64 // that FreeAddress has tried

// FreeAddress returns a host and port of this machine where nothing listens. It returns another port each time, until
// all of its block were used. The ports are below those that the system gives to connections, and to listeners without
// a port: one of these could take it before it is used. No browser refuses any of them.
func FreeAddress(t testing.TB) string {
	t.Helper()
	if claimed() == nil {
		t.Fatal("other processes of tests have all blocks of ports")
	}
	first := claimed().Addr().(*net.TCPAddr).Port
	for range block {
		port := strconv.Itoa(first + int(addresses.Add(1))%(block-1) + 1)
		if listener, err := net.Listen("tcp", ":"+port); err == nil {
			listener.Close()
			return net.JoinHostPort("127.0.0.1", port)
		}
	}
	t.Fatal("no port is free")
	return ""
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

// maxWait is how long Eventually waits. Only a failing test takes that long.
const maxWait = 30 * time.Second

// Eventually waits until a condition holds, and fails the test if it does not within half a minute.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	if !Holds(maxWait, holds) {
		t.Fatalf("not within %s: %s", maxWait, what)
	}
}

// Holds waits until a condition holds, for at most a duration, and reports whether it holds.
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

// Hash returns the hash of a random secret for the static backend.
func Hash(secret string) string {
	digest := sha256.Sum256([]byte(secret))
	return "sha256:" + hex.EncodeToString(digest[:])
}

// RequireProgram returns the path of the first of several programs that is installed. A name may be a glob pattern of
// paths, of which the last match is used. If none is installed, it skips the test, or fails it if CI=true.
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

// RequireCommand skips or fails the test, as RequireProgram does, if a command fails.
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

// Bubble is synctest.Test on one processor. The timers of a bubble share one context of the race detector, which
// crashes in Go 1.26 (SIGSEGV, or "CHECK failed" in ThreadSanitizer) if two threads run such timers at once.
func Bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, f)
}
