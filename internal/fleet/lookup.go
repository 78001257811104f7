package fleet

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"time"
)

const (
	// patience is how many timeouts of one answer all answers of a lookup may take together, besides its end.
	patience = 2

	// startPatience is how long the first requests of a Caddy wait for the first sync. Before that, no verdict can be
	// used.
	startPatience = 3 * time.Second

	// lockFor is how long one Caddy may keep the others from asking a backend about a credential. If it dies, they wait
	// as long.
	lockFor = 3 * time.Second

	// minPoll and maxPoll are how long a Caddy waits before it looks again whether another has stored a verdict.
	minPoll = 2 * time.Millisecond
	maxPoll = 50 * time.Millisecond

	// maxValue is the longest verdict, in bytes. The roles of a user take a few thousand.
	maxValue = 64 << 10

	// verdictHead is the length of a verdict before what the backend said.
	verdictHead = 4 * 8

	// paidFresh is how long what was read of a client's failures counts. Many requests at once must not gain from
	// having looked early.
	paidFresh = 50 * time.Millisecond

	// maxFingerprints is how many credentials of a client are known that have been counted.
	maxFingerprints = 128
)

// Limit is how many failures a client may have in a window, at all Caddys together. Those of different limits are
// counted apart.
type Limit struct {
	Client string
	Max    int // 0 or less: failures are not counted
	Window time.Duration
}

func (l Limit) cost() time.Duration { return l.Window / time.Duration(l.Max) }

// Lookup is what one request for a verdict asks of the store: a look before a backend is asked, and an end after it. It
// belongs to one goroutine.
type Lookup struct {
	member *Member
	a      *attachment // nil: there is no store
	rings  []*ring
	keys   []LookRing // as rings
	query  DoneQuery
	limit  Limit
	spent  time.Duration

	reply          LookReply // to the last look
	sent, received time.Time // of it; zero: there was none
	mayHold        bool      // the lock may be this lookup's
	found          bool      // Find was called
	charged        bool

	asked moment
}

// moment is when a backend was asked.
type moment struct {
	known             bool
	generation, stamp uint64 // of the state that was known
	confirmed         int64  // by the store's clock, at the earliest
	wall              int64  // by the clock of this Caddy
}

// Lookup begins a lookup of what the fields identify. The caller must call End.
func (m *Member) Lookup(limit Limit, fields ...string) *Lookup {
	f := m.fleet
	l := &Lookup{member: m, limit: limit}
	if l.a, l.rings = f.use(); l.a == nil {
		return l
	}
	fields = append([]string{"verdict", m.scope}, fields...)
	for _, r := range l.rings {
		l.keys = append(l.keys, LookRing{State: r.at.State, Verdict: r.key("v", r.id(fields...))})
	}
	first := l.rings[0]
	l.query = DoneQuery{
		Lock: first.key("l", first.id(fields...)), Failures: first.key("f", "none"), Verdict: l.keys[0].Verdict,
		Owner: rand.Text(),
	}
	if limit.Max > 0 {
		id := first.id("failures", m.scope, limit.Client, strconv.Itoa(limit.Max), limit.Window.String())
		l.query.Failures = first.key("f", id)
	}
	return l
}

// Verdict is a verdict of another Caddy.
type Verdict struct {
	// Plain is what was stored.
	Plain []byte

	// Age is how long ago the backend was asked, or longer.
	Age time.Duration

	asked             time.Time // by the local clock, at the earliest
	lookup            *Lookup
	ring              *ring
	generation, stamp uint64
	confirmed         int64
}

// Current reports whether none of the tags of a verdict, nor everything, was revoked after its backend was asked. It is
// false if that is not known.
func (v *Verdict) Current(tags ...uint64) bool {
	f := v.lookup.member.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.usable(v.lookup.a) || f.outbox.has(tags) || f.registry.revoked.elsewhere(v.asked, tags, f.place) {
		return false
	}
	for _, r := range f.rings {
		// While a new secret is rolled out, a Caddy may publish under one of them only.
		current := r.state.currentAt(v.confirmed, tags)
		if r == v.ring {
			current = r.state.current(v.generation, v.stamp, tags)
		}
		if !current {
			return false
		}
	}
	return slices.Contains(f.rings, v.ring)
}

