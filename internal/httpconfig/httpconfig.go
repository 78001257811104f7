// Package httpconfig finds the handlers of frappe_auth in the JSON of Caddy's http app, and what is wrong around them.
// It only reads the JSON; it loads no module.
package httpconfig

import (
	"maps"
	"slices"
	"strings"
)

// place says which requests reach a part of the configuration.
type place struct {
	listen, hosts, path []string
}

// String describes the requests, as in `files.example.com:8443 /api/*`.
func (p place) String() string {
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

// within returns the place of what an object of the configuration contains.
func (p place) within(object map[string]any) place {
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
	return p
}

// texts returns the strings of a JSON array.
func texts(value any) (all []string) {
	list, _ := value.([]any)
	for _, element := range list {
		if text, ok := element.(string); ok {
			all = append(all, text)
		}
	}
	return all
}

// Handler is a frappe_auth handler or provider.
type Handler struct {
	// Module is the id of the Caddy module.
	Module string

	// JSON is the configuration of the module. It is a copy, except for what its members contain.
	JSON map[string]any

	// Where describes the requests that reach the handler.
	Where string
}

// The modules that a Handler can be.
const (
	HandlerModule  = "http.handlers.frappe_auth"
	ProviderModule = "http.authentication.providers.frappe"
)

// Handlers returns the handlers and providers of an http app, in the order of the file as far as JSON preserves it.
func Handlers(http any) (found []Handler) {
	walk(http, place{}, func(object map[string]any, at place) (goOn bool) {
		switch object["handler"] {
		case "frappe_auth":
			options := maps.Clone(object)
			delete(options, "handler")
			found = append(found, Handler{Module: HandlerModule, JSON: options, Where: at.String()})
		case "authentication":
			providers, _ := object["providers"].(map[string]any)
			if provider, ok := providers["frappe"].(map[string]any); ok {
				found = append(found, Handler{Module: ProviderModule, JSON: maps.Clone(provider), Where: at.String()})
			}
		default:
			return true
		}
		return false
	})
	return found
}

// Webhook is a frappe_auth_webhook that names the handler whose cached results it drops.
type Webhook struct {
	// Handler is the name of that handler.
	Handler string

	// Where describes the requests that reach the webhook.
	Where string
}

// Webhooks returns the webhooks of an http app that name a handler.
func Webhooks(http any) (found []Webhook) {
	walk(http, place{}, func(object map[string]any, at place) (goOn bool) {
		name, _ := object["handler_name"].(string)
		if object["handler"] == "frappe_auth_webhook" && name != "" {
			found = append(found, Webhook{Handler: name, Where: at.String()})
		}
		return true
	})
	return found
}

// walk calls visit for every object in a part of the configuration. It descends into an object if visit returns true.
func walk(part any, at place, visit func(object map[string]any, at place) (goOn bool)) {
	switch part := part.(type) {
	case []any:
		for _, element := range part {
			walk(element, at, visit)
		}
	case map[string]any:
		at = at.within(part)
		if !visit(part, at) {
			return
		}
		for _, key := range slices.Sorted(maps.Keys(part)) {
			walk(part[key], at, visit)
		}
	}
}
