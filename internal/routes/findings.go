package routes

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/headers"
	"github.com/caddy-frappe/frappe-auth/internal/resource"
)

// Finding is what is wrong, or suspicious, in a configuration around frappe_auth.
type Finding struct {
	// Where describes the requests that it concerns.
	Where string

	// Chosen is set if the matcher of a frappe_auth says so. It is worth a look, and not a warning at every start.
	Chosen bool

	// Below is the protected resource whose description is reached below it only, as that of a frappe_auth in a `handle`
	// block. Empty: the finding is another one.
	Below string

	frappe.Finding
}

// Findings returns what is wrong around the frappe_auth of an http app. It is empty if all is well.
func Findings(http any) []Finding {
	walks := examine(http)
	return merged(slices.Concat(names(http), walks.earlyUses(), walks.order(), walks.headers(), walks.pairs(),
		walks.metadata(), walks.open(), webhooks(http), proxies(http)))
}

// at is a finding with its place and what to do.
func at(where string, finding frappe.Finding, advice string) Finding {
	finding.Advice = advice
	return Finding{Where: where, Finding: finding}
}

// merged makes one of the findings that differ only in their place.
func merged(all []Finding) (found []Finding) {
	const most = 3 // places that are named
	places := make(map[frappe.Finding][]string)
	for _, f := range all {
		if places[f.Finding] == nil {
			found = append(found, f)
		}
		if !slices.Contains(places[f.Finding], f.Where) {
			places[f.Finding] = append(places[f.Finding], f.Where)
		}
	}
	for i := range found {
		where := places[found[i].Finding]
		found[i].Where = strings.Join(where[:min(most, len(where))], "; ")
		if more := len(where) - most; more > 0 {
			found[i].Where += fmt.Sprintf(", and %d more", more)
		}
	}
	return found
}

// earlyUses finds placeholders and headers of the user that are used before frappe_auth sets them. They are still
// empty there, or the client's: `root * /srv/{http.auth.user.id}` would serve the files of all users to everybody.
func (walks examined) earlyUses() (found []Finding) {
	for _, w := range walks {
		for _, m := range w.mentions {
			if !m.early {
				continue
			}
			check, then := "placeholders", "it is empty there"
			if m.header != "" {
				check, then = "user_header", "it is what the client wrote"
			}
			finding := frappe.Trouble(check, "%s uses %s before frappe_auth sets it, so %s", m.by, m.what, then)
			found = append(found,
				at(m.where, finding, "put frappe_auth and what follows into a `route` block, in that order"))
		}
	}
	return found
}

// order finds frappe_auth handlers that no request reaches.
func (walks examined) order() (found []Finding) {
	for _, w := range walks {
		for _, where := range w.unreached {
			finding := frappe.Trouble("order", "no request reaches this frappe_auth: what is before it answers all of them")
			found = append(found, at(where, finding, "put frappe_auth first"))
		}
	}
	return found
}

// headers finds directives that change what user_header has set.
func (walks examined) headers() (found []Finding) {
	for _, w := range walks {
		for _, c := range w.changes {
			finding := frappe.Warning("user_header", "%s changes %s after frappe_auth has set it", c.by, c.header)
			found = append(found,
				at(c.where, finding, "remove that line: frappe_auth removes what clients send, and sets the header"))
		}
	}
	return found
}

// pairs finds requests that pass two frappe_auth.
func (walks examined) pairs() (found []Finding) {
	for _, w := range walks {
		for _, p := range w.pairs {
			finding := frappe.Warning("two handlers",
				"requests pass two frappe_auth with different backends, and both must accept the credential").
				Advise("to accept what either of them accepts, write both backends into one frappe_auth")
			if p.same {
				finding = frappe.Warning("two handlers", "requests pass two frappe_auth with the same backends").
					Advise("keep one of them, with the requirements of both")
			}
			found = append(found, Finding{Where: p.where, Finding: finding})
		}
	}
	return found
}

