package fleet

import (
	"context"
	"encoding/json"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

const (
	// maxValue is the longest value that is written or read, in bytes. The roles of a user take a few thousand.
	maxValue = 64 << 10

	// maxLookAge is how long ago the log may have been read. A Caddy that has not heard of revocations for longer takes no
	// verdict from the store.
	maxLookAge = 3 * time.Second
)

// Moment is when a backend was asked.
type Moment struct {
	epoch     string
	sequence  uint64
	confirmed int64 // by the store's clock, in Unix nanoseconds
	wall      int64 // by the clock of this Caddy
}

// Verdict is a verdict from the store.
type Verdict struct {
	// Plain is what was stored.
	Plain json.RawMessage

	// Age is how long ago the backend was asked, or longer.
	Age time.Duration

	epoch    string
	sequence uint64
}

// value is what the store holds, sealed.
type value struct {
	Epoch     string          `json:"e"`
	Sequence  uint64          `json:"s"` // of the last revocation that the writer knew of before it asked the backend
	Confirmed int64           `json:"c"` // when it asked, by the store's clock
	Wall      int64           `json:"w"` // the same, by the writer's clock
	Keep      time.Duration   `json:"k"` // how long after that it may serve
	Plain     json.RawMessage `json:"p"`
}

// Name returns the name of a verdict on what the fields identify, within the scope of the Fleet.
func (f *Fleet) Name(fields ...string) string {
	return f.nameOf("verdict", append([]string{f.Scope}, fields...)...)
}

// Begin must be called before a backend is asked. ok is false while the store's clock and log are not known: such a verdict
// is not shared.
func (f *Fleet) Begin() (m Moment, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.Now()
	if !f.clock.known() || f.log.last.Epoch == "" {
		return Moment{}, false
	}
	return Moment{
		epoch: f.log.last.Epoch, sequence: f.log.last.Sequence,
		confirmed: f.clock.earliest(now).UnixNano(), wall: now.UnixNano(),
	}, true
}

// Put stores a verdict that a backend was asked for at a moment. It serves no longer than keep after that. Failures are not
// reported, because a store may lose a verdict at any time.
func (x *Exchange) Put(name string, m Moment, plain json.RawMessage, keep time.Duration) {
	raw, err := json.Marshal(value{Epoch: m.epoch, Sequence: m.sequence, Confirmed: m.confirmed, Wall: m.wall, Keep: keep, Plain: plain})
	if err != nil || keep <= 0 || len(raw) > maxValue {
		return
	}
	sealed, err := x.fleet.sealed(name, raw)
	if err != nil {
		return
	}
	_ = x.write(func(ctx context.Context, s frappe.Store) error { return s.Set(ctx, name, sealed, keep) })
}

// AwaitLook makes the first requests of a Caddy that has just started wait until it has read the log, for as long as they wait
// for the store at most. Before that, no verdict from the store can be used.
func (x *Exchange) AwaitLook() {
	select {
	case <-x.fleet.tried:
		return
	default:
	}
	_ = x.read(func(ctx context.Context, _ frappe.Store) error {
		select {
		case <-x.fleet.tried:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// Get returns the verdict with a name, or nil. The caller must ask IsCurrent before it uses the verdict.
func (x *Exchange) Get(name string) *Verdict {
	var sealed []byte
	err := x.read(func(ctx context.Context, s frappe.Store) (err error) {
		sealed, err = s.Get(ctx, name)
		return err
	})
	if err != nil || len(sealed) == 0 || len(sealed) > 2*maxValue {
		return nil
	}
	raw, err := x.fleet.opened(name, sealed)
	var v value
	if err != nil || json.Unmarshal(raw, &v) != nil {
		return nil
	}
	age, ok := x.fleet.age(v)
	if !ok || age >= v.Keep {
		return nil
	}
	return &Verdict{Plain: v.Plain, Age: age, epoch: v.Epoch, sequence: v.Sequence}
}

// age returns how old a verdict is: by the store's clock or by those of the two Caddys, whichever makes it older. So a clock
// that is wrong can only shorten how long it serves. ok is false if the age is not known.
func (f *Fleet) age(v value) (age time.Duration, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.Now()
	if !f.clock.known() {
		return 0, false
	}
	byStore := f.clock.latest(now).Sub(time.Unix(0, v.Confirmed))
	if byStore < 0 {
		return 0, false // the store's clock went back
	}
	return max(byStore, now.Sub(time.Unix(0, v.Wall))), true
}

// IsCurrent reports whether none of the tags of a verdict, nor everything, was revoked after its backend was asked. It is
// false if that is not known.
func (f *Fleet) IsCurrent(v *Verdict, tags ...uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.looked.After(f.unseen) && f.Now().Sub(f.looked) <= maxLookAge &&
		!f.log.isRevoked(v.epoch, v.sequence, tags) && !f.outbox.has(tags)
}

// Delete removes a verdict.
func (x *Exchange) Delete(name string) {
	_ = x.write(func(ctx context.Context, s frappe.Store) error { return s.Delete(ctx, name) })
}
