package testutil

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// ErrStoreDown is the error of a StoreClient that cannot reach its store.
var ErrStoreDown = errors.New("connection refused")

// ErrStoreReadOnly is the error of a StoreClient that may not write.
var ErrStoreReadOnly = errors.New("READONLY")

// Store is a double of a store that several Caddys share, in memory. Each Caddy has a StoreClient.
type Store struct {
	mu      sync.Mutex
	jumped  time.Duration
	values  map[string]storedValue
	locks   map[string]storedValue
	debts   map[string]time.Time // when it is paid off
	log     []frappe.LogEntry
	epochs  int
	ids     int
	changed chan struct{} // closed when the log changes
}

type storedValue struct {
	value []byte
	until time.Time
}

// NewStore returns an empty store.
func NewStore() *Store {
	s := &Store{changed: make(chan struct{})}
	s.Flush()
	return s
}

// Flush removes everything from the store.
func (s *Store) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values, s.locks, s.debts = make(map[string]storedValue), make(map[string]storedValue), make(map[string]time.Time)
	s.log = nil
}

// LoseLog removes the log only.
func (s *Store) LoseLog() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
}

// LoseEntries removes the newest entries of the log, as a failover to a replica that lags does. At least one entry is left.
func (s *Store) LoseEntries(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = s.log[:max(min(1, len(s.log)), len(s.log)-n)]
}

// Trim removes all but the newest entries of the log.
func (s *Store) Trim(keep int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = s.log[max(0, len(s.log)-keep):]
}

// Jump sets the store's clock forward, or back.
func (s *Store) Jump(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jumped += by
}

// Values returns a copy of what is stored, by name.
func (s *Store) Values() map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	values := make(map[string][]byte)
	for name, v := range s.values {
		if time.Now().Before(v.until) {
			values[name] = v.value
		}
	}
	return values
}

// Replace stores a value as somebody who may write to the store could: forever, whatever Caddys do.
func (s *Store) Replace(name string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[name] = storedValue{value: value, until: time.Now().Add(1000 * time.Hour)}
}

// Log returns a copy of the log.
func (s *Store) Log() []frappe.LogEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]frappe.LogEntry(nil), s.log...)
}

func (s *Store) append(data []byte) frappe.Position {
	s.ids++
	at := frappe.Position{Sequence: 1, ID: strconv.Itoa(s.ids)}
	if n := len(s.log); n > 0 {
		at.Epoch, at.Sequence = s.log[n-1].Epoch, s.log[n-1].Sequence+1
	} else {
		s.epochs++
		at.Epoch = "epoch " + strconv.Itoa(s.epochs)
	}
	s.log = append(s.log, frappe.LogEntry{Position: at, Data: data})
	close(s.changed)
	s.changed = make(chan struct{})
	return at
}

// after returns the entries with a higher ID.
func (s *Store) after(p frappe.Position) (found []frappe.LogEntry) {
	last, _ := strconv.Atoi(p.ID)
	for _, e := range s.log {
		if id, _ := strconv.Atoi(e.ID); id > last {
			found = append(found, e)
		}
	}
	return found
}

// StoreClient is one Caddy's connection to a Store.
type StoreClient struct {
	*Store
	Key []byte // Secret

	mu       sync.Mutex
	away     bool
	readOnly bool
	delay    func() time.Duration
	calls    map[string]int
}

// Client returns a connection for a Caddy with that secret.
func (s *Store) Client(secret string) *StoreClient {
	return &StoreClient{Store: s, Key: []byte(secret), calls: make(map[string]int)}
}

// SetAway cuts the connection, or restores it.
func (c *StoreClient) SetAway(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = away
}

// SetReadOnly refuses writes, or allows them again.
func (c *StoreClient) SetReadOnly(readOnly bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readOnly = readOnly
}

// SetDelay sets how long each message, there and back, takes; nil: no time.
func (c *StoreClient) SetDelay(delay func() time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delay = delay
}

// Calls returns how often a method was called.
func (c *StoreClient) Calls(method string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[method]
}

