package frappeauth

import (
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/command"
)

func init() {
	caddycmd.RegisterCommand(command.Root(func(module any) command.Checker {
		if provider, ok := module.(*Provider); ok {
			return commandHandler{provider.auth}
		}
		return commandHandler{module.(*Handler).auth}
	}))
}

// commandHandler is a handler or provider as the commands see it.
type commandHandler struct{ auth *authenticator }

func (h commandHandler) Name() string { return h.auth.name }

func (h commandHandler) Schemes() []frappe.Scheme { return h.auth.schemes }

func (h commandHandler) Parts() (all []command.Part) {
	v := h.auth.verifier
	for _, b := range v.backends {
		all = append(all, command.Part{Module: b.Backend, Name: b.Name, Source: b.Source()})
	}
	if v.store != nil {
		all = append(all, command.Part{Module: v.store, Name: "share", Source: backends.SourceOf(v.store)})
	}
	for _, f := range v.feeds {
		all = append(all, command.Part{Module: f.Watcher, Name: f.Name, Source: f.Source})
	}
	return all
}

func (h commandHandler) Check(
	ctx context.Context, line string, repl *caddy.Replacer, answered func(command.Answer),
) command.Decision {
	d := h.auth.decideLine(ctx, line, repl, caller{uncharged: true, trace: func(s step) {
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
		for _, required := range h.auth.require {
			result.Requirements = append(result.Requirements, command.Requirement{
				Text: required.String(), Met: required.MetBy(&id, d.scheme),
			})
		}
	}
	return result
}

func (h commandHandler) CheckRequirements(ctx context.Context) []frappe.Finding {
	if finding, ok := backends.CheckRoles(ctx, h.auth.verifier.backends, h.auth.require); ok {
		return []frappe.Finding{finding}
	}
	return nil
}

func (h commandHandler) CheckLogin(ctx context.Context, where string) []frappe.Finding {
	return h.auth.logins.checkRelay(ctx, where, h.auth.verifier.now())
}

// Interface guard
var _ command.Checker = commandHandler{}
