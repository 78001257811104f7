package frappeauth

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// CacheConfig sets how many verdicts are cached and for how long. Handlers with the same backends share one cache; its
// size is the largest that any of them asks for. The cache survives a reload of the configuration if the backends stay
// the same.
type CacheConfig struct {
	// How many granted verdicts are cached, 1 to 10000000. The same number of denied verdicts is cached in addition. A
	// verdict takes about 300 bytes. Default: 10000.
	Size int `json:"size,omitempty"`

	// How long a granted verdict is served from the cache after a backend confirmed it, at most 24 hours. With 0, a
	// backend is asked every time. No setting but stale_if_error makes a granted verdict last longer, so this is how long
	// a revoked credential can keep working. Default: `1m`.
	TTL *caddy.Duration `json:"ttl,omitempty"`

	// The ttl of access tokens whose expiry the backend cannot see. This applies to all access tokens with the `site`
	// backend. Such a token may expire or be revoked at any time, and Frappe announces neither. Its verdict is never
	// served stale. At most ttl. Default: `1m`, or ttl if that is shorter.
	BearerTTL *caddy.Duration `json:"bearer_ttl,omitempty"`

	// The ttl of sessions: how long a user who has logged out of Frappe may still pass. The verdict on a session whose expiry
	// the backend cannot see is never served stale. At most ttl. Default: `1m`, or ttl if that is shorter.
	SessionTTL *caddy.Duration `json:"session_ttl,omitempty"`

	// How long a denied verdict is served from the cache before a backend is asked again, at most 1 hour. With 0, a
	// backend is asked every time. Default: `5s`.
	NegativeTTL *caddy.Duration `json:"negative_ttl,omitempty"`

	// How long a granted verdict may be served past its ttl while the backends are unavailable, at most 7 days. It is
	// never served after the credential itself has expired, after a revocation, or if the expiry of an access token is
	// not known (see bearer_ttl). Default: 0, which means not at all.
	StaleIfError caddy.Duration `json:"stale_if_error,omitempty"`
}

const (
	defaultCacheSize    = 10_000
	maxCacheSize        = 10_000_000
	defaultTTL          = caddy.Duration(time.Minute)
	maxTTL              = caddy.Duration(24 * time.Hour)
	maxDefaultBearerTTL = caddy.Duration(time.Minute)
	defaultNegativeTTL  = caddy.Duration(5 * time.Second)
	maxNegativeTTL      = caddy.Duration(time.Hour)
	maxStaleIfError     = caddy.Duration(7 * 24 * time.Hour)
)

// withDefaults returns the configuration with its defaults set; nil is an empty one.
func (c *CacheConfig) withDefaults() *CacheConfig {
	var conf CacheConfig
	if c != nil {
		conf = *c
	}
	if conf.Size == 0 {
		conf.Size = defaultCacheSize
	}
	conf.TTL = durationOr(conf.TTL, defaultTTL)
	conf.BearerTTL = durationOr(conf.BearerTTL, min(*conf.TTL, maxDefaultBearerTTL))
	conf.SessionTTL = durationOr(conf.SessionTTL, min(*conf.TTL, maxDefaultBearerTTL))
	conf.NegativeTTL = durationOr(conf.NegativeTTL, defaultNegativeTTL)
	return &conf
}

func durationOr(d *caddy.Duration, otherwise caddy.Duration) *caddy.Duration {
	if d == nil {
		return &otherwise
	}
	return d
}

// lifetimes are the durations of a configuration with its defaults set.
func (c *CacheConfig) lifetimes() verdicts.Lifetimes {
	return verdicts.Lifetimes{
		TTL:          time.Duration(*c.TTL),
		BearerTTL:    time.Duration(*c.BearerTTL),
		SessionTTL:   time.Duration(*c.SessionTTL),
		NegativeTTL:  time.Duration(*c.NegativeTTL),
		StaleIfError: time.Duration(c.StaleIfError),
	}
}

func (c *CacheConfig) validate() error {
	if c.Size < 0 || c.Size > maxCacheSize {
		return fmt.Errorf("cache size: %d is not between 1 and %d", c.Size, maxCacheSize)
	}
	for _, option := range []struct {
		name   string
		d      *caddy.Duration
		max    caddy.Duration
		theMax string // before max, in an error
	}{
		{"ttl", c.TTL, maxTTL, ""},
		{"bearer_ttl", c.BearerTTL, *durationOr(c.TTL, defaultTTL), "the ttl of "},
		{"session_ttl", c.SessionTTL, *durationOr(c.TTL, defaultTTL), "the ttl of "},
		{"negative_ttl", c.NegativeTTL, maxNegativeTTL, ""},
		{"stale_if_error", &c.StaleIfError, maxStaleIfError, ""},
	} {
		if option.d == nil {
			continue
		}
		if err := directive.CheckDuration("cache "+option.name, *option.d); err != nil {
			return err
		}
		if *option.d < 0 || *option.d > option.max {
			return fmt.Errorf("cache %s: %s is not between 0 and %s%s", option.name, time.Duration(*option.d), option.theMax, time.Duration(option.max))
		}
	}
	return nil
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
		Check:   c.validate,
	}
}
