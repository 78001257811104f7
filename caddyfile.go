package frappeauth

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("frappe_auth", parseHandler)
	httpcaddyfile.RegisterDirectiveOrder("frappe_auth", httpcaddyfile.After, "basic_auth")
	httpcaddyfile.RegisterHandlerDirective("frappe_auth_webhook", parseWebhook)
	// Deliveries carry a signature, no credential.
	httpcaddyfile.RegisterDirectiveOrder("frappe_auth_webhook", httpcaddyfile.Before, "basic_auth")
}

func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return handler, nil
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
//	    schemes token|basic|bearer...
//	    realm   <text>
//	    cache {
//	        size         <n>
//	        ttl          <duration>
//	        bearer_ttl   <duration>
//	        negative_ttl <duration>
//	        stale_if_error <duration>
//	    }
//	    require role <role>...
//	    require user <user>...
//	    anonymous
//	    hide_credentials
//	    user_header <name>
//	    max_inflight <n>
//	    failures off|<n> <window>
//	    name <text>
//	}
//
// The URL is short for `backend site <url>`. Backends are asked in the order written, and `require` may be repeated;
// anything else is given once.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		site := &SiteBackend{URLs: []string{d.Val()}}
		if err := site.check(); err != nil {
			return d.WrapErr(err)
		}
		h.BackendsRaw = append(h.BackendsRaw, caddyconfig.JSONModuleObject(site, "backend", "site", nil))
	}
	if d.NextArg() {
		return d.ArgErr()
	}

	seen := make(once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.mark(d, "backend", "require"); err != nil {
			return err
		}
		if err := h.unmarshalSubdirective(d); err != nil {
			return err
		}
		if err := h.check(); err != nil {
			return d.WrapErr(err)
		}
	}
	if len(h.BackendsRaw) == 0 {
		return d.WrapErr(errNoBackend)
	}
	return nil
}

func (h *Handler) unmarshalSubdirective(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "backend":
		return h.unmarshalBackend(d)
	case "schemes":
		schemes := d.RemainingArgs()
		if len(schemes) == 0 {
			return d.ArgErr()
		}
		for _, scheme := range schemes {
			h.Schemes = append(h.Schemes, Scheme(scheme))
		}
	case "realm":
		return oneArg(d, &h.Realm)
	case "cache":
		h.Cache = new(CacheConfig)
		return h.Cache.unmarshalCaddyfile(d)
	case "require":
		return h.unmarshalRequirement(d)
	case "anonymous":
		return toggle(d, &h.Anonymous)
	case "hide_credentials":
		return toggle(d, &h.HideCredentials)
	case "user_header":
		return oneArg(d, &h.UserHeader)
	case "max_inflight":
		return number(d, &h.MaxInflight)
	case "failures":
		h.Failures = new(FailureLimit)
		return h.Failures.unmarshalCaddyfile(d)
	case "name":
		return oneArg(d, &h.Name)
	default:
		return d.Errf("unrecognized subdirective %s of frappe_auth", d.Val())
	}
	return nil
}

func (h *Handler) unmarshalBackend(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name, id := d.Val(), "http.frappe_auth.backends."+d.Val()
	if _, err := caddy.GetModule(id); err != nil {
		return d.Errf("this Caddy has no backend %s; build one with it, for database by adding "+
			"--with github.com/caddy-frappe/frappe-auth/database", name)
	}
	module, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return err
	}
	if _, ok := module.(Backend); !ok {
		return d.Errf("module %T is no backend", module)
	}
	h.BackendsRaw = append(h.BackendsRaw, caddyconfig.JSONModuleObject(module, "backend", name, nil))
	return nil
}

func (h *Handler) unmarshalRequirement(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	kind, names := d.Val(), d.RemainingArgs()
	if len(names) == 0 {
		return d.ArgErr()
	}
	switch kind {
	case "role":
		h.Require = append(h.Require, Requirement{Roles: names})
	case "user":
		h.Require = append(h.Require, Requirement{Users: names})
	default:
		return d.Errf("require role or user, not %s", kind)
	}
	return nil
}