// message waits as long as a message takes, and returns an error if it does not arrive.
func (c *StoreClient) message(ctx context.Context, writes bool) error {
	c.mu.Lock()
	away, readOnly, delay := c.away, c.readOnly, c.delay
	c.mu.Unlock()
	switch {
	case away:
		return ErrStoreDown
	case readOnly && writes:
		return ErrStoreReadOnly
	}
	if delay == nil {
		return ctx.Err()
	}
	timer := time.NewTimer(delay())
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// do sends a message, changes the store, and waits for the answer. The answer may be lost although the store has changed.
func (c *StoreClient) do(ctx context.Context, method string, writes bool, change func(now time.Time)) error {
	c.mu.Lock()
	c.calls[method]++
	c.mu.Unlock()
	if err := c.message(ctx, writes); err != nil {
		return err
	}
	c.Store.mu.Lock()
	change(time.Now())
	c.Store.mu.Unlock()
	return c.message(ctx, false)
}

// Secret implements frappe.Store.
func (c *StoreClient) Secret() []byte { return c.Key }

// Get implements frappe.Store.
func (c *StoreClient) Get(ctx context.Context, name string) (value []byte, err error) {
	err = c.do(ctx, "Get", false, func(now time.Time) {
		if v, ok := c.values[name]; ok && now.Before(v.until) {
			value = v.value
		}
	})
	return value, err
}

// Set implements frappe.Store.
func (c *StoreClient) Set(ctx context.Context, name string, value []byte, ttl time.Duration) error {
	return c.do(ctx, "Set", true, func(now time.Time) { c.values[name] = storedValue{value, now.Add(ttl)} })
}

// Delete implements frappe.Store.
func (c *StoreClient) Delete(ctx context.Context, name string) error {
	return c.do(ctx, "Delete", true, func(time.Time) { delete(c.values, name) })
}

// Lock implements frappe.Store.
func (c *StoreClient) Lock(ctx context.Context, name, owner string, ttl time.Duration) (holder string, err error) {
	err = c.do(ctx, "Lock", true, func(now time.Time) {
		if held, ok := c.locks[name]; ok && now.Before(held.until) && string(held.value) != owner {
			holder = string(held.value)
			return
		}
		holder = owner
		c.locks[name] = storedValue{[]byte(owner), now.Add(ttl)}
	})
	return holder, err
}

// Unlock implements frappe.Store.
func (c *StoreClient) Unlock(ctx context.Context, name, owner string) error {
	return c.do(ctx, "Unlock", true, func(time.Time) {
		if string(c.locks[name].value) == owner {
			delete(c.locks, name)
		}
	})
}

// Charge implements frappe.Store.
func (c *StoreClient) Charge(ctx context.Context, name string, cost, limit time.Duration) (debt time.Duration, err error) {
	err = c.do(ctx, "Charge", cost > 0, func(now time.Time) {
		debt = min(max(0, c.debts[name].Sub(now))+cost, limit)
		c.debts[name] = now.Add(debt)
	})
	return debt, err
}

// Append implements frappe.Store.
func (c *StoreClient) Append(ctx context.Context, data []byte, _ time.Duration) (at frappe.Position, err error) {
	err = c.do(ctx, "Append", true, func(time.Time) { at = c.append(data) })
	return at, err
}

// Read implements frappe.Store.
func (c *StoreClient) Read(ctx context.Context, after frappe.Position, wait time.Duration) (entries []frappe.LogEntry, err error) {
	var changed chan struct{}
	look := func(time.Time) {
		if len(c.log) == 0 {
			c.append(nil)
		}
		entries, changed = c.after(after), c.changed
	}
	if err := c.do(ctx, "Read", false, look); err != nil {
		return nil, err
	}
	if len(entries) == 0 && wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if len(entries) == 0 {
		err = c.do(ctx, "Read", false, func(now time.Time) {
			look(now)
			if len(entries) == 0 {
				entries = append(entries, c.log[len(c.log)-1])
			}
		})
	}
	return entries, err
}

// Reset implements frappe.Store.
func (c *StoreClient) Reset(ctx context.Context, epoch string) error {
	return c.do(ctx, "Reset", true, func(time.Time) {
		if n := len(c.log); n > 0 && c.log[n-1].Epoch == epoch {
			c.log = nil
			c.append(nil)
		}
	})
}

// Time implements frappe.Store.
func (c *StoreClient) Time(ctx context.Context) (now time.Time, err error) {
	err = c.do(ctx, "Time", false, func(real time.Time) { now = real.Add(c.jumped).Round(0) })
	return now, err
}

// Interface guard
var _ frappe.Store = (*StoreClient)(nil)
