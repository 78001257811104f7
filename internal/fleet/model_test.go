package fleet_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

var (
	modelSeeds = flag.Int("seeds", 24, "how many runs of the model of a fleet")
	modelOnly  = flag.Int("seed", -1, "the only run of the model")
	modelSteps = flag.Int("steps", 1200, "how many steps each of them has")
)

const (
	modelTTL    = 3 * time.Second
	credentials = 8
)

// TestModel runs several Caddys beside a store that loses, lies and is cut off, with clocks that jump, reloads, new
// secrets, and, in every other run, somebody who writes to the store. No grant may serve after ttl, none at a Caddy
// that has acknowledged or heard of its revocation, and none that another Caddy takes from the store after it was
// acknowledged. In the end all that waited is published.
func TestModel(t *testing.T) {
	total := make(map[string]int)
	for seed := range *modelSeeds {
		if *modelOnly >= 0 && seed != *modelOnly {
			continue
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				w := newWorld(t, seed)
				for range *modelSteps {
					w.step()
					if t.Failed() {
						break
					}
				}
				w.settle()
				for what, n := range w.count {
					total[what] += n
				}
			})
		})
	}
	t.Log(total)
	for _, what := range []string{
		"served from memory", "served from the store", "asked", "acknowledged", "generations", "restarts", "reloads",
		"rotations", "attacks", "jumps",
	} {
		if total[what] == 0 && *modelSeeds >= 8 {
			t.Errorf("it never happened: %s", what)
		}
	}
}

// world is a run of the model.
type world struct {
	t            *testing.T
	r            *rand.Rand // with a source that is locked
	evil, clocks bool
	calm         bool
	store        *testutil.MemoryStore

	// mu guards the following, and what modelCaddy and modelRevocation have. It is not held while a fleet or a store is
	// used.
	mu          sync.Mutex
	caddys      []*modelCaddy
	good        [credentials]bool
	revoked     []*modelRevocation
	generations map[uint64]time.Time // when they began
	count       map[string]int
	secrets     []string
	written     []written // what a writer may put back
	snapshots   []map[string]string
	replica     map[string]string

	jumped  time.Time // when the store's clock last went back
	noticed time.Time // when a Caddy that was there before began a generation after that; zero: none did
}

type written struct{ key, value string }

// source is a random source that many goroutines may use.
type source struct {
	mu  sync.Mutex
	pcg *rand.PCG
}

func (s *source) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pcg.Uint64()
}

