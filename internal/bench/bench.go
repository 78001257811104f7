// Package bench reads what a bench of Frappe says about its sites. It reads no passwords and no keys.
package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// Bench is a bench on this machine.
type Bench struct {
	// SitesDir is the absolute path of the directory with the sites.
	SitesDir string

	// Sites are the names of the sites, sorted.
	Sites []string

	// DefaultSite is the site that `bench use` has set. It is empty if there is none.
	DefaultSite string

	// RedisQueue is the URL of the Redis in which Frappe announces changed documents. It may contain a password. It is
	// empty if the bench names none, or if this user may not read it.
	RedisQueue string

	// WebserverPort is the port of Frappe's web server, 8000 by default.
	WebserverPort int
}

// ErrNoBench is the error of Open for a directory that exists and is not a bench.
var ErrNoBench = errors.New("no bench")

// maxConfigSize is the size of the longest common_site_config.json.
const maxConfigSize = 1 << 20

// Open reads a bench: the directory of the bench, or its directory of sites.
func Open(dir string) (Bench, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Bench{}, err
	}
	if sites := filepath.Join(dir, "sites"); isDir(sites) {
		dir = sites
	}
	b := Bench{SitesDir: dir, WebserverPort: 8000}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return Bench{}, fmt.Errorf("%w: let this user list the directory, for example with `setfacl -m u:caddy:rx %s`", err, dir)
	}
	if err != nil {
		return Bench{}, err
	}
	for _, entry := range entries {
		// A site that may not be entered is one, too. Its backend says what to do.
		_, err := os.Lstat(filepath.Join(dir, entry.Name(), "site_config.json"))
		if err == nil || errors.Is(err, fs.ErrPermission) {
			b.Sites = append(b.Sites, entry.Name())
		}
	}
	if len(b.Sites) == 0 {
		return Bench{}, fmt.Errorf("%s: %w: neither its directories nor those in its sites have a site_config.json", dir, ErrNoBench)
	}
	return b, b.readCommon()
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// readCommon reads common_site_config.json. Sites work without one, and so they do if this user may not read it.
func (b *Bench) readCommon() error {
	name := filepath.Join(b.SitesDir, "common_site_config.json")
	file, err := os.Open(name) //nolint:gosec // the operator names the bench
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	var common struct {
		DefaultSite   string          `json:"default_site"`
		RedisQueue    string          `json:"redis_queue"`
		WebserverPort json.RawMessage `json:"webserver_port"` // a number, sometimes in quotes
	}
	if err := json.NewDecoder(io.LimitReader(file, maxConfigSize)).Decode(&common); err != nil {
		return fmt.Errorf("%s is not a JSON object as Frappe writes it", name) // the error could quote a secret
	}
	if slices.Contains(b.Sites, common.DefaultSite) {
		b.DefaultSite = common.DefaultSite
	}
	b.RedisQueue = common.RedisQueue
	var text string
	if json.Unmarshal(common.WebserverPort, &text) != nil {
		text = string(common.WebserverPort)
	}
	if port, err := strconv.ParseUint(text, 10, 16); err == nil && port > 0 {
		b.WebserverPort = int(port)
	}
	return nil
}

// Find returns the bench in the first of some directories that is one.
func Find(dirs ...string) (dir string, found bool) {
	for _, dir := range dirs {
		if _, err := Open(dir); err == nil {
			return dir, true
		}
	}
	return "", false
}
