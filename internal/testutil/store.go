package testutil

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/fleet"
)

var (
	// ErrStoreDown is the error of a StoreClient that cannot reach its store.
	ErrStoreDown = errors.New("connection refused")

	// ErrStoreReadOnly is the error of a StoreClient that may not write.
	ErrStoreReadOnly = errors.New("READONLY")
)

// MemoryStore is a double of the Redis that several Caddys share, in memory: it does what the scripts of package redis
// do. Each Caddy has a StoreClient.
type MemoryStore struct {
	// Published is called with each state that a client has published.
	Published func(c *StoreClient, key, value string)

	mu          sync.Mutex
	jumped      time.Duration // how far its clock is ahead
	replication int
	values      map[string]storedValue
	wakes       int
	changed     chan struct{} // closed when a wake is written
	full        bool
	evicts      bool
}

type storedValue struct {
	value string
	until time.Time // zero: forever
}

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{values: make(map[string]storedValue), changed: make(chan struct{})}
}

// Flush removes everything from the store.
func (s *MemoryStore) Flush() { s.Restore(nil) }

// Snapshot returns a copy of what is stored, by key.
func (s *MemoryStore) Snapshot() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	values := make(map[string]string)
	for key := range s.values {
		if v := s.get(key); v != "" {
			values[key] = v
		}
	}
	return values
}

// Restore replaces what is stored, as somebody who may write to the store could: forever, whatever Caddys do.
func (s *MemoryStore) Restore(values map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values = make(map[string]storedValue)
	for key, v := range values {
		s.values[key] = storedValue{value: v}
	}
}

// Replace stores a value as somebody who may write to the store could. An empty value deletes it.
func (s *MemoryStore) Replace(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[key] = storedValue{value: value}
}

// Restart makes the store another one, with the given values: a server that was restarted, or another one after a
// failover. The connections of its clients are new ones.
func (s *MemoryStore) Restart(values map[string]string, clients ...*StoreClient) {
	s.Restore(values)
	s.mu.Lock()
	s.replication++
	s.mu.Unlock()
	for _, c := range clients {
		c.Redial()
	}
}

// Keys returns the keys of a kind: s for states, w for wakes, v for verdicts, l for locks, f for failures, n for the
// note.
func (s *MemoryStore) Keys(kind string) (keys []string) {
	for key := range s.Snapshot() {
		if strings.Contains(key, "}:1:"+kind+":") {
			keys = append(keys, key)
		}
	}
	return keys
}

// LoseState removes the states only, as a store does that evicts them.
func (s *MemoryStore) LoseState() {
	for _, key := range s.Keys("s") {
		s.Replace(key, "")
	}
}

// Jump sets the store's clock forward, or back.
func (s *MemoryStore) Jump(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jumped += by
}

// SetEvicts makes the store say that it may evict any key.
func (s *MemoryStore) SetEvicts(evicts bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evicts = evicts
}

// SetFull makes the store say that it has little room left.
func (s *MemoryStore) SetFull(full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = full
}

func (s *MemoryStore) now() int64 { return time.Now().Add(s.jumped).UnixMicro() }

func (s *MemoryStore) get(key string) string {
	v := s.values[key]
	if !v.until.IsZero() && !time.Now().Before(v.until) {
		return ""
	}
	return v.value
}

func (s *MemoryStore) set(key, value string, keep time.Duration) {
	s.values[key] = storedValue{value, time.Now().Add(keep)}
}

func (s *MemoryStore) version(key string) string {
	v := s.get(key)
	return v[:min(12, len(v))]
}

// StoreClient is one Caddy's connection to a MemoryStore, and the module that makes it.
type StoreClient struct {
	*MemoryStore
	Key      string   // the secret
	Old      []string // those before it
	At       fleet.Place
	Patience time.Duration // how long a request waits for an answer; 0: 100ms

	mu       sync.Mutex
	away     bool
	readOnly bool
	delay    func() time.Duration
	lose     func() bool // whether an answer is lost
	calls    map[string]int
	dialled  uint64
	open     int
}