// locked calls do while nothing else changes the world.
func (w *world) locked(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

func (w *world) counted(what string) { w.locked(func() { w.count[what]++ }) }

// modelRevocation is a revocation at one Caddy.
type modelRevocation struct {
	tag    uint64
	by     *modelCaddy
	made   time.Time
	acked  time.Time // zero: it was not acknowledged
	stamps []uint64
	heard  map[*modelCaddy]bool
}

// modelCaddy is a Caddy with a cache of its own.
type modelCaddy struct {
	w        *world
	born     time.Time
	skew     time.Duration // of its clock
	member   *fleet.Member
	client   *testutil.StoreClient
	detach   func()
	dead     bool
	secrets  int // how many of the world's it has, and which: see secretsOf
	cache    map[int]cached
	revision int
	dropped  map[uint64]int // tag to the revision
	swept    int
}

type cached struct {
	asked time.Time // in truth
	from  time.Time // when it counts as asked
}

// answer is what the backends say.
type answer struct {
	Credential int   `json:"c"`
	Asked      int64 `json:"a"`
}

func newWorld(t *testing.T, seed int) *world {
	w := &world{
		t: t, r: rand.New(&source{pcg: rand.NewPCG(uint64(seed), 1)}), evil: seed%2 == 1, clocks: seed%4 >= 2, calm: seed%3 > 0,
		store: testutil.NewMemoryStore(), generations: make(map[uint64]time.Time), count: make(map[string]int),
		secrets: []string{"the first secret, which has 32 bytes"}, snapshots: []map[string]string{nil},
	}
	for c := range w.good {
		w.good[c] = true
	}
	w.store.Published = w.published
	for range 5 {
		x := w.newCaddy()
		w.locked(func() { w.caddys = append(w.caddys, x) })
	}
	return w
}

func (w *world) newCaddy() *modelCaddy {
	x := &modelCaddy{w: w, born: time.Now(), cache: make(map[int]cached), dropped: make(map[uint64]int)}
	w.locked(func() { x.secrets = w.leastSecrets() })
	skew := time.Duration(0)
	if w.r.IntN(4) == 0 {
		skew = time.Duration(w.r.Float64()*600-300) * time.Second
	}
	x.skew = skew
	registry := fleet.NewRegistry(func() time.Time { return time.Now().Add(skew) }, w.r.Float64)
	x.client = w.newClient(x)
	x.member = registry.Join(x.client.Place(), "backends", x.apply)
	if w.r.IntN(4) > 0 {
		x.member.Generous()
	}
	x.attach(x.client)
	w.counted("starts")
	return x
}

// leastSecrets is how far the Caddys are that have rolled out the fewest secrets.
func (w *world) leastSecrets() int {
	least := 2 * (len(w.secrets) - 1)
	for _, x := range w.caddys {
		if !x.dead {
			least = min(least, x.secrets)
		}
	}
	return least
}

// secretsOf returns the secrets in the step of a roll-out: one; the next and the one before; the next.
func (w *world) secretsOf(step int) []string {
	if step%2 == 0 {
		return []string{w.secrets[step/2]}
	}
	return []string{w.secrets[step/2+1], w.secrets[step/2]}
}

func (w *world) newClient(x *modelCaddy) *testutil.StoreClient {
	var secrets []string
	w.locked(func() { secrets = w.secretsOf(x.secrets) })
	c := w.store.Client("").With(secrets...)
	c.SetDelay(func() time.Duration {
		mean := 2 * time.Millisecond
		if w.r.IntN(50) == 0 {
			mean = 60 * time.Millisecond
		}
		return time.Duration(w.r.ExpFloat64() * float64(mean))
	})
	c.SetLoss(func() bool { return w.r.IntN(40) == 0 })
	return c
}

func (x *modelCaddy) attach(c *testutil.StoreClient) {
	x.w.locked(func() { x.client = c })
	detach, err := x.member.Attach(c, zap.NewNop())
	if err != nil {
		x.w.t.Fatal(err)
	}
	x.detach = detach
}

// synced returns when the last sync began, and the states that may be used.
func (x *modelCaddy) synced() (time.Time, []fleet.Known) {
	began, states := x.member.Synced()
	return began.Add(-x.skew), states
}

func tagsOf(c int) []uint64 { return []uint64{uint64(c + 1), uint64(101 + c%2)} }

// apply drops verdicts from the cache.
func (x *modelCaddy) apply(r fleet.Revocation) {
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	x.revision++
	if r.Everything {
		clear(x.cache)
		x.swept = x.revision
		x.w.count["drops"]++
	}
	for _, tag := range r.Tags {
		x.dropped[tag] = x.revision
		for c := range x.cache {
			if slices.Contains(tagsOf(c), tag) {
				delete(x.cache, c)
			}
		}
	}
}

// droppedSince reports whether a credential was revoked here since a revision.
func (x *modelCaddy) droppedSince(c, revision int) bool {
	for _, tag := range tagsOf(c) {
		if x.dropped[tag] > revision {
			return true
		}
	}
	return x.swept > revision
}

// published takes note of a state that has reached the store.
func (w *world) published(c *testutil.StoreClient, key, value string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written = append(w.written, written{key, value})
	var by *modelCaddy
	for _, x := range w.caddys {
		if x.client == c {
			by = x
		}
	}
	for _, secret := range w.secrets {
		s, ok := fleet.Open(c.Place(), secret, key, value)
		if !ok {
			continue
		}
		if _, known := w.generations[s.Generation]; !known {
			w.generations[s.Generation] = time.Now()
			w.count["generations"]++
			if by != nil && by.born.Before(w.jumped) && w.noticed.IsZero() {
				w.noticed = time.Now()
			}
		}
		for _, r := range w.revoked {
			if s.Tags[r.tag] == s.Last || s.Floor == s.Last {
				r.stamps = append(r.stamps, s.Last)
			}
		}
	}
}

// holds reports whether one of the states has a revocation. A generation that began later has it, too; if a writer has
// undone a publication under one secret, that of the other secret does not count.
func (w *world) holds(states []fleet.Known, r *modelRevocation) bool {
	later := 0
	for _, s := range states {
		if !w.generations[s.Generation].Before(r.made) {
			later++
		}
		for _, stamp := range r.stamps {
			if s.Tags[r.tag] >= stamp || s.Floor >= stamp {
				return true
			}
		}
	}
	return later > 0 && (!w.evil || later == len(states))
}

func (w *world) violation(format string, args ...any) {
	w.t.Helper()
	w.t.Errorf("after %s: %s", time.Since(w.caddys[0].born), fmt.Sprintf(format, args...))
}

// serve grants a credential whose backend was asked at a time. synced is when this Caddy last compared the state.
func (x *modelCaddy) serve(c int, asked, synced time.Time) {
	w := x.w
	if age := time.Since(asked); age > modelTTL {
		excepted := !w.jumped.IsZero() && !x.born.Before(w.jumped) && (w.noticed.IsZero() || synced.Before(w.noticed))
		if !excepted {
			w.violation("a grant serves %s after the backend was asked", age)
		}
	}
	for _, r := range w.revoked {
		if slices.Contains(tagsOf(c), r.tag) && r.made.After(asked) && r.heard[x] {
			w.violation("a Caddy grants what it knows to be revoked")
		}
	}
}

func (x *modelCaddy) request(c int) {
	w := x.w
	began := time.Now()
	synced, _ := x.synced()
	served, revision := false, 0
	w.locked(func() {
		revision = x.revision
		if kept, ok := x.cache[c]; ok && time.Since(kept.from) < modelTTL {
			w.count["served from memory"]++
			x.serve(c, kept.asked, synced)
			served = true
		}
	})
	if served {
		return
	}
	l := x.member.Lookup(fleet.Limit{Client: "client", Max: 20, Window: time.Minute}, fmt.Sprint(c))
	var outcome fleet.Outcome
	defer func() { l.End(outcome) }()
	if l.Find(w.r.IntN(10) > 0, func(v *fleet.Verdict) bool { return x.take(c, v, began, revision) }) {
		return
	}
	l.Wait()
	asked, good, dead := time.Now(), false, false
	w.locked(func() {
		revision, good, dead = x.revision, w.good[c], x.dead
		w.count["asked"]++
	})
	if dead {
		return
	}
	time.Sleep(time.Duration(w.r.ExpFloat64() * float64(10*time.Millisecond)))
	if !good {
		l.Charge()
		outcome.Delete = true
		return
	}
	synced, _ = x.synced()
	w.locked(func() {
		if x.droppedSince(c, revision) {
			return
		}
		x.cache[c] = cached{asked, asked}
		x.serve(c, asked, synced)
		outcome.Plain, _ = json.Marshal(answer{c, asked.UnixNano()})
		outcome.Keep = modelTTL
	})
}

// take takes a verdict of another Caddy, which was looked for since a time and a revision.
func (x *modelCaddy) take(c int, v *fleet.Verdict, began time.Time, revision int) (taken bool) {
	w := x.w
	var a answer
	if json.Unmarshal(v.Plain, &a) != nil || a.Credential != c {
		w.violation("a verdict on something else")
	}
	asked := time.Unix(0, a.Asked)
	synced, states := x.synced()
	current := v.Current(tagsOf(c)...)
	w.locked(func() {
		if v.Age >= modelTTL || !current || x.droppedSince(c, revision) {
			return
		}
		for _, r := range w.revoked {
			concerns := slices.Contains(tagsOf(c), r.tag) && r.made.After(asked)
			if concerns && !r.acked.IsZero() && r.acked.Before(began) && (!w.evil || w.holds(states, r)) {
				w.violation("a revoked verdict is taken from the store")
			}
		}
		x.cache[c] = cached{asked, time.Now().Add(-v.Age)}
		w.count["served from the store"]++
		x.serve(c, asked, synced)
		taken = true
	})
	return taken
}

func (x *modelCaddy) revoke(tag uint64) {
	w := x.w
	r := &modelRevocation{tag: tag, by: x, made: time.Now(), heard: map[*modelCaddy]bool{x: true}}
	tags := []uint64{tag}
	if w.r.IntN(8) == 0 { // then a state cannot hold all of them
		for range 1100 {
			tags = append(tags, w.r.Uint64())
		}
	}
	w.locked(func() { w.revoked = append(w.revoked, r) })
	x.member.Revoke(fleet.Revocation{Tags: tags})
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
		defer cancel()
		if err := x.member.Publish(ctx); err != nil {
			return
		}
		w.locked(func() {
			if !x.dead {
				r.acked = time.Now()
				w.count["acknowledged"]++
			}
		})
	}()
}

