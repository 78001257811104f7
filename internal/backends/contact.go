package backends

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

const (
	// PingAfter is how long a backend may go without a call before it is pinged.
	PingAfter = 15 * time.Second

	// maxPing is the longest time that a ping may take.
	maxPing = 10 * time.Second
)

// contact records whether a backend could be reached the last time, by a call or a ping. The zero value means that
// nobody has tried yet. All methods may be called from many goroutines at once.
type contact struct {
	mu      sync.Mutex
	tried   time.Time // when the last attempt ended, or the ping in flight began
	failed  bool
	site    string // of the last failure
	verdict time.Time
}

// answered records that the backend gave a verdict.
func (c *contact) answered(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tried, c.failed, c.verdict = now, false, now
}

// missed records that the backend gave no verdict about a site.
func (c *contact) missed(site string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tried, c.failed, c.site = now, true, site
}

// claim claims the ping that is due if the last attempt is long ago. A backend with several sites is pinged only while
// it fails, about the site that failed last.
func (c *contact) claim(now time.Time, severalSites bool) (site string, due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.tried.IsZero() && now.Sub(c.tried) < PingAfter || severalSites && !c.failed {
		return "", false
	}
	c.tried = now
	return c.site, true
}

// pinged records the result of a ping that began at that time. A newer result stays.
func (c *contact) pinged(began, now time.Time, failed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tried.Equal(began) {
		c.tried, c.failed = now, failed
	}
}

// Up reports whether the last attempt to reach the backend succeeded. It is true if nobody has tried yet.
func (s *State) Up() bool {
	s.contact.mu.Lock()
	defer s.contact.mu.Unlock()
	return !s.contact.failed
}

// LastVerdict returns when the backend last gave a verdict. ok is false if it has given none yet.
func (s *State) LastVerdict() (at time.Time, ok bool) {
	s.contact.mu.Lock()
	defer s.contact.mu.Unlock()
	return s.contact.verdict, !s.contact.verdict.IsZero()
}

// KeepPinging pings a backend that nobody has called for PingAfter, until ctx is done, so that Up is right without
// traffic. It returns at once if the backend cannot be pinged.
func (s *State) KeepPinging(ctx context.Context, b Loaded, to Reporter) {
	pinger, ok := b.Backend.(frappe.Pinger)
	if !ok {
		return
	}
	ticker := time.NewTicker(PingAfter)
	defer ticker.Stop()
	for {
		s.pingIfDue(ctx, b, pinger, to)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *State) pingIfDue(ctx context.Context, b Loaded, pinger frappe.Pinger, to Reporter) {
	began := to.Now()
	site, due := s.contact.claim(began, b.Resolver != nil)
	if !due {
		return
	}
	err := ping(ctx, pinger, site, to.Logger)
	if ctx.Err() == nil {
		s.contact.pinged(began, to.Now(), err != nil)
	}
}

// ping asks a backend for a sign of life.
func ping(ctx context.Context, pinger frappe.Pinger, site string, logger *zap.Logger) (err error) {
	defer recovered(logger, &err)
	ctx, cancel := context.WithTimeout(ctx, maxPing)
	defer cancel()
	return pinger.Ping(ctx, site)
}

// recovered is deferred where a backend is called. It turns a panic into an error.
func recovered(logger *zap.Logger, err *error) {
	if p := recover(); p != nil {
		// The value of a panic may contain a secret. Its type and the stack do not.
		*err = fmt.Errorf("the backend panicked with a %T", p)
		logger.Error("backend panicked", zap.Stack("stack"))
	}
}
