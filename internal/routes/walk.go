package routes

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/caddy-frappe/frappe-auth/internal/headers"
)

// routeWalk visits the routes of a server in the order in which a request passes them.
type routeWalk struct {
	named        map[string]any // routes by the name by which `invoke` refers to them
	placeholders []string       // prefixes of those that frappe_auth sets, and those that `map` derives from them
	userHeaders  []string       // the headers that some frappe_auth sets

	visited   int // routes
	mentions  []*mention
	endpoints []endpoint
	described []described
	pairs     []pair
	changes   []headerChange
	unreached []string // where a frappe_auth is that no request reaches
}

// mention is a placeholder or a header that is used before any authentication.
type mention struct {
	by     string // the directive that uses it
	what   string // the placeholder with its braces, or the header
	header string // the user header that it reads; empty: a placeholder of the user
	where  string // the requests that reach the directive
	early  bool   // an authentication follows that sets it
}

// endpoint is a handler that answers requests.
type endpoint struct {
	site      string
	way       way
	what      string // the directive and where it leads
	upstreams []string
	roots     []string
	guards    []passed
	deletes   []string // the request headers that are removed on the way
	onError   bool     // in handle_errors, where requests come that were refused
	fixed     bool     // the path is not the client's
}

// guard is a handler that lets only some requests pass.
type guard struct {
	access     string
	frappe     bool // a frappe_auth, or the provider
	id         uintptr
	backends   any
	userHeader string
	relays     bool // logins from other hosts
	where      string
}

// passed is a guard that a request passes if it meets the conditions.
type passed struct {
	guard
	when way
}

// described is a frappe_auth with metadata of a protected resource.
type described struct {
	resource string // empty: the host of the request
	way      way
	where    string
}

// pair is two frappe_auth that one request passes.
type pair struct {
	where string
	same  bool // they have the same backends
}

// headerChange is a directive that changes the header of a frappe_auth before it.
type headerChange struct{ by, header, where string }

// spot is where a request arrives: what it met, and what it has passed.
type spot struct {
	before  passage
	at      place
	way     way
	onError bool
	depth   int
}

// passage is the part of the routes that a request has passed.
type passage struct {
	pending       []*mention // those before any authentication
	authenticated bool
	guards        []passed
	roots         []setRoot
	deletes       []string
	rewrites      int
	fixed         bool        // the last rewrite gave the request a path of the configuration
	answered      []condition // requests that meet one of these have their answer, and go no further
}

// setRoot is a `root` that a request gets if it meets the conditions.
type setRoot struct {
	path string
	when way
}

// then returns p followed by q.
func (p passage) then(q passage) passage {
	return passage{
		pending:       slices.Concat(p.pending, q.pending),
		authenticated: p.authenticated || q.authenticated,
		guards:        slices.Concat(p.guards, q.guards),
		roots:         slices.Concat(p.roots, q.roots),
		deletes:       slices.Concat(p.deletes, q.deletes),
		rewrites:      p.rewrites + q.rewrites,
		fixed:         p.fixed || q.fixed,
		answered:      slices.Concat(p.answered, q.answered),
	}
}

// under returns what a request has passed that may have met c or not.
func (p passage) under(c condition) passage {
	if len(c.sets) == 0 {
		return p
	}
	answered := p.answered
	p.guards, p.roots, p.deletes, p.fixed, p.answered = slices.Clone(p.guards), slices.Clone(p.roots), nil, false, nil
	for _, a := range answered {
		if both, ok := c.and(a); ok && len(p.answered) < maxOthers {
			p.answered = append(p.answered, both)
		}
	}
	for i := range p.guards {
		p.guards[i].when = append(way{c}, p.guards[i].when...)
	}
	for i := range p.roots {
		p.roots[i].when = append(way{c}, p.roots[i].when...)
	}
	return p
}

// past returns the spot after a passage.
func (s spot) past(p passage) spot {
	s.before = s.before.then(p)
	return s
}

