package frappeauth

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/site"
	"github.com/caddy-frappe/frappe-auth/static"
)

func init() {
	httpcaddyfile.RegisterDirective("frappe_auth", parseHandler)
	httpcaddyfile.RegisterDirectiveOrder("frappe_auth", httpcaddyfile.After, "basic_auth")
	httpcaddyfile.RegisterHandlerDirective("frappe_auth_webhook", parseWebhook)
	// Deliveries carry a signature, not a credential.
	httpcaddyfile.RegisterDirectiveOrder("frappe_auth_webhook", httpcaddyfile.Before, "basic_auth")
	directive.Register(new(Handler).block(nil), new(CacheConfig).block(), new(ProtectedResource).block(), new(Webhook).block())
}

// parseHandler gives the matcher to the handler, not to the route. Requests that do not match still pass through the
// handler, which removes forged user headers. It also means that several frappe_auth run in the order of the file,
// whatever their paths are.
func parseHandler(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	if !h.Next() {
		return nil, h.ArgErr()
	}
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	handler := new(Handler)
	if matcher != nil {
		handler.MatcherSetsRaw = caddyhttp.RawMatcherSets{matcher}
	}
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return h.NewRoute(nil, handler), nil
}

func parseWebhook(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	webhook := new(Webhook)
	if err := webhook.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return webhook, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	frappe_auth [<matcher>] [<site_url>] {
//	    backend site <url> [<url>...] {
//	        site_name <name>
//	        timeout   <duration>
//	        roles
//	        refuse_disabled
//	        transport <name> {
//	            ...
//	        }
//	    }
//	    backend static {
//	        token  <api_key> <hash> <user> [<role>...]
//	        bearer <hash> <user> [<role>...]
//	    }
//	    backend <name> ...
//	    schemes basic|bearer|token|session...
//	    realm   <text>
//	    cache {
//	        size         <n>
//	        ttl          <duration>
//	        bearer_ttl   <duration>
//	        session_ttl  <duration>
//	        negative_ttl <duration>
//	        stale_if_error <duration>
//	    }
//	    require role <role>...
//	    require user <user>...
//	    require scope <scope>...
//	    require client <client_id>...
//	    anonymous
//	    allow_preflight
//	    login <url>
//	    trusted_origins <origin>...
//	    protected_resource {
//	        authorization_server <url>
//	        resource <url>
//	        scopes   <scope>...
//	    }
//	    hide_credentials
//	    user_header <name>
//	    max_inflight <n>
//	    failures off|<n> <window>
//	    share redis <url> {
//	        ...
//	    }
//	    feed frappe_events <url> {
//	        ...
//	    }
//	    name <text>
//	}
//
// The URL is short for `backend site <url>`. Backends are asked in the order written. `backend`, `require` and
// `feed` may be repeated; every other option may be given once.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		site := &site.Backend{URLs: []string{d.Val()}}
		if err := site.Validate(); err != nil {
			return d.WrapErr(err)
		}
		h.BackendsRaw = append(h.BackendsRaw, caddyconfig.JSONModuleObject(site, "backend", "site", nil))
	}
	if d.NextArg() {
		if strings.Contains(d.Val(), "://") {
			return d.Err("frappe_auth takes one URL; for another address of the same site write backend site <url> <url>, and for " +
				"another site a second backend line")
		}
		d.Prev() // reading the block reports the extra argument
	}
	positions := make(directive.Positions)
	if err := h.block(positions).Read(d); err != nil {
		return err
	}
	if option, err := h.checkSchemes(); err != nil {
		return positions.At(option, 0, err)
	}
	if len(h.BackendsRaw) == 0 {
		return d.WrapErr(errNoBackend)
	}
	if listed := static.Only(h.BackendsRaw); listed != nil {
		for i := range h.Require {
			if err := backends.CheckReachable(h.Require[i:i+1], listed); err != nil {
				return positions.At("require", i, err)
			}
		}
	}
	return nil
}

// block describes the block of frappe_auth.
func (h *Handler) block(positions directive.Positions) directive.Block {
	const beside = "write frappe_auth_webhook <path> <secret> beside frappe_auth"
	return directive.Block{
		Owner: "frappe_auth",
		Options: map[string]directive.Option{
			"backend": h.unmarshalBackend,
			"schemes": directive.List(&h.Schemes, "schemes needs at least one of basic, bearer, token and session"),
			"realm":   directive.Text(&h.Realm),
			"cache": func(d *caddyfile.Dispenser) error {
				h.Cache = new(CacheConfig)
				return h.Cache.block().Read(d)
			},
			"require":          directive.Requirement(&h.Require),
			"anonymous":        directive.Toggle(&h.Anonymous),
			"allow_preflight":  directive.Toggle(&h.AllowPreflight),
			"hide_credentials": directive.Toggle(&h.HideCredentials),
			"user_header":      directive.Text(&h.UserHeader),
			"max_inflight":     directive.Number(&h.MaxInflight),
			"failures": func(d *caddyfile.Dispenser) error {
				h.Failures = new(FailureLimit)
				return h.Failures.unmarshalCaddyfile(d)
			},
			"share":           h.unmarshalShare,
			"feed":            h.unmarshalFeed,
			"name":            directive.Text(&h.Name),
			"login":           directive.Text(&h.Login),
			"trusted_origins": directive.List(&h.TrustedOrigins, "trusted_origins needs at least one origin, such as https://app.example.com"),
			"protected_resource": func(d *caddyfile.Dispenser) error {
				h.ProtectedResource = new(ProtectedResource)
				return h.ProtectedResource.block().Read(d)
			},
		},
		Repeatable: []string{"backend", "require", "feed"},
		Instead: map[string]string{
			"webhook": beside, "frappe_auth_webhook": beside,
			"session": "write schemes basic bearer token session",
			"scope":   "write require scope <name>", "client": "write require client <client_id>",
			"site": "write backend site <url>", "static": "write backend static", "database": "write backend database",
			"url": "write backend site <url>", "role": "write require role <name>", "user": "write require user <name>",
			"handler": "write name <name>", "redis": "write share redis <url>", "frappe_events": "write feed frappe_events <url>",
		},
		Positions: positions,
		Check:     h.validate,
	}
}

func (h *Handler) unmarshalBackend(d *caddyfile.Dispenser) error {
	raw, err := directive.Module[frappe.Backend](d, directive.Guest{
		Option: "backend", Kind: "backend", Example: "site https://erp.example.com", Optional: "database", Package: "database",
	})
	h.BackendsRaw = append(h.BackendsRaw, raw)
	return err
}

func (h *Handler) unmarshalShare(d *caddyfile.Dispenser) (err error) {
	h.ShareRaw, err = directive.Module[frappe.Store](d, directive.Guest{
		Option: "share", Kind: "store", Example: "redis redis://localhost:6379", Optional: "redis", Package: "redis",
	})
	return err
}

func (h *Handler) unmarshalFeed(d *caddyfile.Dispenser) error {
	raw, err := directive.Module[frappe.Watcher](d, directive.Guest{
		Option: "feed", Kind: "feed", Example: "frappe_events redis://localhost:6379", Optional: "frappe_events", Package: "redis",
	})
	h.FeedsRaw = append(h.FeedsRaw, raw)
	return err
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