// observe takes note of which Caddys have heard of which revocations.
func (w *world) observe() {
	for _, x := range w.caddys {
		synced, states := x.synced()
		w.mu.Lock()
		for _, r := range w.revoked {
			if r.heard[x] || r.acked.IsZero() || !r.acked.Before(synced) || len(states) == 0 {
				continue
			}
			switch {
			case w.holds(states, r):
				r.heard[x] = true
			case !w.evil && len(states) == len(w.secretsOf(x.secrets)):
				w.violation("a state lacks what was acknowledged %s before it was read", synced.Sub(r.acked))
			}
		}
		w.mu.Unlock()
	}
}

func (w *world) step() {
	time.Sleep(time.Duration(w.r.ExpFloat64() * float64(time.Second/150)))
	synctest.Wait()
	w.observe()
	x := w.caddys[w.r.IntN(len(w.caddys))]
	a := w.r.Float64()
	switch {
	case a < .80:
		go x.request(w.r.IntN(credentials))
	case a < .92:
		c, good := w.r.IntN(credentials), false
		w.locked(func() {
			w.good[c] = !w.good[c]
			good = w.good[c]
		})
		if !good || w.r.IntN(5) == 0 {
			tag := tagsOf(c)[0]
			if w.r.IntN(5) == 0 {
				tag = tagsOf(c)[1]
			}
			x.revoke(tag)
		}
	case a < .93:
		x.client.SetAway(w.r.IntN(2) == 0)
	case a < .935:
		w.kill(x)
	case a < .945:
		x.reload(x.secrets)
		w.counted("reloads")
	case a < .95:
		w.rotate(x)
	case a < .955:
		w.snapshots = append(w.snapshots, w.store.Snapshot())
		w.snapshots = w.snapshots[max(0, len(w.snapshots)-4):]
	case a < .96:
		w.replica = w.store.Snapshot()
	case w.calm && w.r.Float64() < .85:
	case a < .972:
		w.fault()
	case a < .976 && w.clocks:
		w.jump()
	case w.evil && a >= .976:
		w.attack()
	}
}