// on returns the spot of a request that meets further conditions.
func (s spot) on(conditions ...condition) spot {
	s.way = slices.Concat(s.way, conditions)
	return s
}

// What is looked at is limited, because named routes can invoke each other, and sites can be many.
const (
	maxRouteDepth = 64
	maxRoutes     = 50_000 // of a server
	maxOthers     = 32     // routes before one that would have taken its requests
)

// server visits all routes of a server.
func (w *routeWalk) server(server map[string]any) {
	w.named, _ = server["named_routes"].(map[string]any)
	start := spot{at: place{}.within(server)}
	w.nothing(start, func() passage { return w.list(server["routes"], start) })
	if failed, _ := server["errors"].(map[string]any); failed != nil {
		start.onError = true
		w.list(failed["routes"], start)
	}
}

// nothing visits a site, and notes if nothing in it answers.
func (w *routeWalk) nothing(site spot, visit func() passage) passage {
	answers := len(w.endpoints)
	own := visit()
	if len(w.endpoints) == answers && slices.ContainsFunc(own.guards, func(p passed) bool { return p.frappe }) {
		w.endpoints = append(w.endpoints, endpoint{
			site: site.at.site(), way: site.way, what: "nothing: 200, empty", guards: own.guards,
		})
	}
	return own
}

// list visits a list of routes, and returns what it adds to what a request has passed.
func (w *routeWalk) list(list any, from spot) (all passage) {
	type taken struct {
		group    string
		terminal bool
		every    bool      // it takes every request
		unless   condition // of the requests that it does not take
		counts   bool      // that is not only another site
		passage  passage
	}
	var (
		earlier []taken
		total   sequence
	)
	routes, _ := list.([]any)
next:
	for _, element := range routes {
		if w.visited++; w.visited > maxRoutes {
			break
		}
		route, _ := element.(map[string]any)
		group, _ := route["group"].(string)
		var before sequence
		var others way // the request meets the conditions of no route that would have taken it
		for _, e := range earlier {
			if e.terminal || group != "" && e.group == group { // a request takes only one route of a group
				if e.every {
					w.unreachable(route, from)
					continue next
				}
				if e.counts && len(others) < maxOthers {
					others = append(others, e.unless)
				}
				continue
			}
			before.add(e.group, e.passage)
		}
		here := from.past(before.passage)
		for _, answered := range before.answered {
			left, some := answered.unless()
			if !some {
				w.unreachable(route, from)
				continue next
			}
			here = here.on(left)
		}
		when := conditionOf(route["match"], here.before.rewrites)
		terminal, _ := route["terminal"].(bool)
		inside := here.on(others...).on(when)
		inside.at = inside.at.within(route)
		visit := func() passage { return w.route(route, inside) }
		var own passage
		if terminal { // a site
			own = w.nothing(inside, visit).under(when)
		} else {
			own = visit().under(when)
		}
		roots := own.roots
		for _, other := range others {
			own = own.under(other)
		}
		own.roots = roots // sequence has their order
		unless, some := when.unless()
		earlier = append(earlier, taken{group, terminal, !some, unless, !terminal || !when.hostsOnly(), own})
		if !terminal { // a request continues only after such a route
			total.add(group, own)
		}
	}
	return total.passage
}

// sequence is what routes add one after the other.
type sequence struct {
	passage
	roots map[string]int // where the roots of a group begin
}

// add adds the passage of a route. The first root of a group counts that a request gets, and otherwise the last one, so
// those of a group are in reverse order.
func (s *sequence) add(group string, p passage) {
	at, known := s.roots[group]
	switch {
	case group == "" || len(p.roots) == 0:
	case known:
		first := p.roots
		p.roots = nil
		s.passage = s.then(p)
		s.passage.roots = slices.Insert(slices.Clone(s.passage.roots), at, first...)
		return
	default:
		if s.roots == nil {
			s.roots = make(map[string]int)
		}
		s.roots[group] = len(s.passage.roots)
	}
	s.passage = s.then(p)
}

