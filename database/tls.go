package database

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// readTLS reads the files of db_ssl_ca, db_ssl_cert and db_ssl_key. A relative path is relative to the bench's `sites`
// directory, where Frappe runs. conf is nil if none of them is set.
func (c siteConfig) readTLS(site string) (conf *tls.Config, content [][]byte, err error) {
	if c.DBSSLCA == "" {
		if c.DBSSLCert != "" || c.DBSSLKey != "" {
			return nil, nil, errors.New("db_ssl_cert and db_ssl_key need db_ssl_ca; set it to the CA of the server's certificate")
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
			return nil, nil, fmt.Errorf("db_ssl_cert and db_ssl_key: %s and %s are not PEM files with a certificate and its key", c.DBSSLCert, c.DBSSLKey)
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