// Find takes the verdict of another Caddy, or makes this one the Caddy that asks a backend. use is called with each
// verdict that was found, and returns whether it can be used; it must ask Current. If use returned true, Find does so,
// too. Else the caller asks a backend. If mayAsk is false, the caller cannot, and Find neither takes the lock nor
// waits.
//
// While another Caddy asks about the same, Find waits for its verdict. It waits for one other Caddy only. If that one
// is done and has stored no verdict, because the credential is bad or the backend unavailable, all who waited for it
// ask at once, as they would without a lock: one after another, many Caddys would make the last one wait long.
func (l *Lookup) Find(mayAsk bool, use func(*Verdict) bool) bool {
	l.found = true
	if l.a == nil || !l.awaitFirstSync() {
		return false
	}
	deadline := time.Now().Add(lockFor)
	awaited := "" // the Caddy that is waited for
	lock, wait := lockFor, minPoll
	if !mayAsk {
		lock = 0
	}
	var spent time.Duration // before it was
	for unusable := 0; unusable <= maxConflicts; {
		if l.lookInSync(lock) != nil {
			return false
		}
		if l.hasVerdict() {
			for v := l.nextVerdict(); v != nil; v = l.nextVerdict() {
				if use(v) {
					return true
				}
			}
			unusable++
			continue // look again, for the lock
		}
		if !mayAsk {
			return false
		}
		holder := l.reply.Holder
		left := time.Until(deadline)
		if holder == "" || holder == l.query.Owner || awaited != "" && holder != awaited || left <= 0 {
			return false
		}
		if awaited == "" {
			awaited, lock, spent = holder, 0, l.spent
		}
		l.spent = spent // the wait for another Caddy does not count
		time.Sleep(min(wait, left))
		wait = min(2*wait, maxPoll)
	}
	return false
}

// awaitFirstSync makes the first requests of a Caddy wait until it knows what was revoked. It returns false if that
// takes too long.
func (l *Lookup) awaitFirstSync() bool {
	f := l.member.fleet
	select {
	case <-f.tried:
		return true
	default:
	}
	timer := time.NewTimer(startPatience)
	defer timer.Stop()
	select {
	case <-f.tried:
		return true
	case <-timer.C:
		return false
	}
}

// lookInSync looks, and looks again if this Caddy's state was not that of the store.
func (l *Lookup) lookInSync(lock time.Duration) error {
	f := l.member.fleet
	for range maxConflicts {
		if err := l.look(lock); err != nil {
			return err
		}
		if l.inSync() {
			return nil
		}
		if err := f.breakers.Check(syncing, f.registry.now()); err != nil {
			return err
		}
		began := f.registry.now()
		ctx, cancel := context.WithTimeout(context.Background(), patience*l.a.store.Timeout()-l.spent)
		err := f.lockAndSync(ctx, l.a, func() bool { return !l.inSync() })
		cancel()
		l.spent += f.registry.now().Sub(began)
		if err != nil {
			return err
		}
	}
	return errConflict
}

// look asks the store once. lock is how long the lock is taken for; 0: it is not.
func (l *Lookup) look(lock time.Duration) error {
	f := l.member.fleet
	q := LookQuery{Lock: l.query.Lock, Failures: l.query.Failures, Owner: l.query.Owner, LockFor: lock, Rings: l.keys}
	sent, held := f.registry.now(), l.mayHold
	err := f.request(l.a, reading, patience*l.a.store.Timeout()-l.spent, func(ctx context.Context) error {
		l.mayHold = l.mayHold || lock > 0
		reply, err := l.a.store.Look(ctx, q)
		if err == nil && len(reply.Rings) != len(l.keys) {
			err = errors.New("the store answers for other rings")
		}
		if err == nil {
			l.reply, l.sent, l.received = reply, sent, f.registry.now()
		}
		return err
	})
	l.spent += f.registry.now().Sub(sent)
	switch {
	case err != nil: // the lock may have been taken, although the answer did not come
	case l.hasVerdict():
		l.mayHold = held
	default:
		l.mayHold = l.reply.Holder == l.query.Owner
	}
	return err
}

// inSync reports whether the last look found the states that this Caddy knows. What is asked from now on is asked with
// their stamps.
func (l *Lookup) inSync() bool {
	f := l.member.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hear(l.reply.Time, l.sent, l.received)
	if !f.usable(l.a) || !slices.Equal(l.rings, f.rings) { // a reload may have brought other secrets
		return false
	}
	for i, r := range l.rings {
		if r.version != l.reply.Rings[i].Version {
			return false
		}
	}
	now, s := f.registry.now(), l.rings[0].state
	l.asked = moment{
		known: true, generation: s.generation, stamp: s.last,
		confirmed: l.reply.Time + now.Sub(l.received).Microseconds(), wall: now.UnixMicro(),
	}
	return true
}

func (l *Lookup) hasVerdict() bool {
	return slices.ContainsFunc(l.reply.Rings, func(r Looked) bool { return r.Verdict != "" })
}