// route visits the matchers and handlers of a route, like list.
func (w *routeWalk) route(route map[string]any, from spot) (own passage) {
	w.note(&own, from, "a matcher", route["match"])
	handlers, _ := route["handle"].([]any)
	for _, element := range handlers {
		handler, _ := element.(map[string]any)
		if slices.ContainsFunc(own.answered, func(c condition) bool { return len(c.sets) == 0 }) {
			w.unreachable(handler, from)
			continue
		}
		own = own.then(w.handler(handler, from.past(own)))
	}
	return own
}

// unreachable notes a frappe_auth in a part of the routes that no request reaches.
func (w *routeWalk) unreachable(part map[string]any, from spot) {
	if len(Protections(part)) > 0 {
		w.unreached = append(w.unreached, from.at.within(part).String())
	}
}

// handler visits a handler, like list.
func (w *routeWalk) handler(handler map[string]any, from spot) (own passage) {
	switch name, _ := handler["handler"].(string); name {
	case "subroute":
		return w.within(handler["routes"], from)
	case "invoke":
		invoked, _ := handler["name"].(string)
		if route, ok := w.named[invoked]; ok {
			return w.within([]any{route}, from)
		}
		return passage{}
	case "frappe_auth", "authentication":
		return w.authentication(name, handler, from)
	case "map":
		if w.find(handler) != "" && !from.before.authenticated { // it is evaluated where its outputs are used
			w.alias(handler["destinations"])
		}
		return passage{}
	default:
		w.note(&own, from, directiveOf(name, handler), atOnce(name, handler))
		w.changesHeader(name, handler, from)
		own = own.then(w.effect(name, handler))
		w.respond(name, handler, &own, from.past(own))
		for _, response := range setsOf(handler["handle_response"]) {
			w.within(response["routes"], from.past(own))
		}
	}
	return own
}

func (w *routeWalk) within(list any, from spot) passage {
	if from.depth == maxRouteDepth {
		return passage{}
	}
	from.depth++
	return w.list(list, from)
}

// authentication visits a frappe_auth, or Caddy's authentication.
func (w *routeWalk) authentication(name string, handler map[string]any, from spot) (own passage) {
	from.at = from.at.within(handler)
	w.note(&own, from, "a matcher", handler["match"])
	options := maps.Clone(handler)
	delete(options, "match")
	delete(options, "user_header")
	w.note(&own, from, name, options)
	own.authenticated = true

	module, ours, isOurs := handlerIn(handler)
	if !isOurs {
		providers, _ := handler["providers"].(map[string]any)
		own.guards = []passed{{guard: guard{access: strings.Join(slices.Sorted(maps.Keys(providers)), ", ")}}}
		return own
	}
	p := Protection{Module: module, Options: ours}
	g := guard{
		access: p.access(), frappe: true, id: reflect.ValueOf(handler).Pointer(), backends: ours["backends"],
		userHeader: p.text("user_header"), relays: ours["login_for"] != nil, where: from.at.String(),
	}
	for _, m := range slices.Concat(from.before.pending, own.pending) {
		m.early = m.early || m.header == "" || headers.Same(m.header, g.userHeader)
	}
	if metadata, ok := ours["protected_resource"].(map[string]any); ok {
		resource, _ := metadata["resource"].(string)
		w.described = append(w.described, described{resource: resource, way: from.way, where: g.where})
	}
	when := way{conditionOf(handler["match"], from.before.rewrites)}
	w.pair(g, when, from)
	own.guards = []passed{{g, when}}
	return own
}

// pair notes if a request passes another frappe_auth before this one. A second one with the same backends is meant if
// it is for some of the requests.
func (w *routeWalk) pair(second guard, when way, from spot) {
	all := slices.Concat(from.way, when)
	for _, first := range from.before.guards {
		if !first.frappe || first.id == second.id || slices.ContainsFunc(first.when, all.excludes) {
			continue
		}
		same := reflect.DeepEqual(first.backends, second.backends)
		if same && (!first.always(from.way) || !(passed{second, when}).always(from.way)) {
			continue
		}
		w.pairs = append(w.pairs, pair{where: second.where, same: same})
		return
	}
}

