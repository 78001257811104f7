package database

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// settings say where a site's database is, who logs in, and the key of its secrets.
type settings struct {
	dbType   string
	host     string
	port     int
	socket   string
	name     string
	user     string
	ownUser  bool // the user is the site's own, and not one of the options
	password string
	file     string      // SQLite's file
	opened   os.FileInfo // the file when the settings were read; nil if there was none
	caFile   string
	tls      *tls.Config // nil if the site has no db_ssl_ca
	key      *fernetKey  // nil if the site has none yet
	ownKey   bool        // the key is the site's own, and not one of the options
	digest   [sha256.Size]byte
}

// complete applies Frappe's defaults and checks the result. encryption_key may be missing only if there is a site
// directory: Frappe creates the key when it stores the first secret, and site_config.json is then read again.
func (c siteConfig) complete(site string) (*settings, error) {
	s := &settings{
		dbType: c.DBType, host: c.DBHost, socket: c.DBSocket, name: c.DBName, user: c.DBUser, password: c.DBPassword, caFile: c.DBSSLCA,
	}
	if s.dbType == "" {
		s.dbType = "mariadb"
	}
	if s.name == "" {
		return nil, errors.New("db_name is missing, in site_config.json or as an option here")
	}
	switch {
	case c.EncryptionKey != "":
		key, err := parseFernetKey(c.EncryptionKey)
		if err != nil {
			return nil, errors.New("encryption_key is not a Frappe key, which has 32 bytes in base64")
		}
		s.key = key
	case site == "":
		return nil, errors.New("encryption_key is missing: give the one in the site's site_config.json, or the site's directory; without it no API secret can be read")
	}
	if err := c.place(s, site); err != nil {
		return nil, err
	}
	var files [][]byte
	if s.file == "" && s.socket == "" {
		var err error
		if s.tls, files, err = c.readTLS(site); err != nil {
			return nil, err
		}
		if s.tls != nil {
			s.tls.ServerName = s.host
		}
	}
	raw, err := json.Marshal([]any{s.dbType, s.host, s.port, s.socket, s.name, s.user, s.password, s.file, c.EncryptionKey, files,
		string(c.CheckHostname)})
	s.digest = sha256.Sum256(raw)
	return s, err
}

// place sets where the database is and who logs in.
func (c siteConfig) place(s *settings, site string) (err error) {
	switch s.dbType {
	case "mariadb":
		s.port = 3306
	case "postgres":
		s.port = 5432
	case "sqlite":
		s.file = filepath.Join(site, "db", s.name+".db")
		s.opened, _ = os.Stat(s.file) // a missing file is not an error of the configuration
		return nil
	default:
		return unknownType(s.dbType)
	}
	if s.password == "" {
		return errors.New("db_password is missing, in site_config.json or as an option here")
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
		s.port, err = parsePort(text)
	}
	return err
}

// equal reports whether the settings are the same and lead to the same file. `bench restore` may have replaced SQLite's
// file, while the old one is still open and answers.
func (s *settings) equal(other *settings) bool {
	if s.digest != other.digest {
		return false
	}
	return s.opened == nil || (other.opened != nil && os.SameFile(s.opened, other.opened))
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
