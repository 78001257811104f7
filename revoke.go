package frappeauth

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
)

// drop drops the verdicts that changes select: here at once, and soon in the other Caddys that share a store. It does not wait
// for them.
func (s *state) drop(changes ...frappe.Change) {
	r := s.cache.revocation(changes...)
	switch {
	case !r.Everything && len(r.Tags) == 0:
	case s.fleet == nil:
		s.cache.apply(r)
	default:
		s.fleet.Revoke(r)
	}
}

// dropUnwatched drops the verdicts from before a backend or feed was watched, since changes to them may have been missed. Of
// those in the store it drops what this Caddy has shared: the others watch by themselves, or tell it what they were told.
func (s *state) dropUnwatched() {
	claims := s.cache.PurgeOwn()
	if s.fleet != nil && len(claims) > 0 {
		s.fleet.Revoke(fleet.Revocation{Tags: claims})
	}
}

// publish waits until the other Caddys are told what was dropped. An error says that they are not yet: they will be once the
// store is available again.
func (s *state) publish(ctx context.Context) error {
	if s.fleet == nil {
		return nil
	}
	return s.fleet.Publish(ctx)
}

// maxRevoke is how long an answer waits until the other Caddys are told, by all handlers together. Frappe gives up on a webhook
// after 5 seconds, and would not log what the answer says.
const maxRevoke = 4 * time.Second

// revokeIn drops the verdicts that changes select, in the caches of all handlers or of those with that name. It reports
// whether there was such a cache. An error says that other Caddys could not be told yet.
func revokeIn(ctx context.Context, name string, changes []frappe.Change, source telemetry.Source) (found bool, err error) {
	var concerned []*state
	states.Range(func(_, value any) bool {
		if s := value.(*state); name == "" || s.serves(name) {
			concerned = append(concerned, s)
			s.drop(changes...)
		}
		return true
	})
	ctx, cancel := context.WithTimeout(ctx, maxRevoke)
	defer cancel()
	for _, s := range concerned { // not in Range, which holds a lock
		if failed := s.publish(ctx); failed != nil {
			err = fmt.Errorf("the verdicts were dropped here, but the other Caddys could not be told yet: %w", failed)
		}
	}
	if len(concerned) > 0 {
		for range changes {
			telemetry.CountRevocation(source)
		}
	}
	return len(concerned) > 0, err
}
