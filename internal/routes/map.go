// Package routes finds out, from the JSON of Caddy's http app, what a request passes on its way: which routes are
// protected by which frappe_auth, which are open, and what is in the wrong place. It follows matchers, subroutes,
// named routes and the routes of errors, in the order in which Caddy runs them. It does not run anything.
package routes

import (
	"maps"
	"slices"
	"strings"
)

// Row is what happens to some of the requests of a site.
type Row struct {
	// Site names the hosts and ports.
	Site string `json:"site"`

	// Route describes the requests by their matchers. `else` are those that the rows before it leave over.
	Route string `json:"route"`

	// LeadsTo is the directive that answers, and where it leads: an upstream or a directory.
	LeadsTo string `json:"leads_to"`

	// Guards describe what a request must pass to get there. It is empty if the route is open.
	Guards []string `json:"guards"`

	endpoint *endpoint
	guards   []guard
	rest     bool // a frappe_auth lets these requests by, as its matcher does not select them
}

// Open reports whether everybody gets there.
func (r Row) Open() bool { return len(r.guards) == 0 }

// protected reports whether only users of Frappe get there.
func (r Row) protected() bool {
	return slices.ContainsFunc(r.guards, func(g guard) bool { return g.frappe })
}

// Access describes who gets there.
func (r Row) Access() string {
	if r.Open() {
		return "OPEN"
	}
	return strings.Join(r.Guards, "; ")
}

// Map returns what requests of each site of an http app get, and what they must pass.
func Map(http any) []Row { return examine(http).rows() }

// examined are the walks through the servers of an http app.
type examined []*routeWalk

func examine(http any) (walks examined) {
	app, _ := http.(map[string]any)
	servers, _ := app["servers"].(map[string]any)
	var userHeaders []string
	for _, p := range Protections(http) {
		if header := p.text("user_header"); header != "" && !slices.Contains(userHeaders, header) {
			userHeaders = append(userHeaders, header)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		server, _ := servers[name].(map[string]any)
		w := &routeWalk{placeholders: []string{"{http.auth.user.", "{http.auth.frappe."}, userHeaders: userHeaders}
		w.server(server)
		walks = append(walks, w)
	}
	return walks
}

func (walks examined) rows() (rows []Row) {
	for _, w := range walks {
		for i := range w.endpoints {
			rows = append(rows, w.endpoints[i].rows()...)
		}
	}
	return rows
}

// rows returns one row for the requests that each frappe_auth on the way selects by its matchers, and one for the rest.
func (e *endpoint) rows() (rows []Row) {
	var always, sometimes []passed
	for _, g := range e.guards {
		switch {
		case slices.ContainsFunc(g.when, e.way.excludes):
		case g.always(e.way):
			always = append(always, g)
		default:
			sometimes = append(sometimes, g)
		}
	}
	complete := false
	for _, s := range sometimes {
		selected := slices.Concat(e.way, s.when)
		guards := slices.Clone(always)
		for _, other := range sometimes {
			if other.always(selected) {
				guards = append(guards, other)
			}
		}
		rows = append(rows, e.row(selected.describe(), guards))
		complete = complete || e.complete(s, sometimes)
	}
	if complete {
		return rows
	}
	rest := e.row(e.way.describe(), always)
	if len(sometimes) > 0 {
		rest.Route, rest.rest = "else", true
	}
	return append(rows, rest)
}

// complete reports whether one of the guards selects every request that s leaves over.
func (e *endpoint) complete(s passed, others []passed) bool {
	if len(s.when) != 1 {
		return false
	}
	left, ok := s.when[0].unless()
	return ok && slices.ContainsFunc(others, func(o passed) bool { return o.always(slices.Concat(e.way, way{left})) })
}

func (e *endpoint) row(route string, guards []passed) Row {
	if e.onError {
		route += " (after an error)"
	}
	r := Row{Site: e.site, Route: route, LeadsTo: e.what, Guards: []string{}, endpoint: e}
	for _, g := range guards {
		if !slices.Contains(r.Guards, g.access) {
			r.Guards = append(r.Guards, g.access)
		}
		r.guards = append(r.guards, g.guard)
	}
	return r
}
