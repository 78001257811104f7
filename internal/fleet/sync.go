package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// waitPatience is how long one wait for a wake takes. The state is compared at least as often.
	waitPatience = time.Second

	// syncTimeout and publishTimeout are how long one attempt may take. A webhook waits for a publication; Frappe gives
	// up after 5 seconds.
	syncTimeout    = 3 * time.Second
	publishTimeout = 2 * time.Second

	// lastTimeout is how long a Caddy that ends tries to publish what waits.
	lastTimeout = time.Second

	// maxConflicts is how often a state is read again because another Caddy has replaced it meanwhile.
	maxConflicts = 4

	// pace is the least time between two syncs after a wake.
	pace = 20 * time.Millisecond

	// minRetry and maxRetry are the waits between attempts while the store is away.
	minRetry = 100 * time.Millisecond
	maxRetry = 2 * time.Second

	// noteInterval is how often the secrets are compared with those of the other Caddys.
	noteInterval = time.Minute

	// maxLeft is for how many prefixes revocations are kept that could not be published.
	maxLeft = 16
)

var (
	errConflict = errors.New("other Caddys replace the shared state all the time")
	errLosses   = errors.New("the store loses or changes the shared state again and again; " +
		"check its maxmemory-policy, and what else may write to it")
)

// micros converts a local time for the clock.
func (f *fleet) micros(t time.Time) int64 { return t.Sub(f.registry.began).Microseconds() }

// start begins to follow the states, and to publish.
func (f *fleet) start() {
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	loops.Go(func() { f.repeatedly(ctx, f.follow) })
	loops.Go(func() {
		f.repeatedly(ctx, func(ctx context.Context, a *attachment) error {
			if err := f.publish(ctx, a); err != nil {
				return err
			}
			select {
			case <-f.kick:
			case <-ctx.Done():
			}
			return nil
		})
	})
	f.stop = func() {
		cancel()
		loops.Wait()
	}
}

// repeatedly calls do until ctx is done, with growing waits while it fails. Another attachment begins anew.
func (f *fleet) repeatedly(ctx context.Context, do func(context.Context, *attachment) error) {
	wait := minRetry
	for ctx.Err() == nil {
		a, pass := f.current()
		if a == nil {
			return
		}
		both, cancel := context.WithCancel(ctx)
		release := context.AfterFunc(pass, cancel)
		err := do(both, a)
		if both.Err() != nil || err == nil {
			wait = minRetry
		} else {
			pause(both, time.Duration(float64(wait)*(0.75+f.registry.random()/2)))
			wait = min(2*wait, maxRetry)
		}
		release()
		cancel()
	}
}

// pause waits until ctx is done, at most for d.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// follow compares the states once, and waits for a wake.
func (f *fleet) follow(ctx context.Context, a *attachment) error {
	err := f.lockAndSync(ctx, a, func() bool { return true })
	if err == nil || ctx.Err() == nil {
		f.hasTried()
	}
	if err != nil {
		return err
	}
	f.probe(a)
	pause(ctx, pace)
	rings, after := f.positions()
	began := f.registry.now()
	if err := a.wait(ctx, rings, after); err != nil { // the wake is only a hint
		pause(ctx, waitPatience-f.registry.now().Sub(began))
	}
	return nil
}

// probe uses the paths that requests use, if they have failed: without requests, nobody would see that they work again.
func (f *fleet) probe(a *attachment) {
	f.mu.Lock()
	rings := f.rings
	f.mu.Unlock()
	if len(f.breakers.Open()) == 0 || len(rings) == 0 {
		return
	}
	key := rings[0].key("n", "probe")
	_ = f.request(a, reading, a.store.Timeout(), func(ctx context.Context) error {
		_, err := a.store.Look(ctx, LookQuery{Lock: key, Failures: key})
		return err
	})
	_ = f.request(a, writing, a.store.Timeout(), func(ctx context.Context) error {
		q := DoneQuery{Lock: key, Failures: key, Verdict: key, Value: []byte("-"), Keep: time.Second}
		return a.store.Done(ctx, q)
	})
}

