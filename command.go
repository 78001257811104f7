package frappeauth

import (
	"context"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/command"
	"github.com/caddy-frappe/frappe-auth/internal/roles"
)

func init() {
	caddycmd.RegisterCommand(command.Root(func(module any) command.Handler {
		if provider, ok := module.(*Provider); ok {
			return commandHandler{&provider.Options}
		}
		return commandHandler{&module.(*Handler).Options}
	}))
}

// commandHandler is a handler or provider as the commands see it.
type commandHandler struct{ options *Options }

func (h commandHandler) Name() string { return h.options.Name }

func (h commandHandler) Schemes() []frappe.Scheme { return h.options.Schemes }

func (h commandHandler) Parts() (all []command.Part) {
	v := h.options.verifier
	for _, b := range v.backends {
		all = append(all, command.Part{Module: b.Backend, Name: b.Name, Source: b.Source()})
	}
	if v.store != nil {
		all = append(all, command.Part{Module: v.store, Name: "share", Source: backends.SourceOf(v.store)})
	}
	for _, f := range v.feeds {
		all = append(all, command.Part{Module: f.Watcher, Name: f.name, Source: backends.SourceOf(f.Watcher)})
	}
	return all
}

func (h commandHandler) Check(ctx context.Context, line string, repl *caddy.Replacer, answered func(command.Answer)) command.Decision {
	d := h.options.decideWritten(ctx, line, &attempt{repl: repl, uncharged: true, trace: func(s step) {
		answered(command.Answer{
			Backend: s.backend.Name, Source: s.backend.Source(), Site: s.site, Identity: s.identity, Err: s.err, Took: s.took,
		})
	}})
	result := command.Decision{Status: http.StatusOK, User: d.user()}
	if d.rejection != nil {
		result.Status, result.Reason = d.status, d.reason
	}
	if g := d.verdict.grant; g != nil {
		id := g.identity()
		for _, required := range h.options.Require {
			result.Requirements = append(result.Requirements, command.Requirement{Text: required.String(), Met: required.MetBy(&id, d.credential.Scheme)})
		}
	}
	return result
}

func (h commandHandler) CheckRoles(ctx context.Context) (frappe.Finding, bool) {
	const check = "require role"
	if !h.options.requiresRole() {
		return frappe.Finding{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, maxRoleCheck)
	defer cancel()
	required := h.options.Require
	unknown, complete, err := unknownRoles(ctx, h.options.verifier.backends, required)
	names := strings.Join(unknown, ", ")
	switch {
	case err != nil:
		return frappe.Warning(check, "the names of the roles could not be read: %v", err), true
	case len(unknown) == 0 && complete:
		return frappe.OK(check, "all of these exist: %s", strings.Join(roles.Required(required), ", ")), true
	case len(unknown) > 0 && complete && roles.Barred(required, unknown):
		return frappe.Trouble(check, "no backend has %s, so nobody can pass", names).Advise(adviceOnRoles), true
	case len(unknown) > 0 && complete:
		return frappe.Warning(check, "no backend has %s", names).Advise(adviceOnRoles), true
	case len(unknown) > 0:
		return frappe.Warning(check, "only a backend that cannot list its roles could have %s", names).Advise(adviceOnRoles), true
	}
	return frappe.Finding{}, false
}

// Interface guard
var _ command.Handler = commandHandler{}
