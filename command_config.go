package frappeauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// configured is a loaded handler or provider of the configuration.
type configured struct {
	where string
	*Options
}

// configuration is the `http` app of a configuration file.
type configuration struct {
	file string
	http any
}

func readConfiguration(fl caddycmd.Flags) (configuration, error) {
	raw, file, _, err := caddycmd.LoadConfig(fl.String("config"), fl.String("adapter"))
	switch {
	case err != nil:
		return configuration{}, err
	case raw == nil:
		return configuration{}, errors.New("no configuration file found; name it with --config")
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var config map[string]any
	if err := decoder.Decode(&config); err != nil {
		return configuration{}, fmt.Errorf("%s: %w", file, err)
	}
	apps, _ := config["apps"].(map[string]any)
	return configuration{file: file, http: apps["http"]}, nil
}

// handlers returns the handlers and providers of the configuration.
func (c configuration) handlers() ([]configPart, error) {
	parts := findHandlers(c.http)
	if len(parts) == 0 {
		return nil, fmt.Errorf("%s has no frappe_auth", c.file)
	}
	return parts, nil
}

// newToolContext returns a context for loading modules outside a running Caddy. From then on only errors are logged, so
// that Caddy's logs do not mix with the command's output. If there is no error, the caller must call cancel.
func newToolContext() (ctx caddy.Context, cancel func(), err error) {
	quiet := &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{Level: "ERROR"}}}}
	provisioned, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}, Logging: quiet})
	if err != nil {
		return caddy.Context{}, nil, err
	}
	ctx, cancel = caddy.NewContext(provisioned)
	return ctx, cancel, nil
}

// loadHandlers loads handlers and providers without the servers they belong to. They are unloaded when ctx is canceled.
func loadHandlers(ctx caddy.Context, parts []configPart) (found []configured, err error) {
	for _, part := range parts {
		raw, err := json.Marshal(part.json)
		if err != nil {
			return nil, err
		}
		module, err := ctx.LoadModuleByID(part.module, raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part.where(), err)
		}
		c := configured{where: part.where()}
		switch module := module.(type) {
		case *Handler:
			c.Options = &module.Options
		case *Provider:
			c.Options = &module.Options
		}
		found = append(found, c)
	}
	return found, nil
}

// configPart is a handler or provider in the JSON of a configuration, with what is known about the requests that reach
// it.
type configPart struct {
	module              string
	json                map[string]any
	listen, hosts, path []string
	label               string // if set: describes the handler instead of the requests that reach it
}

// where describes the requests that reach the handler.
func (p configPart) where() string {
	if p.label != "" {
		return p.label
	}
	names := p.hosts
	if len(names) == 0 {
		names = []string{""}
	}
	all := make([]string, 0, len(names)*len(p.listen))
	for _, name := range names {
		for _, listen := range p.listen {
			if listen == ":443" || listen == ":80" {
				listen = ""
			}
			all = append(all, strings.TrimSuffix(name+listen, ":"))
		}
	}
	text := strings.Join(all, ", ")
	if text == "" {
		text = "every host"
	}
	if len(p.path) > 0 {
		text += " " + strings.Join(p.path, " ")
	}
	return text
}

// findHandlers returns the handlers and providers in a part of the configuration, in the order of the file as far as JSON
// preserves it.
func findHandlers(part any) (found []configPart) {
	walkConfig(part, configPart{}, func(object map[string]any, at configPart) (goOn bool) {
		switch object["handler"] {
		case "frappe_auth":
			at.module, at.json = "http.handlers.frappe_auth", maps.Clone(object)
			delete(at.json, "handler")
		case "authentication":
			providers, _ := object["providers"].(map[string]any)
			provider, ok := providers["frappe"].(map[string]any)
			if !ok {
				return false
			}
			at.module, at.json = "http.authentication.providers.frappe", maps.Clone(provider)
		default:
			return true
		}
		found = append(found, at)
		return false
	})
	return found
}

// walkConfig calls visit for every object in a part of the configuration. It descends into an object if visit returns
// true.
func walkConfig(part any, at configPart, visit func(object map[string]any, at configPart) (goOn bool)) {
	switch part := part.(type) {
	case []any:
		for _, element := range part {
			walkConfig(element, at, visit)
		}
	case map[string]any:
		at.read(part)
		if !visit(part, at) {
			return
		}
		for _, key := range slices.Sorted(maps.Keys(part)) {
			walkConfig(part[key], at, visit)
		}
	}
}

// read records what an object of the configuration says about the requests that reach its contents.
func (p *configPart) read(object map[string]any) {
	texts := func(value any) (all []string) {
		list, _ := value.([]any)
		for _, element := range list {
			if text, ok := element.(string); ok {
				all = append(all, text)
			}
		}
		return all
	}
	if listen := texts(object["listen"]); listen != nil {
		p.listen = listen
	}
	sets, _ := object["match"].([]any)
	for _, set := range sets {
		matchers, _ := set.(map[string]any)
		if hosts := texts(matchers["host"]); hosts != nil {
			p.hosts = hosts
		}
		if path := texts(matchers["path"]); path != nil {
			p.path = path
		}
	}
}
