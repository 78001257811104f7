package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/routes"
)

// configuration is the `http` app of a configuration file.
type configuration struct {
	file string
	http any
}

func readConfiguration(file, adapter string) (configuration, error) {
	raw, file, _, err := caddycmd.LoadConfig(file, adapter)
	switch {
	case err != nil:
		return configuration{}, err
	case raw == nil:
		return configuration{}, errors.New("no configuration file found; name it with --config")
	}
	return parseConfiguration(raw, file)
}

// parseConfiguration parses the JSON of a configuration. file is its name in errors.
func parseConfiguration(raw []byte, file string) (configuration, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var config map[string]any
	if err := decoder.Decode(&config); err != nil {
		return configuration{}, fmt.Errorf("%s: %w", file, err)
	}
	apps, _ := config["apps"].(map[string]any)
	return configuration{file: file, http: apps["http"]}, nil
}

// handlers returns the handlers and providers of the configuration. It is an error if there are none.
func (c configuration) handlers() ([]routes.Protection, error) {
	found := routes.Protections(c.http)
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no frappe_auth", c.file)
	}
	return found, nil
}

// newContext returns a context for loading modules without a running Caddy. It makes Caddy log errors only, so that its
// logs do not mix with the output of the command. If there is no error, the caller must call cancel.
func newContext() (ctx caddy.Context, cancel func(), err error) {
	quiet := &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{Level: "ERROR"}}}}
	provisioned, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}, Logging: quiet})
	if err != nil {
		return caddy.Context{}, nil, err
	}
	ctx, cancel = caddy.NewContext(provisioned)
	return ctx, cancel, nil
}

// loader loads handlers and providers.
type loader struct {
	open func(module any) Checker
}

// loaded is a loaded handler or provider of the configuration.
type loaded struct {
	Checker
	where string
	names []frappe.Finding // about the names in its requirements
}

// load loads handlers and providers without the servers they belong to. They are unloaded when ctx is canceled.
func (l loader) load(ctx caddy.Context, handlers []routes.Protection) (found []loaded, err error) {
	for _, handler := range handlers {
		raw, err := json.Marshal(handler.Options)
		if err != nil {
			return nil, err
		}
		module, err := ctx.LoadModuleByID(handler.Module, raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", handler.Where, err)
		}
		found = append(found, loaded{Checker: l.open(module), where: handler.Where, names: handler.Names()})
	}
	return found, nil
}