// kill ends a Caddy, and starts another. What only it knew is lost.
func (w *world) kill(x *modelCaddy) {
	x.client.SetAway(true)
	w.locked(func() {
		x.dead = true
		w.revoked = slices.DeleteFunc(w.revoked, func(r *modelRevocation) bool { return r.by == x && r.acked.IsZero() })
	})
	go x.detach()
	next := w.newCaddy()
	w.locked(func() { w.caddys[slices.Index(w.caddys, x)] = next })
}

// reload gives a Caddy another configuration, which may begin with a password that is wrong.
func (x *modelCaddy) reload(secrets int) {
	w := x.w
	w.locked(func() { x.secrets = secrets })
	c, before := w.newClient(x), x.detach
	c.SetAway(w.r.IntN(4) == 0)
	x.attach(c)
	go before()
}

// rotate rolls a new secret out, one Caddy at a time: `new old` everywhere, then `new`.
func (w *world) rotate(x *modelCaddy) {
	w.mu.Lock()
	least := w.leastSecrets()
	if least == 2*(len(w.secrets)-1) {
		if w.r.IntN(4) > 0 {
			w.mu.Unlock()
			return
		}
		w.secrets = append(w.secrets, fmt.Sprintf("another secret, which has 32 bytes: %d", len(w.secrets)))
	}
	w.mu.Unlock()
	if x.secrets > least {
		return
	}
	x.reload(least + 1)
	w.counted("rotations")
}