// lost are the descriptions of protected resources that no request for their place (RFC 9728) reaches.
func (walks examined) lost() (all []described) {
	for _, w := range walks {
		reached := make(map[string]bool)
		var missed []described
		for _, d := range w.described {
			if d.way.reaches(d.path()) {
				reached[d.name()] = true
			} else {
				missed = append(missed, d)
			}
		}
		all = append(all, slices.DeleteFunc(missed, func(d described) bool { return reached[d.name()] })...)
	}
	return all
}

// name identifies what is described: handlers with one resource give one description.
func (d described) name() string {
	if d.resource == "" {
		return d.where
	}
	return d.resource
}

// path returns the path of the description, as RFC 9728 has it.
func (d described) path() string { return resource.Path(resource.MetadataURL(d.resource)) }

// below reports whether requests for the description below the resource reach it.
func (d described) below() bool {
	return d.resource != "" && d.way.reaches(resource.Path(resource.BelowURL(d.resource)))
}

// metadata finds descriptions of protected resources that clients do not find.
func (walks examined) metadata() (found []Finding) {
	for _, d := range walks.lost() {
		below := ""
		finding := frappe.Trouble("protected_resource",
			"no request for %s reaches this frappe_auth, so OAuth clients do not find its description", d.path())
		if d.below() {
			below = d.resource
			finding = frappe.Warning("protected_resource",
				"no request for %s reaches this frappe_auth, so its 401 leads OAuth clients to %s; clients that do not follow "+
					"it find no description", d.path(), resource.BelowURL(d.resource))
		}
		finding = finding.Advise("let requests for that path reach it, before other routes")
		if pattern := pathOf(d); pattern != "" {
			finding = finding.Advise("move it out of the `handle`, and write the path as its matcher: frappe_auth %s", pattern)
		}
		found = append(found, Finding{Where: d.where, Below: below, Finding: finding})
	}
	return found
}

// pathOf returns the pattern of the paths of a described resource. It is empty if there is no single one.
func pathOf(d described) string {
	for _, c := range slices.Backward(d.way) {
		for _, s := range c.sets {
			if patterns := texts(s["path"]); len(patterns) == 1 && !c.implied {
				return patterns[0]
			}
		}
	}
	return ""
}

// open finds routes without a guard that lead where only users of Frappe get elsewhere.
func (walks examined) open() (found []Finding) {
	rows := walks.rows()
	protected := protectedIn(rows)
	for _, r := range rows {
		if !r.Open() {
			continue
		}
		if root, ok := r.endpoint.personal(); ok {
			finding := frappe.Trouble("placeholders", "%s needs no credential here, and %s is empty then", r.LeadsTo, root)
			found = append(found,
				at(r.place(), finding, "protect this route: as it is, everybody sees the files of all users"))
			continue
		}
		other, shared := protected.with(r.endpoint)
		if shared && (!r.rest || !other.relays()) {
			found = append(found, Finding{Where: r.place(), Chosen: r.rest, Finding: r.exposes(other)})
		}
	}
	return found
}

// personal returns the placeholder of the user in the directory of an endpoint.
func (e *endpoint) personal() (placeholder string, ok bool) {
	for _, root := range e.roots {
		if _, rest, found := strings.Cut(root, "{http.auth.user."); found {
			name, _, _ := strings.Cut(rest, "}")
			return "{http.auth.user." + name + "}", true
		}
	}
	return "", false
}

// relays reports whether what protects the row is there for logins from other hosts.
func (r Row) relays() bool {
	return !slices.ContainsFunc(r.guards, func(g guard) bool { return g.frappe && !g.relays })
}

