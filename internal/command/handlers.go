package command

import (
	"maps"
	"slices"
	"strings"
)

// configuredHandler is a frappe_auth handler or provider in the JSON of Caddy's http app. It is not loaded.
type configuredHandler struct {
	// module is the id of the Caddy module.
	module string

	// options is the JSON of the module. It is a shallow copy.
	options map[string]any

	// where describes the requests that reach the handler.
	where string
}

// The modules that a configuredHandler can be.
const (
	handlerModule  = "http.handlers.frappe_auth"
	providerModule = "http.authentication.providers.frappe"
)

// findHandlers returns the handlers and providers of an http app, in the order of the file where JSON preserves it.
func findHandlers(http any) (found []configuredHandler) {
	walk(http, place{}, func(object map[string]any, at place) (descend bool) {
		switch object["handler"] {
		case "frappe_auth":
			options := maps.Clone(object)
			delete(options, "handler")
			found = append(found, configuredHandler{module: handlerModule, options: options, where: at.String()})
		case "authentication":
			providers, _ := object["providers"].(map[string]any)
			if provider, ok := providers["frappe"].(map[string]any); ok {
				found = append(found, configuredHandler{module: providerModule, options: maps.Clone(provider), where: at.String()})
			}
		default:
			return true
		}
		return false
	})
	return found
}

// configuredWebhook is a frappe_auth_webhook that names the handler whose cached results it drops.
type configuredWebhook struct {
	// handler is the name of that handler.
	handler string

	// where describes the requests that reach the webhook.
	where string
}

// findWebhooks returns the webhooks of an http app that name a handler.
func findWebhooks(http any) (found []configuredWebhook) {
	walk(http, place{}, func(object map[string]any, at place) (descend bool) {
		name, _ := object["handler_name"].(string)
		if object["handler"] == "frappe_auth_webhook" && name != "" {
			found = append(found, configuredWebhook{handler: name, where: at.String()})
		}
		return true
	})
	return found
}

// walk calls visit for every object in a part of the configuration. It descends into an object if visit returns true.
func walk(part any, at place, visit func(object map[string]any, at place) (descend bool)) {
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

// place describes which requests reach a part of the configuration.
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

// within returns the place of the parts of an object.
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