func (w *world) fault() {
	clients := make([]*testutil.StoreClient, 0, len(w.caddys))
	for _, x := range w.caddys {
		clients = append(clients, x.client)
	}
	switch w.r.IntN(4) {
	case 0:
		w.store.Flush()
		w.counted("flushes")
	case 1:
		keys := slices.Sorted(maps.Keys(w.store.Snapshot()))
		if len(keys) > 0 {
			w.store.Replace(keys[w.r.IntN(len(keys))], "")
		}
		w.counted("evictions")
	case 2:
		w.store.Restart(w.snapshots[w.r.IntN(len(w.snapshots))], clients...)
		w.counted("restarts")
	case 3:
		w.store.Restart(w.replica, clients...)
		w.counted("failovers")
	}
}

func (w *world) jump() {
	by := []time.Duration{
		-time.Hour, -time.Minute, -5 * time.Second, -3 * time.Second, -2 * time.Second, -time.Second, 5 * time.Second, time.Hour,
	}
	jump := time.Duration(float64(by[w.r.IntN(len(by))]) * w.r.Float64())
	w.store.Jump(jump)
	w.counted("jumps")
	if jump < 0 {
		w.locked(func() { w.jumped, w.noticed = time.Now(), time.Time{} })
	}
}

// attack writes to the store what somebody can write who has no secret.
func (w *world) attack() {
	now := w.store.Snapshot()
	w.mu.Lock()
	w.count["attacks"]++
	for key, value := range now {
		if strings.Contains(key, ":v:") {
			w.written = append(w.written, written{key, value})
		}
	}
	latest := w.written[max(0, len(w.written)-len(now)):]
	slices.SortFunc(latest, func(a, b written) int { return strings.Compare(a.key, b.key) })
	written := slices.Clone(w.written)
	w.mu.Unlock()
	keys := slices.Sorted(maps.Keys(now))
	if len(keys) == 0 || len(written) == 0 {
		return
	}
	key, old := keys[w.r.IntN(len(keys))], written[w.r.IntN(len(written))]
	states := w.store.Keys("s")
	slices.Sort(states)
	switch w.r.IntN(6) {
	case 0: // an older value
		w.store.Replace(old.key, old.value)
	case 1: // to another key
		w.store.Replace(key, old.value)
	case 2:
		for _, state := range states {
			w.store.Replace(state, "")
		}
	case 3: // an older state
		for i := range written {
			if older := written[(i+w.r.IntN(len(written)))%len(written)]; strings.Contains(older.key, ":s:") {
				w.store.Replace(older.key, older.value)
				break
			}
		}
	case 4:
		w.store.Replace(key, "no value of ours")
	case 5:
		w.store.Restore(w.snapshots[w.r.IntN(len(w.snapshots))])
	}
}

// settle ends all trouble: then all that waits is published, and all Caddys agree.
func (w *world) settle() {
	defer func() {
		for _, x := range w.caddys {
			x.detach()
		}
		time.Sleep(10 * time.Second)
	}()
	for _, x := range w.caddys {
		x.client.SetAway(false)
		x.client.SetLoss(nil)
	}
	time.Sleep(2 * time.Minute)
	synctest.Wait()
	w.observe()
	var generations, since int
	w.locked(func() { generations = w.count["generations"] })
	time.Sleep(5 * time.Second)
	synctest.Wait()
	w.locked(func() { since = w.count["generations"] })
	if since != generations {
		w.violation("it goes on to begin generations")
	}
	last := make(map[uint64]bool)
	for i, x := range w.caddys {
		_, states := x.synced()
		if len(states) == 0 || x.member.Stats().Pending > 0 {
			w.violation("Caddy %d: %d states, %d revocations wait", i, len(states), x.member.Stats().Pending)
			continue
		}
		for _, s := range states {
			last[s.Last] = true
		}
		w.locked(func() {
			for _, r := range w.revoked {
				if !r.acked.IsZero() && !w.evil && !w.holds(states, r) {
					w.violation("a state lacks what was acknowledged")
				}
			}
		})
	}
	if len(last) > 3 {
		w.violation("the Caddys have %d states", len(last))
	}
}