// always reports whether every request that came this way passes the guard.
func (p passed) always(w way) bool {
	return !slices.ContainsFunc(p.when, func(c condition) bool { return !w.meets(c) })
}

// effect returns what a handler changes for the handlers after it.
func (w *routeWalk) effect(name string, handler map[string]any) (own passage) {
	switch name {
	case "vars":
		if root, ok := handler["root"].(string); ok {
			own.roots = []setRoot{{path: root}}
		}
	case "rewrite":
		own.rewrites = 1
		uri, _ := handler["uri"].(string)
		own.fixed = uri != "" && !strings.Contains(uri, "{http.request.uri") && !strings.Contains(uri, "{http.matchers")
	case "headers":
		request, _ := handler["request"].(map[string]any)
		own.deletes = texts(request["delete"])
	}
	return own
}

// middleware are the handlers that never answer requests by themselves, or only with an error.
var middleware = map[string]bool{
	"": true, "appsec": true, "cache": true, "copy_response_headers": true, "crowdsec": true, "encode": true,
	"error": true, "headers": true, "intercept": true, "ip_blocker": true, "log_append": true, "map": true, "push": true,
	"rate_limit": true, "request_body": true, "rewrite": true, "server_timeouts": true, "templates": true,
	"timeouts": true, "tracing": true, "vars": true, "waf": true,
}

// final are the handlers that answer every request.
var final = map[string]bool{
	"file_server": true, "frappe_auth_webhook": true, "metrics": true, "reverse_proxy": true, "static_response": true,
}

// respond notes a handler that answers requests, or that asks another server who may pass.
func (w *routeWalk) respond(name string, handler map[string]any, own *passage, from spot) {
	if middleware[name] {
		return
	}
	e := endpoint{
		site: from.at.site(), way: from.way, what: name, guards: from.before.guards, onError: from.onError,
		deletes: from.before.deletes, fixed: from.before.fixed,
	}
	switch name {
	case "static_response":
		e.what = "respond"
		header, _ := handler["headers"].(map[string]any)
		if location := texts(header["Location"]); len(location) > 0 {
			target, _, _ := strings.Cut(location[0], "?")
			e.what = "redir " + target
		}
		if abort, _ := handler["abort"].(bool); abort {
			e.what = "abort"
		}
	case "reverse_proxy":
		e.upstreams = upstreamsOf(handler)
		if asksOthers(handler) {
			own.guards = append(own.guards, passed{guard: guard{access: "forward_auth " + strings.Join(e.upstreams, ", ")}})
			return
		}
		e.what += " " + strings.Join(e.upstreams, ", ")
		changes, _ := handler["headers"].(map[string]any)
		request, _ := changes["request"].(map[string]any)
		e.deletes = slices.Concat(e.deletes, texts(request["delete"]))
	case "file_server":
		e.roots = from.rootsOf(handler)
		e.what += " " + strings.Join(e.roots, " or ")
	case "frappe_auth_webhook":
		e.guards = append(slices.Clone(e.guards), passed{guard: guard{access: "signed by Frappe"}})
	}
	e.what = truncated(e.what)
	w.endpoints = append(w.endpoints, e)
	if passes, _ := handler["pass_thru"].(bool); final[name] && !passes {
		own.answered = []condition{{}}
	}
}

// asksOthers reports whether a reverse_proxy is what forward_auth becomes: after a good answer, the request goes on.
func asksOthers(handler map[string]any) bool {
	return slices.ContainsFunc(setsOf(handler["handle_response"]), func(response set) bool {
		match, _ := response["match"].(map[string]any)
		codes, _ := match["status_code"].([]any)
		answers := false
		walk(response["routes"], place{}, func(object map[string]any, _ place) bool {
			name, isHandler := object["handler"].(string)
			answers = answers || isHandler && !middleware[name] && name != "subroute"
			return true
		})
		return len(codes) > 0 && !answers && isSuccess(codes[0])
	})
}