// exposes describes an open row that leads to the same as a protected one.
func (r Row) exposes(other Row) frappe.Finding {
	for _, g := range other.guards {
		if g.userHeader != "" && len(r.endpoint.upstreams) > 0 && !r.rest &&
			!slices.ContainsFunc(r.endpoint.deletes, func(header string) bool { return headers.Same(header, g.userHeader) }) {
			finding := frappe.Trouble("user_header",
				"%s is open here, so clients choose %s, which frappe_auth sets at %s", r.LeadsTo, g.userHeader, other.place())
			return finding.Advise("protect this route, or add `request_header -%s`", g.userHeader)
		}
	}
	finding := frappe.Warning("open", "%s needs no credential here, and is protected at %s", r.LeadsTo, other.place())
	if r.rest {
		return finding.Advise("write `frappe_auth` without a matcher, unless these requests are meant for everybody")
	}
	return finding.Advise("protect this route, unless it is meant for everybody")
}

// place describes the requests.
func (r Row) place() string {
	if r.rest {
		return r.Site + ", outside the matcher of frappe_auth"
	}
	return strings.TrimSuffix(r.Site+" "+r.Route, " /*")
}

// protected are the rows of users of Frappe, each by what it leads to: the first one counts.
type protected struct {
	upstreams map[string]Row
	roots     map[string]Row // by the directory and each directory that contains it
}

func protectedIn(rows []Row) protected {
	p := protected{upstreams: make(map[string]Row), roots: make(map[string]Row)}
	add := func(to map[string]Row, name string, r Row) {
		if _, ok := to[name]; !ok {
			to[name] = r
		}
	}
	for _, r := range rows {
		if !r.protected() {
			continue
		}
		for _, upstream := range r.endpoint.upstreams {
			add(p.upstreams, upstream, r)
		}
		for _, root := range r.endpoint.roots {
			for dir := path.Clean(root); ; dir = path.Dir(dir) {
				add(p.roots, dir, r)
				if dir == path.Dir(dir) {
					break
				}
			}
		}
	}
	return p
}

// with returns the row that leads to what an open endpoint gives access to.
func (p protected) with(e *endpoint) (other Row, shared bool) {
	if e.onError && e.fixed {
		return Row{}, false // the page of an error, whatever was asked for
	}
	for _, upstream := range e.upstreams {
		if r, ok := p.upstreams[upstream]; ok {
			return r, true
		}
	}
	for _, root := range e.roots {
		if r, ok := p.roots[path.Clean(root)]; ok {
			return r, true
		}
	}
	return Row{}, false
}

// webhooks finds webhooks whose handler does not exist.
func webhooks(http any) (found []Finding) {
	names := make(map[string]bool)
	for _, p := range Protections(http) {
		names[p.text("name")] = true
	}
	for _, hook := range findWebhooks(http) {
		if !names[hook.handler] {
			finding := frappe.Trouble("webhook", "no frappe_auth is named %s", hook.handler)
			found = append(found,
				at(hook.where, finding, "correct `handler` of frappe_auth_webhook or `name` of frappe_auth"))
		}
	}
	return found
}

// proxies finds servers whose trusted proxies are whole networks. Everybody in such a network can choose the address
// that the failure limit counts.
func proxies(http any) (found []Finding) {
	walk(http, place{}, func(object map[string]any, here place) (descend bool) {
		trusted, _ := object["trusted_proxies"].(map[string]any)
		if trusted == nil || len(Protections(object)) == 0 {
			return true
		}
		for _, text := range texts(trusted["ranges"]) {
			if isNetwork(text) {
				finding := frappe.Warning("trusted_proxies",
					"everybody in %s can choose the address that `failures` counts", text)
				found = append(found,
					at(here.String(), finding, "write the addresses of the proxies: trusted_proxies static 192.0.2.10"))
				break
			}
		}
		return false
	})
	return found
}

// isNetwork reports whether a range is a whole private network, or larger, which may contain clients as well as
// proxies.
func isNetwork(text string) bool {
	prefix, err := netip.ParsePrefix(text)
	if err != nil || prefix.Addr().IsLoopback() {
		return false
	}
	if prefix.Addr().Is4() {
		return prefix.Bits() <= 16
	}
	return prefix.Bits() <= 48
}
