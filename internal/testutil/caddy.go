package testutil

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // what Caddy itself can do
)

// Caddy is the Caddy of this process, of which there can be one at a time.
type Caddy struct {
	// LogFile is the file that everything is logged to.
	LogFile string

	t testing.TB
}

// NewCaddy returns a Caddy that has no configuration yet, and stops it when the test ends. What it logged is added to Logged.
func NewCaddy(t testing.TB) *Caddy {
	t.Helper()
	c := &Caddy{t: t, LogFile: filepath.Join(t.TempDir(), "log")}
	t.Cleanup(func() {
		c.Stop()
		logs, err := os.ReadFile(c.LogFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it is made with the first configuration that is good
			t.Error(err)
		}
		Logged.Write(logs)
	})
	return c
}

// RunCaddy runs Caddy with a Caddyfile until the test ends.
func RunCaddy(t testing.TB, caddyfile string) *Caddy {
	t.Helper()
	c := NewCaddy(t)
	c.Load(caddyfile)
	return c
}

// Stop stops Caddy before the test ends.
func (c *Caddy) Stop() {
	c.t.Helper()
	if err := caddy.Stop(); err != nil {
		c.t.Error(err)
	}
}

// Load replaces the configuration.
func (c *Caddy) Load(caddyfile string) {
	c.t.Helper()
	if err := c.TryLoad(caddyfile); err != nil {
		c.t.Fatal(err)
	}
}

// TryLoad replaces the configuration, if it is good. A Caddyfile may begin with global options.
func (c *Caddy) TryLoad(caddyfile string) error {
	caddyfile = strings.TrimSpace(caddyfile)
	if !strings.HasPrefix(caddyfile, "{") {
		caddyfile = "{\n}\n" + caddyfile
	}
	options := fmt.Sprintf("{\n admin off\n persist_config off\n log {\n output file %s\n level DEBUG\n }\n", c.LogFile)
	config, _, err := Adapt(options + strings.TrimPrefix(caddyfile, "{"))
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

// Adapt makes JSON of a Caddyfile.
func Adapt(caddyfile string) ([]byte, []caddyconfig.Warning, error) {
	return caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
}

// Validate loads a configuration in JSON without running it, and returns why it is bad.
func Validate(t testing.TB, config []byte) error {
	t.Helper()
	parsed := new(caddy.Config)
	if err := json.Unmarshal(config, parsed); err != nil {
		t.Fatal(err)
	}
	return caddy.Validate(parsed)
}

// Logs returns what was logged so far.
func (c *Caddy) Logs() string {
	c.t.Helper()
	logs, err := os.ReadFile(c.LogFile)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(logs)
}

// Logged waits until something is logged, and returns the whole line.
func (c *Caddy) Logged(what string) string {
	c.t.Helper()
	var found string
	Eventually(c.t, fmt.Sprintf("%q is logged", what), func() bool {
		for line := range strings.Lines(c.Logs()) {
			if strings.Contains(line, what) && strings.HasSuffix(line, "\n") {
				found = line
				return true
			}
		}
		return false
	})
	return found
}
