package command

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

// bench is the configuration of a bench on this machine. Passwords and keys are not read.
type bench struct {
	// sitesDir is the absolute path of the directory with the sites.
	sitesDir string

	// sites are the names of the sites, sorted.
	sites []string

	// defaultSite is the site that `bench use` has set. It is empty if there is none.
	defaultSite string

	// redisQueue is the URL of the Redis in which Frappe announces changed documents. It may contain a password. It is
	// empty if the bench names none, or if this user may not read it.
	redisQueue string

	// webserverPort is the port of Frappe's web server, 8000 by default.
	webserverPort int
}

// errNoBench is the error for a directory that is not a bench.
var errNoBench = errors.New("not a bench")

// maxConfigSize is the maximum size of common_site_config.json.
const maxConfigSize = 1 << 20

// openBench reads the bench in a directory. The directory may also be its sites directory.
func openBench(dir string) (bench, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return bench{}, err
	}
	if sites := filepath.Join(dir, "sites"); isDir(sites) {
		dir = sites
	}
	b := bench{sitesDir: dir, webserverPort: 8000}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return bench{}, fmt.Errorf("%w: let this user list the directory, for example with `setfacl -m u:caddy:rx %s`", err,
			dir)
	}
	if err != nil {
		return bench{}, err
	}
	for _, entry := range entries {
		// A site whose directory cannot be read counts too. Its backend reports what to do.
		_, err := os.Lstat(filepath.Join(dir, entry.Name(), "site_config.json"))
		if err == nil || errors.Is(err, fs.ErrPermission) {
			b.sites = append(b.sites, entry.Name())
		}
	}
	if len(b.sites) == 0 {
		return bench{}, fmt.Errorf("%s: %w: there is no site_config.json in its directories or in those of its sites", dir,
			errNoBench)
	}
	return b, b.readCommon()
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// readCommon reads common_site_config.json. It is optional, and this user may not be allowed to read it.
func (b *bench) readCommon() error {
	name := filepath.Join(b.sitesDir, "common_site_config.json")
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
		return fmt.Errorf("%s is not a JSON object like Frappe's", name) // the error could quote a secret
	}
	if slices.Contains(b.sites, common.DefaultSite) {
		b.defaultSite = common.DefaultSite
	}
	b.redisQueue = common.RedisQueue
	var text string
	if json.Unmarshal(common.WebserverPort, &text) != nil {
		text = string(common.WebserverPort)
	}
	if port, err := strconv.ParseUint(text, 10, 16); err == nil && port > 0 {
		b.webserverPort = int(port)
	}
	return nil
}

// findBench returns the first directory that is a bench.
func findBench(dirs ...string) (dir string, found bool) {
	for _, dir := range dirs {
		if _, err := openBench(dir); err == nil {
			return dir, true
		}
	}
	return "", false
}
