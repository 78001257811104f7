package frappeauth

import (
	"errors"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/site"
)

func init() {
	httpcaddyfile.RegisterDirective("frappe_auth", parseHandler)
	httpcaddyfile.RegisterDirectiveOrder("frappe_auth", httpcaddyfile.After, "basic_auth")
	httpcaddyfile.RegisterHandlerDirective("frappe_auth_webhook", parseWebhook)
	// Deliveries carry a signature, not a credential.
	httpcaddyfile.RegisterDirectiveOrder("frappe_auth_webhook", httpcaddyfile.Before, "basic_auth")
	directive.Register(
		new(Handler).block(nil), new(CacheConfig).block(), new(ProtectedResource).block(), new(Webhook).block(),
	)
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
//	    login <path>|<url of another host>
//	    login_for <host>...
//	    login_secret <text> [<old text>...]
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
	positions := make(directive.Positions)
	if d.NextArg() {
		positions.Add("backend", d)
		site := &site.Backend{URLs: []string{d.Val()}}
		if err := site.Validate(); err != nil {
			return d.WrapErr(err)
		}
		h.BackendsRaw = append(h.BackendsRaw, caddyconfig.JSONModuleObject(site, "backend", "site", nil))
	}
	if d.NextArg() {
		if strings.Contains(d.Val(), "://") {
			return d.Err("frappe_auth takes one URL; for another address of the same site write backend site <url> <url>, " +
				"and for another site a second backend line")
		}
		d.Prev() // reading the block reports the extra argument
	}
	if err := h.block(positions).Read(d); err != nil {
		return err
	}
	complete := *h // the defaults are not written to the JSON
	complete.setDefaults()
	if err := complete.check(); err != nil {
		if wrong, ok := errors.AsType[*optionError](err); ok && len(positions[wrong.option]) > wrong.index {
			return positions.At(wrong.option, wrong.index, err)
		}
		return d.WrapErr(err)
	}
	return nil
}

// block describes the block of frappe_auth.
func (h *Handler) block(positions directive.Positions) directive.Block {
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
			"user_header":      h.unmarshalUserHeader,
			"max_inflight":     directive.Number(&h.MaxInflight),
			"failures": func(d *caddyfile.Dispenser) error {
				h.Failures = new(FailureLimit)
				return h.Failures.unmarshalCaddyfile(d)
			},
			"share": h.unmarshalShare,
			"feed":  h.unmarshalFeed,
			"name":  directive.Text(&h.Name),
			"login": directive.Text(&h.Login),
			"login_for": directive.List(&h.LoginFor,
				"login_for needs at least one host, such as grafana.example.com or *.apps.example.com"),
			"login_secret": func(d *caddyfile.Dispenser) error {
				secrets := d.RemainingArgs()
				if len(secrets) == 0 || slices.Contains(secrets, "") {
					return d.Err("login_secret needs a text of 32 bytes or more, such as {env.FRAPPE_LOGIN_SECRET}; " +
						"openssl rand -hex 32 makes one")
				}
				h.LoginSecret, h.OldLoginSecrets = secrets[0], secrets[1:]
				return directive.NoBlock(d, "login_secret")
			},
			"trusted_origins": directive.List(&h.TrustedOrigins,
				"trusted_origins needs at least one origin, such as https://app.example.com"),
			"protected_resource": func(d *caddyfile.Dispenser) error {
				h.ProtectedResource = new(ProtectedResource)
				return h.ProtectedResource.block().Read(d)
			},
		},
		Repeatable: []string{"backend", "require", "feed"},
		Instead:    otherOptions,
		Positions:  positions,
	}
}

func (h *Handler) unmarshalBackend(d *caddyfile.Dispenser) error {
	raw, err := directive.Module[frappe.Backend](d, backendGuest)
	h.BackendsRaw = append(h.BackendsRaw, raw)
	return err
}