// nextVerdict returns the next verdict of the last look. It is not wanted again.
func (l *Lookup) nextVerdict() *Verdict {
	for i, r := range l.rings {
		sealed := l.reply.Rings[i].Verdict
		if sealed == "" {
			continue
		}
		l.reply.Rings[i].Verdict = ""
		l.keys[i].Unwanted = sealed[:min(len(sealed), versionSize)]
		plain, ok := r.opened(l.keys[i].Verdict, sealed)
		if !ok || len(plain) < verdictHead {
			continue
		}
		number := func(at int) uint64 { return binary.BigEndian.Uint64(plain[at:]) }
		v := &Verdict{Plain: plain[verdictHead:], lookup: l, ring: r, generation: number(0), stamp: number(8)}
		v.confirmed = int64(number(16))                            //nolint:gosec // the same bits
		if v.Age, ok = l.age(v.confirmed, int64(number(24))); ok { //nolint:gosec // the same bits
			v.asked = l.member.fleet.registry.now().Add(-v.Age)
			return v
		}
	}
	return nil
}

// value returns a verdict as it is stored.
func (l *Lookup) value(plain []byte) []byte {
	data := make([]byte, 0, verdictHead+len(plain))
	m := l.asked
	//nolint:gosec // the same bits
	for _, number := range []uint64{m.generation, m.stamp, uint64(m.confirmed), uint64(m.wall)} {
		data = binary.BigEndian.AppendUint64(data, number)
	}
	return l.rings[0].sealed(l.query.Verdict, append(data, plain...))
}

// age returns how old a verdict is: by the store's clock, or by those of the two Caddys, whichever makes it older. So a
// clock that is wrong can only shorten how long it serves. ok is false if it is from the future.
func (l *Lookup) age(confirmed, wall int64) (age time.Duration, ok bool) {
	now := l.member.fleet.registry.now()
	byStore := time.Duration(l.reply.Time-confirmed)*time.Microsecond + now.Sub(l.sent) + slack
	return max(byStore, time.Duration(now.UnixMicro()-wall)*time.Microsecond), byStore >= 0
}

// Wait returns how long the client has to wait because of its failures. It is 0 if the store is away.
func (l *Lookup) Wait() time.Duration {
	f := l.member.fleet
	if l.a == nil || l.limit.Max <= 0 {
		return 0
	}
	if now := f.registry.now(); l.received.IsZero() || now.Sub(l.received) > paidFresh {
		if l.look(0) != nil {
			return 0
		}
	}
	paid, err := strconv.ParseInt(l.reply.Paid, 10, 64)
	if err != nil {
		return 0
	}
	debt := time.Duration(paid-l.reply.Time)*time.Microsecond - f.registry.now().Sub(l.received)
	return max(0, min(debt, l.limit.Window)-(l.limit.Window-l.limit.cost()))
}

// Charge makes End count a failure against the client.
func (l *Lookup) Charge() { l.charged = true }

// Outcome is what a lookup ends with.
type Outcome struct {
	// Plain is the verdict to store. It may be empty: there is none.
	Plain []byte

	// Keep is how long it may serve.
	Keep time.Duration

	// Delete removes the verdict that another Caddy has stored.
	Delete bool
}

// End stores the outcome, releases the lock, and counts the failure. Errors are not reported, because a store may lose
// a verdict at any time.
func (l *Lookup) End(o Outcome) {
	if l.a == nil {
		return
	}
	f := l.member.fleet
	defer f.unuse(l.a)
	q := l.query
	f.mu.Lock()
	full, held := f.full, f.full || f.evicts && f.hold.holds(f.registry.now())
	f.mu.Unlock()
	fits := len(o.Plain) > 0 && len(o.Plain) <= maxValue-sealSize-verdictHead
	if l.asked.known && !held && fits && o.Keep >= time.Millisecond {
		q.Value, q.Keep = l.value(o.Plain), o.Keep
	}
	q.Delete = o.Delete && q.Value == nil
	if l.charged && l.limit.Max > 0 && !full {
		q.Cost, q.Window = l.limit.cost(), l.limit.Window
		q.Most = min(2*l.limit.Max, maxFingerprints)
		if l.found {
			q.Fingerprint = string(l.rings[0].digest("failed", q.Failures, q.Lock)[:8])
		}
	}
	done := func(ctx context.Context) error { return l.a.store.Done(ctx, q) }
	switch {
	case l.mayHold: // others wait for the lock
		_ = f.try(context.Background(), l.a, writing, false, l.a.store.Timeout(), done)
	case q.Value != nil || q.Delete || q.Cost > 0:
		_ = f.request(l.a, writing, l.a.store.Timeout(), done)
	}
}