// Client returns a connection for a Caddy with that secret.
func (s *MemoryStore) Client(secret string) *StoreClient {
	return &StoreClient{
		MemoryStore: s, Key: secret, At: fleet.Place{Server: "redis://store", Database: "0", Prefix: "test"},
		calls: make(map[string]int), dialled: 1,
	}
}

// SetAway cuts the connection, or restores it.
func (c *StoreClient) SetAway(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = away
	c.dialled++
}

// Redial replaces the connection by another one.
func (c *StoreClient) Redial() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialled++
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

// SetLoss sets which answers are lost although the store has changed; nil: none.
func (c *StoreClient) SetLoss(lose func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose = lose
}

// Calls returns how often a method was called.
func (c *StoreClient) Calls(method string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[method]
}

// Open returns how many connections were made and not closed.
func (c *StoreClient) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// message waits as long as a message takes, and returns an error if it does not arrive.
func (c *StoreClient) message(ctx context.Context) error {
	c.mu.Lock()
	away, delay := c.away, c.delay
	c.mu.Unlock()
	if away {
		return ErrStoreDown
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

// do sends a message, changes the store, and waits for the answer. writes is whether the store takes values.
func (c *StoreClient) do(ctx context.Context, method string, change func(writes bool)) error {
	c.mu.Lock()
	c.calls[method]++
	dialled := c.dialled
	c.mu.Unlock()
	if err := c.message(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	cut, writes, lose := c.dialled != dialled, !c.readOnly, c.lose
	c.mu.Unlock()
	if cut {
		return ErrStoreDown
	}
	c.MemoryStore.mu.Lock()
	change(writes)
	c.MemoryStore.mu.Unlock()
	if err := c.message(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	cut = c.dialled != dialled
	c.mu.Unlock()
	if cut || lose != nil && lose() {
		return ErrStoreDown
	}
	return nil
}

// Look implements fleet.Connection.
func (c *StoreClient) Look(ctx context.Context, q fleet.LookQuery) (reply fleet.LookReply, err error) {
	err = c.do(ctx, "Look", func(writes bool) {
		failures := c.get(q.Failures)
		reply = fleet.LookReply{Time: c.now(), Paid: failures[:min(16, len(failures))]}
		found := false
		for _, r := range q.Rings {
			verdict := c.get(r.Verdict)
			if r.Unwanted != "" && strings.HasPrefix(verdict, r.Unwanted) {
				verdict = ""
			}
			found = found || verdict != ""
			reply.Rings = append(reply.Rings, fleet.Looked{Version: c.version(r.State), Verdict: verdict})
		}
		if found {
			return
		}
		if c.get(q.Lock) == "" && q.LockFor > 0 && writes {
			c.set(q.Lock, q.Owner, q.LockFor)
		}
		reply.Holder = c.get(q.Lock)
	})
	return reply, err
}

// Done implements fleet.Connection.
func (c *StoreClient) Done(ctx context.Context, q fleet.DoneQuery) error {
	refused := false
	err := c.do(ctx, "Done", func(writes bool) {
		if !writes {
			refused = q.Value != nil || q.Cost > 0
			return
		}
		switch {
		case q.Value != nil:
			c.set(q.Verdict, string(q.Value), q.Keep)
		case q.Delete:
			delete(c.values, q.Verdict)
		}
		if c.get(q.Lock) == q.Owner {
			delete(c.values, q.Lock)
		}
		if q.Cost > 0 {
			c.charge(q)
		}
	})
	if err == nil && refused {
		err = fleet.ErrRefused
	}
	return err
}

func (c *StoreClient) charge(q fleet.DoneQuery) {
	now, paid, known := c.now(), int64(0), ""
	if v := c.get(q.Failures); v != "" {
		paid, _ = strconv.ParseInt(v[:16], 10, 64)
		known = v[16:]
	}
	if paid <= now {
		paid, known = now, ""
	}
	if q.Fingerprint != "" && strings.Contains(known, q.Fingerprint) {
		return
	}
	known += q.Fingerprint
	known = known[max(0, len(known)-8*q.Most):]
	paid = min(paid+q.Cost.Microseconds(), now+q.Window.Microseconds())
	c.set(q.Failures, fmt.Sprintf("%016d%s", paid, known), time.Duration(paid-now)*time.Microsecond)
}

// Publish implements fleet.Connection.
func (c *StoreClient) Publish(
	ctx context.Context, at fleet.StateKeys, version string, state []byte,
) (ok bool, err error) {
	refused := false
	err = c.do(ctx, "Publish", func(writes bool) {
		if ok = c.version(at.State) == version; !ok {
			return
		}
		if refused = !writes; refused {
			return
		}
		c.values[at.State] = storedValue{value: string(state)}
		c.wakes++
		c.values[at.Wake] = storedValue{value: fmt.Sprintf("%d-0", c.wakes)}
		close(c.changed)
		c.changed = make(chan struct{})
		if c.Published != nil {
			c.Published(c, at.State, string(state))
		}
	})
	if err == nil && refused {
		err = ErrStoreReadOnly
	}
	return ok && err == nil, err
}

// Sync implements fleet.Connection.
func (c *StoreClient) Sync(ctx context.Context, q fleet.SyncQuery) (reply fleet.SyncReply, err error) {
	err = c.do(ctx, "Sync", func(writes bool) {
		reply = fleet.SyncReply{Time: c.now(), Full: c.full, Evicts: c.evicts}
		reply.Replication = fmt.Sprintf("%040x", c.replication)
		if q.Write != "" {
			reply.Note = c.get(q.Note)
			if writes {
				c.set(q.Note, q.Write, 3*time.Minute)
			}
		}
		for i, r := range q.Rings {
			found := fleet.Synced{Version: c.version(r.State), Wake: c.get(r.Wake)}
			if found.Version != q.Known[i] {
				found.State = c.get(r.State)
			}
			reply.Rings = append(reply.Rings, found)
		}
	})
	return reply, err
}

// connection is the fleet.Connection that a client makes.
type connection struct{ *StoreClient }

// Wait implements fleet.Connection.
func (c *connection) Wait(ctx context.Context, rings []fleet.StateKeys, after []string, patience time.Duration) error {
	var changed chan struct{}
	woken := false
	if err := c.do(ctx, "Wait", func(bool) {
		changed = c.changed
		for i, r := range rings {
			woken = woken || c.get(r.Wake) != after[i]
		}
	}); err != nil || woken {
		return err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-changed:
		return c.message(ctx)
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Dialled implements fleet.Connection.
func (c *StoreClient) Dialled() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dialled
}

// Timeout implements fleet.Connection.
func (c *StoreClient) Timeout() time.Duration {
	if c.Patience > 0 {
		return c.Patience
	}
	return 100 * time.Millisecond
}

// String implements fleet.Connection.
func (c *StoreClient) String() string { return "a double" }

// Close implements fleet.Connection.
func (c *StoreClient) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
}

// Place implements fleet.Module.
func (c *StoreClient) Place() fleet.Place { return c.At }

// Secrets implements fleet.Module.
func (c *StoreClient) Secrets() [][]byte {
	secrets := [][]byte{[]byte(c.Key)}
	for _, old := range c.Old {
		secrets = append(secrets, []byte(old))
	}
	return secrets
}

// Connect implements fleet.Module.
func (c *StoreClient) Connect() fleet.Connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open++
	return &connection{c}
}

// With returns the same connection with other secrets, the new one first.
func (c *StoreClient) With(secrets ...string) *StoreClient {
	other := c.MemoryStore.Client(secrets[0])
	other.Old, other.At, other.Patience = secrets[1:], c.At, c.Patience
	return other
}

// Interface guards
var (
	_ fleet.Module     = (*StoreClient)(nil)
	_ fleet.Connection = (*connection)(nil)
)
