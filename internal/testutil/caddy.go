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
	_ "github.com/caddyserver/caddy/v2/modules/standard" // Caddy's own modules
)

// Caddy is the Caddy of this process. Only one can run at a time.
type Caddy struct {
	// LogFile is the file that everything is logged to.
	LogFile string

	t testing.TB
}

// NewCaddy returns a Caddy without a configuration. When the test ends, it is stopped and its log is added to Logged.
func NewCaddy(t testing.TB) *Caddy {
	t.Helper()
	c := &Caddy{t: t, LogFile: filepath.Join(t.TempDir(), "log")}
	t.Cleanup(func() {
		c.Stop()
		logs, err := os.ReadFile(c.LogFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // the first valid configuration creates it
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

// TryLoad replaces the configuration, or returns why it is wrong. The Caddyfile may begin with global options. A log
// among these, without output and level, becomes the one that Logs returns.
func (c *Caddy) TryLoad(caddyfile string) error {
	caddyfile = strings.TrimSpace(caddyfile)
	if !strings.HasPrefix(caddyfile, "{") {
		caddyfile = "{\n}\n" + caddyfile
	}
	log := fmt.Sprintf("\tlog {\noutput file %s\nlevel DEBUG\n", c.LogFile)
	options := strings.TrimPrefix(caddyfile, "{")
	if changed := strings.Replace(options, "\n\tlog {\n", "\n"+log, 1); changed != options {
		options = changed
	} else {
		options = "\n" + log + "}\n" + options
	}
	config, _, err := Adapt("{\nadmin off\npersist_config off" + options)
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

// Adapt converts a Caddyfile to JSON.
func Adapt(caddyfile string) ([]byte, []caddyconfig.Warning, error) {
	return caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
}

// Validate loads a JSON configuration without running it, and returns why it is wrong.
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

// Logged waits until a line with a text is logged, and returns the line.
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
