package database

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxConfigSize is how much of a site_config.json is read, in bytes.
const maxConfigSize = 1 << 20

// exampleSite is the example of a site's directory in errors.
const exampleSite = "/home/frappe/frappe-bench/sites/erp.example.com"

// siteConfig is the part of site_config.json that is used here. The port is a number in some sites and a string in
// others.
type siteConfig struct {
	DBType        string          `json:"db_type"`
	DBHost        string          `json:"db_host"`
	DBPort        json.RawMessage `json:"db_port"`
	DBSocket      string          `json:"db_socket"`
	DBName        string          `json:"db_name"`
	DBUser        string          `json:"db_user"`
	DBPassword    string          `json:"db_password"`
	DBSSLCA       string          `json:"db_ssl_ca"`
	DBSSLCert     string          `json:"db_ssl_cert"`
	DBSSLKey      string          `json:"db_ssl_key"`
	CheckHostname json.RawMessage `json:"db_ssl_check_hostname"`
	EncryptionKey string          `json:"encryption_key"`
}

// readSiteConfig reads a site's configuration as Frappe does: site_config.json overrides the bench's
// common_site_config.json.
func readSiteConfig(site string) (siteConfig, error) {
	var conf siteConfig
	if strings.EqualFold(filepath.Base(site), "site_config.json") {
		return conf, fmt.Errorf("%s is a file: give the site's directory, %s", site, filepath.Dir(site))
	}
	err := readJSON(filepath.Join(site, "..", "common_site_config.json"), &conf)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return conf, err
	}
	err = readJSON(filepath.Join(site, "site_config.json"), &conf)
	if errors.Is(err, os.ErrNotExist) {
		return conf, noSite(site)
	}
	return conf, err
}

// noSite says what is wrong with a directory that has no site_config.json, and which directories around it have one.
func noSite(dir string) error {
	wrong := dir + " has no site_config.json"
	if _, err := os.Stat(dir); err != nil {
		wrong = "there is no directory " + dir
	}
	for _, around := range []string{dir, filepath.Join(dir, "sites"), filepath.Dir(dir)} {
		if sites := sitesIn(around); sites != "" {
			return fmt.Errorf("%s; these are the bench's sites: %s", wrong, sites)
		}
	}
	return fmt.Errorf("%s; give the site's directory, such as %s", wrong, exampleSite)
}

// sitesIn lists some directories with a site_config.json that are in a directory.
func sitesIn(dir string) string {
	const most = 5
	found, err := filepath.Glob(filepath.Join(dir, "*", "site_config.json"))
	if err != nil {
		return "" // the name has characters that mean something to Glob
	}
	more := ""
	if len(found) > most {
		found, more = found[:most], " and more"
	}
	for i := range found {
		found[i] = filepath.Dir(found[i])
	}
	return strings.Join(found, ", ") + more
}

// readJSON decodes a file into a value and keeps the fields that the file does not have. Its errors contain the name of
// the file and the position, but none of the content.
func readJSON(name string, into any) error {
	file, err := os.Open(name) //nolint:gosec // the operator names it
	if err != nil {
		return readError(err, name)
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxConfigSize+1))
	if err != nil {
		return err
	}
	if len(raw) > maxConfigSize {
		return fmt.Errorf("%s is larger than %d bytes", name, maxConfigSize)
	}
	err = json.Unmarshal(raw, into)
	var (
		syntax    *json.SyntaxError
		wrongType *json.UnmarshalTypeError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return fmt.Errorf("%s is not valid JSON, %s", name, position(raw, syntax.Offset))
	case errors.As(err, &wrongType) && wrongType.Field != "":
		return fmt.Errorf("%s: %s is not a string in quotes, %s", name, wrongType.Field, position(raw, wrongType.Offset))
	}
	return fmt.Errorf("%s is not a JSON object as Frappe writes it", name)
}

// position returns the line and column of the byte before offset.
func position(text []byte, offset int64) string {
	before := text[:min(max(int(offset)-1, 0), len(text))]
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("at line %d, column %d", bytes.Count(before, []byte("\n"))+1, column)
}

// readError adds to a permission error what to do: which right is missing, and where.
func readError(err error, name string) error {
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	absolute, absErr := filepath.Abs(name)
	if absErr != nil {
		return err
	}
	// If a path cannot be examined, its parent directory is the one that may not be entered.
	for i, r := range absolute {
		if r != filepath.Separator || i == 0 {
			continue
		}
		if _, statErr := os.Lstat(absolute[:i]); errors.Is(statErr, os.ErrPermission) {
			return mayNotEnter(err, filepath.Dir(absolute[:i]))
		}
	}
	if _, statErr := os.Lstat(absolute); errors.Is(statErr, os.ErrPermission) {
		return mayNotEnter(err, filepath.Dir(absolute))
	}
	return fmt.Errorf("%w: let Caddy's user read the file, for example with `setfacl -m u:caddy:r %s`", err, absolute)
}

func mayNotEnter(err error, dir string) error {
	return fmt.Errorf("%w: let Caddy's user enter the directory %s, for example with `setfacl -m u:caddy:x %s`", err, dir, dir)
}
