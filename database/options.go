package database

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// validateOptions reports what is wrong with an option that was given.
func (b *Backend) validateOptions() error {
	for _, option := range []struct {
		name             string
		value, low, high caddy.Duration
	}{
		{"poll_interval", b.PollInterval, minPollInterval, maxPollInterval},
		{"timeout", b.Timeout, minTimeout, maxTimeout},
	} {
		if err := directive.CheckDuration(option.name, option.value); err != nil {
			return err
		}
		if option.value != 0 && (option.value < option.low || option.value > option.high) {
			return fmt.Errorf("%s: %s is not between %s and %s",
				option.name, time.Duration(option.value), time.Duration(option.low), time.Duration(option.high))
		}
	}
	if b.MaxOpenConns < 0 || b.MaxOpenConns > maxOpenConnsLimit {
		return fmt.Errorf("max_open_conns: %d is not between 1 and %d", b.MaxOpenConns, maxOpenConnsLimit)
	}
	if b.DBType != "" && !strings.Contains(b.DBType, "{") && !slices.Contains(types, b.DBType) {
		return unknownType(b.DBType)
	}
	if b.DBPort != "" && !strings.Contains(b.DBPort, "{") {
		if _, err := parsePort(b.DBPort); err != nil {
			return err
		}
	}
	return nil
}

// validate reports what is wrong with the options, and whether there are enough of them.
func (b *Backend) validate() error {
	if err := b.validateOptions(); err != nil {
		return err
	}
	switch {
	case b.Site == "" && b.DBName == "":
		return errors.New("give the site's directory, such as " + exampleSite + ", or db_name, db_password and encryption_key")
	case b.DBType == "sqlite" && b.Site == "":
		return errors.New("give the site's directory, because it contains SQLite's file")
	}
	return nil
}

var types = []string{"mariadb", "postgres", "sqlite"}

func unknownType(name string) error {
	return fmt.Errorf("db_type %q is none of mariadb, postgres and sqlite", name)
}

func parsePort(text string) (int, error) {
	n, err := directive.ParsePort(text)
	if err != nil {
		return 0, errors.New("db_port is not a port number; write one from 1 to 65535")
	}
	return int(n), nil
}