func (h *Handler) unmarshalShare(d *caddyfile.Dispenser) (err error) {
	h.ShareRaw, err = directive.Module[fleet.Module](d, storeGuest)
	return err
}

func (h *Handler) unmarshalFeed(d *caddyfile.Dispenser) error {
	raw, err := directive.Module[frappe.Watcher](d, feedGuest)
	h.FeedsRaw = append(h.FeedsRaw, raw)
	return err
}

func (h *Handler) unmarshalUserHeader(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	switch {
	case len(args) == 0 || args[0] == "":
		return d.Err("user_header needs the name of a header, such as X-Frappe-User")
	case len(args) > 1:
		return d.Errf("user_header takes only the name of a header, since its value is always the user; write user_header %s",
			strings.TrimSuffix(args[0], ":"))
	}
	h.UserHeader = args[0]
	return directive.NoBlock(d, "user_header")
}

func (c *CacheConfig) block() directive.Block {
	return directive.Block{
		Owner: "cache",
		Options: map[string]directive.Option{
			"size":           directive.Number(&c.Size),
			"ttl":            directive.OptionalDuration(&c.TTL),
			"bearer_ttl":     directive.OptionalDuration(&c.BearerTTL),
			"session_ttl":    directive.OptionalDuration(&c.SessionTTL),
			"negative_ttl":   directive.OptionalDuration(&c.NegativeTTL),
			"stale_if_error": directive.Duration(&c.StaleIfError),
		},
		Instead: map[string]string{"max_age": "write ttl <duration>", "entries": "write size <n>"},
		Check:   c.check,
	}
}

func (l *FailureLimit) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	const usage = "write failures off, or failures with a number and a time window, such as failures 20 1m"
	args := d.RemainingArgs()
	switch {
	case len(args) == 1 && args[0] == "off":
		l.Max = -1
		return directive.NoBlock(d, "failures")
	case len(args) != 2:
		return d.Err(usage)
	}
	var err error
	if l.Max, err = directive.ParseNumber(args[0]); err != nil {
		return d.Errf("failures: %w; %s", err, usage)
	}
	if l.Window, err = directive.ParseDuration(args[1]); err != nil {
		return d.Errf("failures: %w; %s", err, usage)
	}
	return directive.NoBlock(d, "failures")
}

func (p *ProtectedResource) block() directive.Block {
	return directive.Block{
		Owner: "protected_resource",
		Options: map[string]directive.Option{
			"authorization_server": func(d *caddyfile.Dispenser) error {
				var server string
				err := directive.Text(&server)(d)
				p.AuthorizationServers = append(p.AuthorizationServers, server)
				return err
			},
			"resource": directive.Text(&p.Resource),
			"scopes":   directive.List(&p.Scopes, "scopes needs at least one scope, such as all"),
		},
		Repeatable: []string{"authorization_server"},
		Instead: map[string]string{
			"scope": "write scopes <scope>...", "authorization_servers": "write authorization_server <url>",
		},
		Check: p.check,
	}
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	frappe_auth_webhook [<matcher>] <secret> {
//	    handler <name>
//	}
func (h *Webhook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	args := d.RemainingArgs()
	if len(args) > 1 {
		return d.Err("frappe_auth_webhook takes one secret; quote it if it contains spaces, and write a path before it " +
			"with a slash, such as /hooks/frappe")
	}
	if len(args) == 0 || args[0] == "" {
		return d.Err("write the Webhook Secret of the Webhook in Frappe after frappe_auth_webhook, preferably as a " +
			"placeholder such as {env.FRAPPE_WEBHOOK_SECRET}")
	}
	h.Secret = args[0]
	return h.block().Read(d)
}

func (h *Webhook) block() directive.Block {
	return directive.Block{
		Owner:   "frappe_auth_webhook",
		Options: map[string]directive.Option{"handler": directive.Text(&h.HandlerName)},
		Instead: map[string]string{"for": "write handler <name>", "name": "write handler <name>"},
	}
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*Webhook)(nil)
)