// isSuccess reports whether a status code in JSON stands for those of success.
func isSuccess(code any) bool {
	raw, err := json.Marshal(code)
	return err == nil && string(raw) == "2"
}

func upstreamsOf(handler map[string]any) (found []string) {
	for _, upstream := range setsOf(handler["upstreams"]) {
		if dial, ok := upstream["dial"].(string); ok {
			found = append(found, dial)
		}
	}
	if dynamic, ok := handler["dynamic_upstreams"].(map[string]any); ok {
		source, _ := dynamic["source"].(string)
		name, _ := dynamic["name"].(string)
		found = append(found, strings.TrimSpace("dynamic "+source+" "+name))
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// defaultRoot is the root of a file_server that names none.
const defaultRoot = "{http.vars.root}"

// rootsOf returns the directories that a file_server may serve.
func (s spot) rootsOf(handler map[string]any) (found []string) {
	if root, _ := handler["root"].(string); root != "" && root != defaultRoot {
		return []string{root}
	}
	for _, root := range slices.Backward(s.before.roots) {
		if slices.ContainsFunc(root.when, s.way.excludes) {
			continue
		}
		found = append(found, root.path)
		if !slices.ContainsFunc(root.when, func(c condition) bool { return !s.way.meets(c) }) {
			return found
		}
	}
	return append(found, ".")
}

// changesHeader notes a handler that changes the header of a frappe_auth before it.
func (w *routeWalk) changesHeader(name string, handler map[string]any, from spot) {
	changes := handler
	if name == "reverse_proxy" {
		changes, _ = handler["headers"].(map[string]any)
	} else if name != "headers" {
		return
	}
	request, _ := changes["request"].(map[string]any)
	named := texts(request["delete"])
	for _, kind := range []string{"set", "add", "replace"} {
		fields, _ := request[kind].(map[string]any)
		named = append(named, slices.Sorted(maps.Keys(fields))...)
	}
	for _, g := range from.before.guards {
		for _, header := range named {
			if g.userHeader != "" && headers.Same(header, g.userHeader) && !slices.ContainsFunc(g.when, from.way.excludes) {
				by := directiveOf(name, handler)
				if name == "reverse_proxy" {
					by = "header_up of reverse_proxy"
				}
				w.changes = append(w.changes, headerChange{by: by, header: g.userHeader, where: from.at.String()})
				return
			}
		}
	}
}

// note notes a placeholder or header of the user in a part of the configuration that is evaluated before any
// authentication.
func (w *routeWalk) note(own *passage, from spot, by string, in any) {
	if from.before.authenticated || own.authenticated {
		return
	}
	add := func(what, header string) {
		m := &mention{by: by, what: what, header: header, where: from.at.String()}
		w.mentions = append(w.mentions, m)
		own.pending = append(own.pending, m)
	}
	if what := w.find(in); what != "" {
		add(what, "")
	}
	for _, header := range w.userHeaders {
		if reads(in, header) {
			add("the header "+header, header)
		}
	}
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

// reads reports whether a part of the configuration reads a request header: by its placeholder, or by a matcher.
func reads(part any, header string) bool {
	raw, err := json.Marshal(part)
	if err != nil {
		return false
	}
	text := strings.ToLower(string(raw))
	if strings.Contains(text, "{http.request.header."+strings.ToLower(header)+"}") {
		return true
	}
	matched := false
	walk(part, place{}, func(object map[string]any, _ place) bool {
		for _, matcher := range []string{"header", "header_regexp"} {
			fields, _ := object[matcher].(map[string]any)
			for name := range fields {
				matched = matched || headers.Same(name, header)
			}
		}
		return true
	})
	return matched
}

// alias adds the placeholders that `map` derives from those of the user.
func (w *routeWalk) alias(destinations any) {
	for _, name := range texts(destinations) {
		w.placeholders = append(w.placeholders, "{"+strings.Trim(name, "{}")+"}")
	}
}

// atOnce returns the part of a handler that is evaluated before the next handlers run.
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
	case name == "static_response":
		return "respond"
	}
	return name
}
