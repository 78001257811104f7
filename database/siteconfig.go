package database

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	return fmt.Errorf(
		"%w: let Caddy's user enter the directory %s, for example with `setfacl -m u:caddy:x %s`",
		err,
		dir,
		dir,
	)
}

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

// overPlainTCP reports whether the server is reached by TCP without TLS. Then anything may answer in its place.
func (s *settings) overPlainTCP() bool { return s.tls == nil && s.socket == "" }

// complete applies Frappe's defaults and checks the result. encryption_key may be missing only if there is a site
// directory: Frappe creates the key when it stores the first secret, and site_config.json is then read again.
func (c siteConfig) complete(site string) (*settings, error) {
	s := &settings{
		dbType: c.DBType, host: c.DBHost, socket: c.DBSocket, name: c.DBName, user: c.DBUser,
		password: c.DBPassword, caFile: c.DBSSLCA,
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
		return nil, errors.New(
			"encryption_key is missing: give the one in the site's site_config.json, or the site's directory; without it " +
				"no API secret can be read",
		)
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
	raw, err := json.Marshal(
		[]any{
			s.dbType, s.host, s.port, s.socket, s.name, s.user, s.password, s.file, c.EncryptionKey, files,
			string(c.CheckHostname),
		},
	)
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

// readTLS reads the files of db_ssl_ca, db_ssl_cert and db_ssl_key. A relative path is relative to the bench's `sites`
// directory, where Frappe runs. conf is nil if none of them is set.
func (c siteConfig) readTLS(site string) (conf *tls.Config, content [][]byte, err error) {
	if c.DBSSLCA == "" {
		if c.DBSSLCert != "" || c.DBSSLKey != "" {
			return nil, nil, errors.New(
				"db_ssl_cert and db_ssl_key need db_ssl_ca; set it to the CA of the server's certificate",
			)
		}
		return nil, nil, nil
	}
	if (c.DBSSLCert == "") != (c.DBSSLKey == "") {
		return nil, nil, errors.New("db_ssl_cert and db_ssl_key belong together; give both or neither")
	}
	files := make([][]byte, 3)
	for i, option := range []struct{ name, path string }{
		{"db_ssl_ca", c.DBSSLCA},
		{"db_ssl_cert", c.DBSSLCert},
		{"db_ssl_key", c.DBSSLKey},
	} {
		if option.path == "" {
			continue
		}
		if !filepath.IsAbs(option.path) && site != "" {
			option.path = filepath.Join(site, "..", option.path)
		}
		if files[i], err = os.ReadFile(option.path); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", option.name, readError(err, option.path))
		}
	}
	conf = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !conf.RootCAs.AppendCertsFromPEM(files[0]) {
		return nil, nil, fmt.Errorf("db_ssl_ca: %s contains no certificate; give a PEM file", c.DBSSLCA)
	}
	if c.anyHostname() {
		conf.InsecureSkipVerify = true //nolint:gosec // the chain is verified below
		conf.VerifyConnection = func(state tls.ConnectionState) error { return verifyChain(state, conf.RootCAs) }
	}
	if c.DBSSLCert != "" {
		pair, err := tls.X509KeyPair(files[1], files[2])
		if err != nil {
			return nil, nil, fmt.Errorf(
				"db_ssl_cert and db_ssl_key: %s and %s are not PEM files with a certificate and its key",
				c.DBSSLCert,
				c.DBSSLKey,
			)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, files, nil
}

// anyHostname reports whether the site accepts the certificate of another host. Frappe writes numbers and texts for
// truth values.
func (c siteConfig) anyHostname() bool {
	return slices.Contains([]string{"0", "false", `""`, `"0"`, `"false"`}, string(c.CheckHostname))
}

// verifyChain checks that the server's certificate was issued by one of the CAs, for any host.
func verifyChain(state tls.ConnectionState, roots *x509.CertPool) error {
	options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, certificate := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(certificate)
	}
	_, err := state.PeerCertificates[0].Verify(options)
	return err
}
