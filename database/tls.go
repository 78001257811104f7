package database

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// readTLS reads the files that db_ssl_ca, db_ssl_cert and db_ssl_key name. A relative path is one in the bench's `sites`
// directory, where Frappe runs. It returns nil where the site has none of them.
func (c siteConfig) readTLS(site string) (conf *tls.Config, content [][]byte, err error) {
	if c.DBSSLCA == "" {
		if c.DBSSLCert != "" || c.DBSSLKey != "" {
			return nil, nil, errors.New("db_ssl_cert and db_ssl_key need db_ssl_ca: give the CA of the server's certificate")
		}
		return nil, nil, nil
	}
	if (c.DBSSLCert == "") != (c.DBSSLKey == "") {
		return nil, nil, errors.New("db_ssl_cert and db_ssl_key go together: give both or neither")
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
		return nil, nil, fmt.Errorf("db_ssl_ca: %s holds no certificate; give a file in PEM form", c.DBSSLCA)
	}
	if c.DBSSLCert != "" {
		pair, err := tls.X509KeyPair(files[1], files[2])
		if err != nil {
			return nil, nil, fmt.Errorf("db_ssl_cert and db_ssl_key: %s and %s are no certificate and its key in PEM form", c.DBSSLCert, c.DBSSLKey)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, files, nil
}
