package routes

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

// Loaded returns the JSON of an http app whose modules are loaded, as the other functions take it: Caddy forgets the
// JSON of a module when it has loaded it. What the options of a module are that it no longer knows is missing. own
// returns the JSON of a handler or provider of ours, and nil for any other module.
func Loaded(app *caddyhttp.App, own func(module any) []byte) any {
	l := loaded{own}
	servers := make(map[string]any)
	for name, server := range app.Servers {
		converted := map[string]any{"listen": anyList(server.Listen), "routes": l.routes(server.Routes)}
		if server.Errors != nil {
			converted["errors"] = map[string]any{"routes": l.routes(server.Errors.Routes)}
		}
		named := make(map[string]any)
		for name, route := range server.NamedRoutes {
			named[name] = l.route(*route)
		}
		converted["named_routes"] = named
		servers[name] = converted
	}
	return map[string]any{"servers": servers}
}

// loaded converts loaded modules to JSON.
type loaded struct{ own func(module any) []byte }

func (l loaded) routes(routes caddyhttp.RouteList) []any {
	all := make([]any, len(routes))
	for i, route := range routes {
		all[i] = l.route(route)
	}
	return all
}

func (l loaded) route(route caddyhttp.Route) any {
	handlers := make([]any, len(route.Handlers))
	for i, handler := range route.Handlers {
		handlers[i] = l.handler(handler)
	}
	sets := make([]any, len(route.MatcherSets))
	for i, matchers := range route.MatcherSets {
		sets[i] = l.set(matchers)
	}
	return map[string]any{"group": route.Group, "terminal": route.Terminal, "match": sets, "handle": handlers}
}

func (l loaded) set(matchers caddyhttp.MatcherSet) any {
	converted := make(map[string]any, len(matchers))
	for _, matcher := range matchers {
		name := nameOf(matcher)
		if not, ok := pointed(matcher).(caddyhttp.MatchNot); ok {
			sets := make([]any, len(not.MatcherSets))
			for i, inner := range not.MatcherSets {
				sets[i] = l.set(inner)
			}
			converted[name] = sets
			continue
		}
		converted[name] = parsed(marshaled(matcher))
	}
	return converted
}

func (l loaded) handler(handler any) any {
	options, ok := parsed(l.own(handler)).(map[string]any)
	if !ok {
		if options, ok = parsed(marshaled(handler)).(map[string]any); !ok {
			options = make(map[string]any)
		}
		l.fill(options, reflect.ValueOf(handler))
	}
	if a, ok := handler.(*caddyauth.Authentication); ok {
		providers := make(map[string]any)
		for name, provider := range a.Providers {
			providers[name] = parsed(l.own(provider))
		}
		options["providers"] = providers
	}
	options["handler"] = nameOf(handler)
	return options
}

// fill sets the routes in the options of a handler. The handlers of these routes are missing in its JSON.
func (l loaded) fill(options map[string]any, value reflect.Value) {
	for value.Kind() == reflect.Pointer {
		value = value.Elem()
	}
	if value.Kind() != reflect.Struct {
		return
	}
	for i := range value.NumField() {
		field := value.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.IsExported() || name == "" {
			continue
		}
		switch inside := value.Field(i).Interface().(type) {
		case caddyhttp.RouteList:
			options[name] = l.routes(inside)
		case []caddyhttp.ResponseHandler:
			responses := make([]any, len(inside))
			for i, response := range inside {
				responses[i] = map[string]any{"match": parsed(marshaled(response.Match)), "routes": l.routes(response.Routes)}
			}
			options[name] = responses
		}
	}
}

// nameOf returns the name of a module in its namespace.
func nameOf(module any) string {
	if m, ok := module.(caddy.Module); ok {
		return m.CaddyModule().ID.Name()
	}
	return ""
}

// pointed returns what a pointer points to.
func pointed(value any) any {
	if v := reflect.ValueOf(value); v.Kind() == reflect.Pointer && !v.IsNil() {
		return v.Elem().Interface()
	}
	return value
}

func marshaled(module any) []byte {
	raw, err := json.Marshal(module)
	if err != nil {
		return nil // a module that cannot be configured by JSON
	}
	return raw
}

// parsed decodes JSON. It returns nil if there is none.
func parsed(raw []byte) (value any) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if decoder.Decode(&value) != nil {
		return nil
	}
	return value
}

func anyList(texts []string) []any {
	all := make([]any, len(texts))
	for i, text := range texts {
		all[i] = text
	}
	return all
}
