package command

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// earlyUse is a placeholder of the user that is used before frappe_auth sets it. It is still empty there, so
// `root * /srv/{http.auth.user.id}` would serve the files of all users to everybody.
type earlyUse struct {
	// by is the directive that uses the placeholder.
	by string

	// placeholder is the placeholder with its braces.
	placeholder string

	// where describes the requests that reach the directive.
	where string
}

// findEarlyUses returns the placeholders of the user that are used before the handler sets them.
func findEarlyUses(http any) (found []earlyUse) {
	app, _ := http.(map[string]any)
	servers, _ := app["servers"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		server, _ := servers[name].(map[string]any)
		walk := routeWalk{placeholders: []string{"{http.auth.user.", "{http.auth.frappe."}}
		walk.named, _ = server["named_routes"].(map[string]any)
		walk.list(server["routes"], passage{}, place{}.within(server), 0)
		for _, m := range walk.mentions {
			if m.early {
				found = append(found, m.earlyUse)
			}
		}
	}
	return found
}

// routeWalk visits routes in the order in which a request passes them.
type routeWalk struct {
	named        map[string]any // routes by the name by which `invoke` refers to them
	placeholders []string       // prefixes of those that frappe_auth sets, and those that `map` derives from them
	mentions     []*mention
}

// mention is a placeholder that is used before any authentication.
type mention struct {
	earlyUse
	early bool // an authentication follows
}

// passage is the part of the routes that a request has passed.
type passage struct {
	pending       []*mention // those before any authentication
	authenticated bool
}

// then returns p followed by q.
func (p passage) then(q passage) passage {
	return passage{pending: slices.Concat(p.pending, q.pending), authenticated: p.authenticated || q.authenticated}
}

// maxRouteDepth limits the nesting of routes, because named routes can invoke each other.
const maxRouteDepth = 64

// list visits a list of routes. before is what a request has passed when it arrives there. list returns what the list
// adds.
func (w *routeWalk) list(list any, before passage, at place, depth int) (all passage) {
	type taken struct {
		group string
		passage
	}
	var passed []taken
	routes, _ := list.([]any)
	for _, element := range routes {
		route, _ := element.(map[string]any)
		group, _ := route["group"].(string)
		here := before
		for _, earlier := range passed {
			if group == "" || earlier.group != group { // a request takes only one route of a group
				here = here.then(earlier.passage)
			}
		}
		own := w.route(route, here, at, depth)
		if terminal, _ := route["terminal"].(bool); !terminal { // a request continues only after such a route
			passed = append(passed, taken{group, own})
			all = all.then(own)
		}
	}
	return all
}

// route visits the matchers and handlers of a route, like list.
func (w *routeWalk) route(route map[string]any, before passage, at place, depth int) (own passage) {
	at = at.within(route)
	note := func(by string, in any) {
		if what := w.find(in); what != "" && !before.then(own).authenticated {
			m := &mention{earlyUse: earlyUse{by: by, placeholder: what, where: at.String()}}
			w.mentions = append(w.mentions, m)
			own.pending = append(own.pending, m)
		}
	}
	note("a matcher", route["match"])
	handlers, _ := route["handle"].([]any)
	for _, element := range handlers {
		handler, _ := element.(map[string]any)
		switch name, _ := handler["handler"].(string); name {
		case "subroute":
			own = own.then(w.within(handler["routes"], before.then(own), at, depth))
		case "invoke":
			invoked, _ := handler["name"].(string)
			own = own.then(w.within([]any{w.named[invoked]}, before.then(own), at, depth))
		case "frappe_auth", "authentication":
			at = at.within(handler)
			note("a matcher", handler["match"])
			options := maps.Clone(handler)
			delete(options, "match")
			note(name, options)
			if providers, _ := handler["providers"].(map[string]any); name == "frappe_auth" || providers["frappe"] != nil {
				for _, m := range before.then(own).pending {
					m.early = true
				}
			}
			own.authenticated = true
		case "map":
			if w.find(handler) != "" && !before.then(own).authenticated { // it is evaluated where its outputs are used
				w.alias(handler["destinations"])
			}
		default:
			note(directiveOf(name, handler), atOnce(name, handler))
		}
	}
	return own
}

func (w *routeWalk) within(list any, before passage, at place, depth int) passage {
	if depth == maxRouteDepth {
		return passage{}
	}
	return w.list(list, before, at, depth+1)
}

// find returns the first placeholder of the user in a part of the configuration, or an empty string.
func (w *routeWalk) find(part any) string {
	raw, err := json.Marshal(part)
	if err != nil {
		return "" // it was decoded from JSON
	}
	for _, beginning := range w.placeholders {
		_, rest, found := strings.Cut(string(raw), beginning)
		switch {
		case found && strings.HasSuffix(beginning, "}"): // a whole placeholder
			return beginning
		case found:
			name, _, _ := strings.Cut(rest, "}")
			return beginning + name + "}"
		}
	}
	return ""
}

// alias adds the placeholders that `map` derives from those of the user.
func (w *routeWalk) alias(destinations any) {
	list, _ := destinations.([]any)
	for _, destination := range list {
		if name, ok := destination.(string); ok {
			w.placeholders = append(w.placeholders, "{"+strings.Trim(name, "{}")+"}")
		}
	}
}

// atOnce returns the part of a handler that is evaluated passed the next handlers run.
func atOnce(name string, handler map[string]any) any {
	switch name {
	case "intercept":
		return nil
	case "log_append":
		if early, _ := handler["early"].(bool); !early {
			return nil
		}
	case "headers":
		response, _ := handler["response"].(map[string]any)
		if deferred, _ := response["deferred"].(bool); deferred || response["require"] != nil {
			return handler["request"]
		}
	}
	return handler
}

// directiveOf returns the name of a handler in a Caddyfile.
func directiveOf(name string, handler map[string]any) string {
	switch {
	case name == "vars" && handler["root"] != nil:
		return "root"
	case name == "headers" && handler["request"] != nil:
		return "request_header"
	case name == "headers":
		return "header"
	}
	return name
}