// wait waits for a wake. A panic is an error.
func (a *attachment) wait(ctx context.Context, rings []StateKeys, after []string) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the store panicked with a %T", v)
		}
	}()
	return a.store.Wait(ctx, rings, after, waitPatience)
}

func (f *fleet) positions() (rings []StateKeys, after []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rings {
		rings, after = append(rings, r.at), append(after, r.wake)
	}
	return rings, after
}

// hasTried lets the requests go on that wait for the first sync.
func (f *fleet) hasTried() {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.tried:
	default:
		close(f.tried)
	}
}

// lockAndSync brings what is known of all rings up to date, unless that is no longer needed once it is its turn.
func (f *fleet) lockAndSync(ctx context.Context, a *attachment, needed func() bool) error {
	if err := f.lock(ctx); err != nil {
		return err
	}
	defer f.unlock()
	if !needed() {
		return nil
	}
	return f.try(ctx, a, syncing, false, syncTimeout, func(ctx context.Context) error { return f.sync(ctx, a) })
}

// lock makes the caller the one that may read and replace states.
func (f *fleet) lock(ctx context.Context) error {
	select {
	case f.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fleet) unlock() { <-f.busy }

// usable reports whether all states are those that the store had at the last sync, over the connection of that sync.
func (f *fleet) usable(a *attachment) bool {
	for _, r := range f.rings {
		if !r.ok {
			return false
		}
	}
	return !f.back && len(f.rings) > 0 && f.marked == mark{a, a.store.Dialled()}
}

// sync reads the states that are new. What cannot be trusted, or was lost, is replaced by a fresh state, which revokes
// everything.
func (f *fleet) sync(ctx context.Context, a *attachment) error {
	paid := false // for a loss
	for range maxConflicts {
		rings, q := f.syncQuery()
		if len(rings) == 0 {
			return ErrAway // the last configuration is gone
		}
		now := mark{a, a.store.Dialled()}
		sent := f.registry.now()
		reply, err := a.store.Sync(ctx, q)
		if err != nil {
			return err
		}
		if len(reply.Rings) != len(rings) {
			return errors.New("the store answers for other rings")
		}
		fresh, err := f.judge(a, rings, q, reply, sent, &paid)
		if err != nil {
			return err
		}
		conflict := false
		for _, r := range rings {
			replacement := fresh[r]
			if replacement == nil {
				continue
			}
			ok, err := f.replace(ctx, a, r, replacement)
			if err != nil {
				return err
			}
			if !ok {
				conflict = true
				continue
			}
			f.mu.Lock()
			f.drop(Revocation{Everything: true})
			f.mu.Unlock()
		}
		if !conflict {
			f.mu.Lock()
			f.marked, f.looked, f.back = now, sent, false
			f.mu.Unlock()
			return nil
		}
	}
	return errConflict
}

func (f *fleet) syncQuery() (rings []*ring, q SyncQuery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if rings = f.rings; len(rings) == 0 {
		return nil, q
	}
	q.Note = rings[0].key("n", "secrets")
	if now := f.registry.now(); f.noted.IsZero() || now.Sub(f.noted) >= noteInterval {
		f.noted = now
		for _, r := range rings {
			q.Write += r.name
		}
	}
	for _, r := range rings {
		q.Rings, q.Known = append(q.Rings, r.at), append(q.Known, r.version)
	}
	return rings, q
}

// judge takes over the states that can be trusted, and returns fresh ones for the others.
func (f *fleet) judge(a *attachment, rings []*ring, q SyncQuery, reply SyncReply, sent time.Time, paid *bool,
) (map[*ring]*state, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	received := f.registry.now()
	f.hear(reply.Time, sent, received)
	latest := reply.Time + received.Sub(sent).Microseconds()
	f.full, f.evicts = reply.Full, reply.Evicts
	f.compareNote(a, rings, q, reply)

	fresh := make(map[*ring]*state)
	for i, r := range rings {
		found := reply.Rings[i]
		r.wake = found.Wake
		next, known := r.read(q.Known[i], found)
		first := r.state == nil
		trusted := known && !f.back && next.replication == reply.Replication &&
			next.began <= latest+slack.Microseconds() && (first || !r.state.lacks(next))
		if trusted && !first && !r.doubted && next.generation == r.state.generation {
			if since := r.state.since(next); since.size() > 0 {
				f.received++
				f.registry.revoked.add(since, received, f.place)
				f.drop(since)
			}
			r.state, r.version, r.ok = next, found.Version, true
			continue
		}
		// Something was lost. This Caddy or another one begins a new generation.
		r.ok = false
		if !first && !*paid {
			if !f.budget.take(received) {
				return nil, errLosses
			}
			*paid = true
			if reply.Evicts {
				f.hold.lost(received)
			}
		}
		r.version = found.Version
		if trusted {
			f.drop(Revocation{Everything: true})
			r.state, r.ok, r.doubted = next, true, false
			continue
		}
		if known {
			r.state = r.state.joined(next)
		}
		r.doubted = true
		fresh[r] = freshState(reply.Replication, reply.Time, f.lastStamp())
	}
	if len(fresh) == 0 && f.waits() {
		f.wake()
	}
	return fresh, nil
}

// lastStamp returns the newest stamp of all rings.
func (f *fleet) lastStamp() (last uint64) {
	for _, r := range f.rings {
		if r.state != nil {
			last = max(last, r.state.last)
		}
	}
	return last
}

// relayed returns what the first ring lacks of the others. While a new secret is rolled out, some Caddys publish under
// the old one only, and others will soon read under the new one only.
func (f *fleet) relayed() (all Revocation) {
	for _, r := range f.rings {
		if r == f.rings[0] || r.state == nil || f.rings[0].state == nil {
			continue
		}
		all.add(r.state.missing(f.rings[0].state))
	}
	return all
}

// waits reports whether something is to be published.
func (f *fleet) waits() bool {
	return f.outbox.size()+f.relayed().size() > 0
}

// wake makes the publisher publish what waits.
func (f *fleet) wake() {
	select {
	case f.kick <- struct{}{}:
	default: // it is awake already
	}
}

// read returns the state that a sync found.
func (r *ring) read(known string, found Synced) (*state, bool) {
	if r.state != nil && !r.doubted && found.Version == known && len(known) == versionSize {
		return r.state, true
	}
	if len(found.State) > maxState {
		return nil, false
	}
	plain, ok := r.opened(r.at.State, found.State)
	if !ok || !strings.HasPrefix(found.State, found.Version) {
		return nil, false
	}
	return decodeState(plain)
}

// replace puts a state in place of the known one. ok is false if another Caddy was faster.
func (f *fleet) replace(ctx context.Context, a *attachment, r *ring, next *state) (ok bool, err error) {
	sealed := r.sealed(r.at.State, next.encode())
	f.mu.Lock()
	version := r.version
	r.ok = false // until the answer is here
	f.mu.Unlock()
	if ok, err = a.store.Publish(ctx, r.at, version, sealed); err != nil || !ok {
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r.state, r.version, r.ok, r.doubted = next, string(sealed[:versionSize]), true, false
	return true, nil
}

// hear measures the store's clock. If it went back, everything is to be revoked.
func (f *fleet) hear(store int64, sent, received time.Time) {
	if f.clock.heard(store, f.micros(sent), f.micros(received)) {
		f.back = true
	}
}

// drop drops verdicts from the memory of all members.
func (f *fleet) drop(r Revocation) {
	for _, m := range f.members {
		m.apply(r)
	}
}

// compareNote says once that a Caddy with other secrets uses the same place.
func (f *fleet) compareNote(a *attachment, rings []*ring, q SyncQuery, reply SyncReply) {
	if q.Write == "" || reply.Note == "" {
		return
	}
	for _, r := range rings {
		if strings.Contains(reply.Note, r.name) {
			f.foreign.Store(false)
			return
		}
	}
	if f.foreign.CompareAndSwap(false, true) {
		a.logger.Warn("another Caddy uses the same shared store with another secret, so nothing is shared with it; "+
			"set the same secret on every Caddy, or another prefix", zap.String("store", a.store.String()))
	}
}

// Revoke drops verdicts here at once, and in every Caddy of the fleet soon. Publish waits for that.
func (m *Member) Revoke(r Revocation) {
	f := m.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoke(r, nil)
}

// RevokeElsewhere is like Revoke, for what this member has already dropped.
func (m *Member) RevokeElsewhere(r Revocation) {
	f := m.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoke(r, m)
}

func (f *fleet) revoke(r Revocation, except *Member) {
	// First the outbox: a verdict that is taken from the store from now on is checked against it.
	f.registry.revoked.add(r, f.registry.now(), f.place)
	f.outbox.add(r)
	for _, m := range f.members {
		if m != except {
			m.apply(r)
		}
	}
	f.wake()
}

// Publish returns once the states hold every revocation so far, or an error. What could not be published waits.
func (m *Member) Publish(ctx context.Context) error {
	a, _ := m.fleet.use()
	if a == nil {
		return ErrAway
	}
	defer m.fleet.unuse(a)
	return m.fleet.publish(ctx, a)
}

func (f *fleet) publish(ctx context.Context, a *attachment) error {
	if err := f.lock(ctx); err != nil {
		return err
	}
	defer f.unlock()
	f.mu.Lock()
	waits := f.waits()
	f.mu.Unlock()
	if !waits {
		return nil
	}
	err := f.try(ctx, a, publishing, false, publishTimeout, func(ctx context.Context) error {
		return f.publishAll(ctx, a)
	})
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrAway, err)
	}
	return err
}

