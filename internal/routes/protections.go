package routes

import (
	"maps"
	"slices"
	"strings"
)

// Protection is a frappe_auth handler or provider in the JSON of Caddy's http app. It is not loaded.
type Protection struct {
	// Module is the id of the Caddy module.
	Module string

	// Options is the JSON of the module. It is a shallow copy.
	Options map[string]any

	// Where describes the requests that reach the handler.
	Where string
}

// The modules that a Protection can be.
const (
	HandlerModule  = "http.handlers.frappe_auth"
	ProviderModule = "http.authentication.providers.frappe"
)

// Protections returns the handlers and providers of an http app, in the order of the file where JSON preserves it.
func Protections(http any) (found []Protection) {
	walk(http, place{}, func(object map[string]any, at place) (descend bool) {
		if module, options, ok := handlerIn(object); ok {
			found = append(found, Protection{Module: module, Options: options, Where: at.String()})
		}
		return object["handler"] != "frappe_auth" && object["handler"] != "authentication"
	})
	return found
}

// handlerIn returns the frappe_auth, or the provider, that the JSON of a handler holds.
func handlerIn(object map[string]any) (module string, options map[string]any, ok bool) {
	switch object["handler"] {
	case "frappe_auth":
		options = maps.Clone(object)
		delete(options, "handler")
		return HandlerModule, options, true
	case "authentication":
		providers, _ := object["providers"].(map[string]any)
		provider, ok := providers["frappe"].(map[string]any)
		return ProviderModule, maps.Clone(provider), ok
	}
	return "", nil, false
}

// text returns a text among the options.
func (p Protection) text(option string) string {
	text, _ := p.Options[option].(string)
	return text
}

// access describes who may pass.
func (p Protection) access() string {
	text := "frappe_auth"
	if p.Module == ProviderModule {
		text = "authentication frappe"
	}
	if name := p.text("name"); name != "" {
		text += " " + name
	}
	if require := p.requirements(); len(require) > 0 {
		all := make([]string, len(require))
		for i, required := range require {
			all[i] = required.String()
		}
		return text + ": " + strings.Join(all, ", and ")
	}
	if anonymous, _ := p.Options["anonymous"].(bool); anonymous {
		text += ", or nobody (anonymous)"
	}
	return text
}

// webhook is a frappe_auth_webhook that names the handler whose cached results it drops.
type webhook struct {
	// handler is the name of that handler.
	handler string

	// where describes the requests that reach the webhook.
	where string
}

// findWebhooks returns the webhooks of an http app that name a handler.
func findWebhooks(http any) (found []webhook) {
	walk(http, place{}, func(object map[string]any, at place) (descend bool) {
		name, _ := object["handler_name"].(string)
		if object["handler"] == "frappe_auth_webhook" && name != "" {
			found = append(found, webhook{handler: name, where: at.String()})
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
	text := p.site()
	if len(p.path) > 0 {
		text += " " + strings.Join(p.path, " ")
	}
	return text
}

// site describes the hosts and ports.
func (p place) site() string {
	names := p.hosts
	if len(names) == 0 {
		names = []string{""}
	}
	all := make([]string, 0, len(names)*len(p.listen))
	for _, name := range names {
		for _, listen := range p.listen {
			if port := strings.LastIndexByte(listen, ':'); name != "" && port >= 0 {
				listen = listen[port:] // without the address of `bind`
			}
			if listen == ":443" || listen == ":80" {
				listen = ""
			}
			if address := strings.TrimSuffix(name+listen, ":"); !slices.Contains(all, address) {
				all = append(all, address)
			}
		}
	}
	if text := strings.Join(all, ", "); text != "" {
		return text
	}
	return "every host"
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
