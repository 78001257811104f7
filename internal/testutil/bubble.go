package testutil

import (
	"runtime"
	"testing"
	"testing/synctest"
)

// Bubble does as synctest.Test does, on one processor. The timers of a bubble share one context of the race detector, and in Go
// 1.26 it crashes (SIGSEGV, or "CHECK failed" in ThreadSanitizer) if two threads run such timers at once.
func Bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, f)
}