// publishAll publishes what waits, in all rings, until ctx is done. The first ring is the last, so that its stamps are
// the newest and nothing is to be relayed.
func (f *fleet) publishAll(ctx context.Context, a *attachment) error {
	for attempt := 1; ; attempt++ {
		f.mu.Lock()
		usable, rings := f.usable(a), f.rings
		f.mu.Unlock()
		if !usable {
			if err := f.sync(ctx, a); err != nil {
				return err
			}
		}
		all := true
		for _, r := range slices.Backward(rings) {
			ok, err := f.publishIn(ctx, a, r)
			if err != nil {
				return err
			}
			all = all && ok
		}
		if all {
			return nil
		}
		// Others publish, too. They come at random, so that each has its turn.
		pause(ctx, time.Duration(f.registry.random()*float64(min(attempt, 10))*float64(2*time.Millisecond)))
		if ctx.Err() != nil {
			return errConflict
		}
	}
}

// publishIn publishes what waits for one ring.
func (f *fleet) publishIn(ctx context.Context, a *attachment, r *ring) (ok bool, err error) {
	f.mu.Lock()
	waiting := f.outbox.after(r.published)
	if len(f.rings) > 0 && r == f.rings[0] {
		waiting.add(f.relayed())
	}
	number, usable, any := f.outbox.number, r.ok, waiting.size() > 0
	var next *state
	if any && usable {
		next = r.state.with(waiting, f.clock.latest(f.micros(f.registry.now())), f.lastStamp())
	}
	f.mu.Unlock()
	if !any || !usable {
		return !any, nil
	}
	if ok, err = f.replace(ctx, a, r, next); err != nil || !ok {
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.published++
	r.published = number
	for _, other := range f.rings {
		number = min(number, other.published)
	}
	f.outbox.remove(number)
	return true, nil
}
