package database

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/fernet/fernet-go"
)

// maxConfigSize is how much of a site_config.json is read, in bytes.
const maxConfigSize = 1 << 20

// settings is where a site's database is, and the key of its secrets.
type settings struct {
	dbType   string
	host     string
	port     int
	socket   string
	name     string
	user     string
	password string
	file     string // of SQLite
	key      *fernet.Key
}

// siteConfig is what of site_config.json matters here. A port is a number in some sites and a string in others.
type siteConfig struct {
	DBType        string          `json:"db_type"`
	DBHost        string          `json:"db_host"`
	DBPort        json.RawMessage `json:"db_port"`
	DBSocket      string          `json:"db_socket"`
	DBName        string          `json:"db_name"`
	DBUser        string          `json:"db_user"`
	DBPassword    string          `json:"db_password"`
	EncryptionKey string          `json:"encryption_key"`
}

// readSiteConfig reads a site's configuration as Frappe does: site_config.json over the bench's common_site_config.json.
func readSiteConfig(site string) (siteConfig, error) {
	var conf siteConfig
	err := readJSON(filepath.Join(site, "..", "common_site_config.json"), &conf)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return conf, err
	}
	err = readJSON(filepath.Join(site, "site_config.json"), &conf)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return conf, fmt.Errorf("%s has no site_config.json: give the site's directory, such as /home/frappe/frappe-bench/sites/erp.example.com", site)
	case errors.Is(err, os.ErrPermission):
		return conf, fmt.Errorf("%w: let the user that Caddy runs as read it", err)
	}
	return conf, err
}

// readJSON decodes a file over what is there already. Its errors name the file and nothing of its content.
func readJSON(name string, into any) error {
	file, err := os.Open(name) //nolint:gosec // the operator names it
	if err != nil {
		return err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxConfigSize+1))
	if err != nil {
		return err
	}
	if len(raw) > maxConfigSize || json.Unmarshal(raw, into) != nil {
		return fmt.Errorf("%s is no JSON object as Frappe writes it", name)
	}
	return nil
}

// complete applies Frappe's defaults and checks.
func (c siteConfig) complete(site string) (*settings, error) {
	s := &settings{
		dbType: c.DBType, host: c.DBHost, socket: c.DBSocket, name: c.DBName, user: c.DBUser, password: c.DBPassword,
	}
	if s.dbType == "" {
		s.dbType = "mariadb"
	}
	if s.name == "" {
		return nil, errors.New("db_name is missing, in site_config.json or as an option here")
	}
	if c.EncryptionKey == "" {
		return nil, errors.New("encryption_key is missing, in site_config.json or as an option here: without it no API secret can be read")
	}
	key, err := fernet.DecodeKey(c.EncryptionKey)
	if err != nil {
		return nil, errors.New("encryption_key is no key as Frappe makes it: 32 bytes in base64")
	}
	s.key = key

	switch s.dbType {
	case "mariadb":
		s.port = 3306
	case "postgres":
		s.port = 5432
	case "sqlite":
		s.file = filepath.Join(site, "db", s.name+".db")
		return s, nil
	default:
		return nil, fmt.Errorf("db_type %q is none of mariadb, postgres and sqlite", s.dbType)
	}
	if s.password == "" {
		return nil, errors.New("db_password is missing, in site_config.json or as an option here")
	}
	if s.user == "" {
		s.user = s.name
	}
	if s.host == "" {
		s.host = "127.0.0.1"
	}
	if text := string(c.DBPort); text != "" && text != "null" && text != `""` {
		if unquoted, err := strconv.Unquote(text); err == nil {
			text = unquoted
		}
		if s.port, err = strconv.Atoi(text); err != nil || s.port < 1 || s.port > 65535 {
			return nil, errors.New("db_port is no number of a port")
		}
	}
	return s, nil
}

// fingerprint tells settings apart without holding them.
func (s *settings) fingerprint() string {
	digest := sha256.New()
	_ = json.NewEncoder(digest).Encode([]any{s.dbType, s.host, s.port, s.socket, s.name, s.user, s.password, s.file, s.key.Encode()})
	return hex.EncodeToString(digest.Sum(nil))
}

// String names the database, without a secret.
func (s *settings) String() string {
	switch {
	case s.file != "":
		return "sqlite " + s.file
	case s.socket != "":
		return fmt.Sprintf("%s %s at %s", s.dbType, s.name, s.socket)
	}
	return fmt.Sprintf("%s %s at %s:%d", s.dbType, s.name, s.host, s.port)
}