func (c *CacheConfig) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.mark(d); err != nil {
			return err
		}
		var err error
		switch d.Val() {
		case "size":
			err = number(d, &c.Size)
		case "ttl":
			c.TTL = new(caddy.Duration)
			err = duration(d, c.TTL)
		case "bearer_ttl":
			c.BearerTTL = new(caddy.Duration)
			err = duration(d, c.BearerTTL)
		case "negative_ttl":
			c.NegativeTTL = new(caddy.Duration)
			err = duration(d, c.NegativeTTL)
		case "stale_if_error":
			err = duration(d, &c.StaleIfError)
		default:
			err = d.Errf("unrecognized subdirective %s of cache", d.Val())
		}
		if err != nil {
			return err
		}
	}
	if err := c.check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (l *FailureLimit) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	switch {
	case len(args) == 1 && args[0] == "off":
		l.Max = -1
		return noBlock(d, "failures")
	case len(args) != 2:
		return d.Err("write failures off, or failures and a number and a window, such as failures 20 1m")
	}
	if err := parseNumber(d, args[0], &l.Max); err != nil {
		return err
	}
	if err := parseDuration(d, args[1], &l.Window); err != nil {
		return err
	}
	return noBlock(d, "failures")
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	frappe_auth_webhook [<matcher>] <secret> {
//	    for <name>
//	}
func (h *Webhook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return d.Err("give the Webhook Secret of the Webhook in Frappe, preferably as a placeholder such as {env.FRAPPE_WEBHOOK_SECRET}")
	}
	h.Secret = args[0]
	seen := make(once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.mark(d); err != nil {
			return err
		}
		if d.Val() != "for" {
			return d.Errf("unrecognized subdirective %s of frappe_auth_webhook", d.Val())
		}
		if err := oneArg(d, &h.For); err != nil {
			return err
		}
	}
	return nil
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	site <url> [<url>...] {
//	    site_name <name>
//	    timeout   <duration>
//	    roles
//	    refuse_disabled
//	    transport <name> {
//	        ...
//	    }
//	}
func (s *SiteBackend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	s.URLs = d.RemainingArgs()
	seen := make(once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.mark(d); err != nil {
			return err
		}
		var err error
		switch d.Val() {
		case "site_name":
			err = oneArg(d, &s.SiteName)
		case "timeout":
			if err = duration(d, &s.Timeout); err == nil && s.Timeout == 0 {
				err = d.Err("a timeout of 0 leaves no time to ask; leave the line out for the default of 5s")
			}
		case "roles":
			err = toggle(d, &s.Roles)
		case "refuse_disabled":
			err = toggle(d, &s.RefuseDisabled)
		case "transport":
			err = s.unmarshalTransport(d)
		default:
			err = d.Errf("unrecognized subdirective %s of backend site", d.Val())
		}
		if err != nil {
			return err
		}
	}
	if err := s.check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (s *SiteBackend) unmarshalTransport(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, "http.reverse_proxy.transport."+name)
	if err != nil {
		return err
	}
	if _, ok := module.(http.RoundTripper); !ok {
		return d.Errf("module %T cannot carry HTTP requests", module)
	}
	s.TransportRaw = caddyconfig.JSONModuleObject(module, "protocol", name, nil)
	return nil
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	static {
//	    token  <api_key> <hash> <user> [<role>...]
//	    bearer <hash> <user> [<role>...]
//	}
func (s *StaticBackend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	if d.NextArg() {
		return d.ArgErr()
	}
	listed := newListed()
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		kind, args := d.Val(), d.RemainingArgs()
		switch {
		case kind == "token" && len(args) >= 3:
			s.Tokens = append(s.Tokens, StaticToken{Key: args[0], Hash: args[1], User: args[2], Roles: args[3:]})
			err = listed.addToken(s.Tokens[len(s.Tokens)-1])
		case kind == "bearer" && len(args) >= 2:
			s.Bearers = append(s.Bearers, StaticBearer{Hash: args[0], User: args[1], Roles: args[2:]})
			err = listed.addBearer(s.Bearers[len(s.Bearers)-1])
		case kind == "token" || kind == "bearer":
			return d.ArgErr()
		default:
			return d.Errf("unrecognized subdirective %s of backend static", kind)
		}
		if err != nil {
			return d.WrapErr(err)
		}
	}
	if len(s.Tokens)+len(s.Bearers) == 0 {
		return d.WrapErr(errNothingListed)
	}
	return nil
}

// once holds the subdirectives that a block has given.
type once map[string]bool

// mark rejects a subdirective given twice, unless it may be repeated: it would be silently the last that counts.
func (o once) mark(d *caddyfile.Dispenser, repeatable ...string) error {
	name := d.Val()
	if slices.Contains(repeatable, name) {
		return nil
	}
	if o[name] {
		return d.Errf("%s is given twice", name)
	}
	o[name] = true
	return nil
}

// toggle reads a subdirective that takes neither arguments nor a block.
func toggle(d *caddyfile.Dispenser, into *bool) error {
	name := d.Val()
	if d.NextArg() {
		return d.ArgErr()
	}
	*into = true
	return noBlock(d, name)
}

// oneArg reads a subdirective's only argument, which is not empty.
func oneArg(d *caddyfile.Dispenser, into *string) error {
	name := d.Val()
	if !d.NextArg() || d.Val() == "" {
		return d.ArgErr()
	}
	*into = d.Val()
	if d.NextArg() {
		return d.ArgErr()
	}
	return noBlock(d, name)
}

func noBlock(d *caddyfile.Dispenser, name string) error {
	if d.NextBlock(d.Nesting()) {
		return d.Errf("%s takes no block", name)
	}
	return nil
}

func number(d *caddyfile.Dispenser, into *int) error {
	var text string
	if err := oneArg(d, &text); err != nil {
		return err
	}
	return parseNumber(d, text, into)
}

func parseNumber(d *caddyfile.Dispenser, text string, into *int) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return d.Errf("%s is no positive whole number", text)
	}
	*into = n
	return nil
}

func duration(d *caddyfile.Dispenser, into *caddy.Duration) error {
	var text string
	if err := oneArg(d, &text); err != nil {
		return err
	}
	return parseDuration(d, text, into)
}

func parseDuration(d *caddyfile.Dispenser, text string, into *caddy.Duration) error {
	parsed, err := caddy.ParseDuration(text)
	if err != nil || parsed < 0 {
		return d.Errf("%s is no duration; write it as 30s, 5m or 1h", text)
	}
	*into = caddy.Duration(parsed)
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*SiteBackend)(nil)
	_ caddyfile.Unmarshaler = (*StaticBackend)(nil)
	_ caddyfile.Unmarshaler = (*Webhook)(nil)
)
