package database

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestDirectories: a directory that may not be entered, and a file that may not be read, are named with the right that
// is missing.
func TestDirectories(t *testing.T) {
	s := newSite(t, "sqlite")
	asNobody := func(readable string) (err error) {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with its user
			if os.Getuid() == 0 {
				if err := syscall.Setfsuid(65534); err != nil {
					done <- err
					return
				}
			}
			_, err := readSiteConfig(readable)
			done <- err
		}()
		return <-done
	}
	config := filepath.Join(s.dir, "site_config.json")
	parent := filepath.Dir(filepath.Dir(s.dir)) // of testing, 0777 less the mask
	for dir := s.dir; strings.HasPrefix(dir, parent); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // another user reads it
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(s.dir, "..", "common_site_config.json"), 0o644); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	if err := os.Chmod(config, 0); err != nil {
		t.Fatal(err)
	}
	if err := asNobody(s.dir); err == nil ||
		!strings.Contains(err.Error(), "read the file, for example with `setfacl -m u:caddy:r "+config+"`") {
		t.Errorf("a file: %v", err)
	}
	sites := filepath.Dir(s.dir)
	if err := os.Chmod(sites, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(sites, 0o700) }) //nolint:errcheck,gosec // so that it can be removed
	if err := asNobody(s.dir); err == nil ||
		!strings.Contains(err.Error(), "enter the directory "+sites+", for example with `setfacl -m u:caddy:x "+sites+"`") {
		t.Errorf("a directory: %v", err)
	}
}
