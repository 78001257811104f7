package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// FrappeEvents hears from Redis which documents change in Frappe, and drops the cached verdicts that they concern.
// Frappe announces changed documents on the channel `events` of its bench's `redis_queue`, or of `redis_socketio` in
// Frappe 13 and 14, for its own desk. No webhook and no worker is needed for that. It needs Redis 6.0 or later, and
// writes nothing.
//
// A changed User or OAuth Bearer Token drops the verdicts about it: keys that were generated; users that were disabled,
// enabled or deleted, or whose roles changed; tokens that were deleted. A changed Role, Role Profile, OAuth Client or
// System Settings drops every verdict of its site.
//
// Frappe announces neither what `revoke_token`, a token refresh or `db.set_value` change, nor a renamed or merged user,
// nor that a token expires. These take up to the cache's `ttl` to take effect.
//
// What Frappe announces while the connection is lost cannot be heard again. Every verdict is therefore dropped when it
// is back. The log has one warning when it is lost, and one line when it is back.
type FrappeEvents struct {
	// The URL of the bench's `redis_queue` (Frappe 13 and 14: `redis_socketio`), such as `redis://erp.internal:11000`;
	// see common_site_config.json in the bench's `sites` directory. It is written as that of the store `redis`.
	// Required. This option and all that follow may contain placeholders such as `{env.*}` and `{file.*}`, which are
	// replaced when the configuration is loaded.
	URL string `json:"url,omitempty"`

	// The password of the user in the URL, or of Redis's default user. Default: none.
	Password string `json:"password,omitempty"`

	// The user of the Sentinels, if the URL has them. Default: their default user.
	SentinelUser string `json:"sentinel_user,omitempty"`

	// The password of the Sentinels. Default: that of Redis.
	SentinelPassword string `json:"sentinel_password,omitempty"`

	// A PEM file with the CA of Redis's certificate, for `rediss://`. Default: the CAs that the system trusts.
	TLSCA string `json:"tls_ca,omitempty"`

	// A PEM file with the certificate that Caddy shows to Redis, which asks for one unless its `tls-auth-clients` is
	// `no`. It is read when the configuration is loaded. Default: none.
	TLSCert string `json:"tls_cert,omitempty"`

	// A PEM file with the key of that certificate.
	TLSKey string `json:"tls_key,omitempty"`

	// The name that the certificates of Redis, and of Sentinels and nodes of a Cluster, must be valid for. Default: the
	// host in the URL.
	TLSServerName string `json:"tls_server_name,omitempty"`

	// The names of the sites to hear, as their directories in the bench are called. Messages that do not say which site
	// they are from are always heard. Default: all sites of the bench.
	Sites []string `json:"sites,omitempty"`

	subscription *subscription
	logger       *zap.Logger
}

var (
	errMalformed = errors.New("malformed")
	errTooLong   = errors.New("too long")
)

// subscriptions holds one subscription for each address and set of sites.
var subscriptions = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (*FrappeEvents) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.frappe_auth.feeds.frappe_events",
		New: func() caddy.Module { return new(FrappeEvents) },
	}
}

// UnmarshalJSON rejects unknown fields, as Caddy does, and says what to write instead.
func (f *FrappeEvents) UnmarshalJSON(raw []byte) error {
	type plain FrappeEvents
	return directive.DecodeJSON(raw, (*plain)(f), "feed frappe_events", f.block().Instead)
}

// Provision begins to subscribe. A Redis that is down is not an error.
func (f *FrappeEvents) Provision(ctx caddy.Context) error {
	if err := f.validate(); err != nil {
		return err
	}
	sites := make([]string, len(f.Sites))
	for i, site := range f.Sites {
		expanded, err := expand("site", site)
		if err != nil {
			return err
		}
		if err := checkSite(expanded); err != nil {
			return err
		}
		sites[i] = strings.ToLower(expanded)
	}
	slices.Sort(sites)
	to, err := newAddress(f.access(), "")
	if err != nil {
		return err
	}
	key, err := directive.Fingerprint(to.key, sites)
	if err != nil {
		return err
	}
	f.logger = ctx.Logger()
	pooled, loaded, err := subscriptions.LoadOrNew(key, func() (caddy.Destructor, error) {
		return subscribe(to, sites, key, f.logger), nil
	})
	if err != nil {
		return err
	}
	f.subscription = pooled.(*subscription)
	if loaded {
		f.subscription.logger.Store(f.logger)
	}
	return nil
}

// Cleanup ends the subscription, unless another configuration still uses it.
func (f *FrappeEvents) Cleanup() error {
	if f.subscription == nil {
		return nil // provisioning failed
	}
	_, err := subscriptions.Delete(f.subscription.key)
	return err
}

// validate returns an error if the options are wrong.
func (f *FrappeEvents) validate() error {
	if err := f.validateSites(); err != nil {
		return err
	}
	return f.access().check()
}

func (f *FrappeEvents) validateSites() error {
	for _, site := range f.Sites {
		if strings.Contains(site, "{") {
			continue
		}
		if err := checkSite(site); err != nil {
			return err
		}
	}
	return nil
}

// access returns the options that say how to reach Redis.
func (f *FrappeEvents) access() access {
	return access{
		url: &f.URL, password: &f.Password, sentinelUser: &f.SentinelUser, sentinelPassword: &f.SentinelPassword,
		ca: &f.TLSCA, cert: &f.TLSCert, key: &f.TLSKey, serverName: &f.TLSServerName,
	}
}

// checkSite returns an error if no site can have this name: with it, the feed would hear nothing.
func checkSite(name string) error {
	if name == "" {
		return errors.New("site: a name is empty; remove it, or write the name of the site's directory in the bench")
	}
	if strings.ContainsAny(name, "/:") {
		return fmt.Errorf("site: %q is not a valid site name; write the name of the site's directory in the "+
			"bench", name)
	}
	return nil
}

// Watch implements frappe.Watcher.
func (f *FrappeEvents) Watch(ctx context.Context, observe func([]frappe.Change)) {
	f.subscription.watchers.Watch(ctx, observe)
}

// String names the Redis, without a secret.
func (f *FrappeEvents) String() string { return f.subscription.address.String() }

// Interface guards
var (
	_ frappe.Watcher     = (*FrappeEvents)(nil)
	_ caddy.Provisioner  = (*FrappeEvents)(nil)
	_ caddy.CleanerUpper = (*FrappeEvents)(nil)
	_ fmt.Stringer       = (*FrappeEvents)(nil)
)
