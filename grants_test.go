package frappeauth

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// TestGrants drives the LRU of granted verdicts beside golang-lru: after every step both hold the same in the same order.
func TestGrants(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // repeatable on purpose
		size := 1 + random.IntN(600)             // of more than one block
		model, err := simplelru.NewLRU[cacheKey, grant](size, nil)
		if err != nil {
			t.Fatal(err)
		}
		l := newGrants(size)
		for step := range 5000 {
			var k cacheKey
			binary.BigEndian.PutUint32(k[:], random.Uint32N(uint32(size+size/2+1)))
			switch what := random.IntN(1000); {
			case what == 0:
				l.purge()
				model.Purge()
			case what < 3:
				size = 1 + random.IntN(600)
				l.resize(size)
				model.Resize(size)
			case what < 100:
				l.remove(k)
				model.Remove(k)
			case what < 500:
				g := grant{at: int64(step), user: "alice@example.com"}
				if evicted, want := l.add(k, g), model.Add(k, g); evicted != want {
					t.Fatalf("seed %d, step %d: evicted: %v, want %v", seed, step, evicted, want)
				}
			case what < 600:
				g, want := l.peek(k), peeked(model, k)
				if (g == nil) != (want == nil) || g != nil && *g != *want {
					t.Fatalf("seed %d, step %d: peeked at %v, want %v", seed, step, g, want)
				}
			default:
				g := l.get(k)
				if want, known := model.Get(k); (g != nil) != known || g != nil && *g != want {
					t.Fatalf("seed %d, step %d: got %v, want %v, %v", seed, step, g, want, known)
				}
			}
			if l.len() != model.Len() {
				t.Fatalf("seed %d, step %d: %d are kept, want %d", seed, step, l.len(), model.Len())
			}
			if step%50 == 0 && !slices.Equal(keysOf(l), model.Keys()) {
				t.Fatalf("seed %d, step %d: another order", seed, step)
			}
		}
		if longest := 1 + 600; len(l.blocks) > (longest+slotsPerBlock-1)/slotsPerBlock {
			t.Errorf("seed %d: %d blocks", seed, len(l.blocks))
		}
		for k := range l.all() { // what a loop has reached may go
			l.remove(k)
		}
		if l.len() != 0 || len(keysOf(l)) != 0 {
			t.Errorf("seed %d: %d are left", seed, l.len())
		}
		for _, block := range l.blocks {
			for _, s := range block {
				if s.grant != (grant{}) || s.key != (cacheKey{}) {
					t.Fatalf("seed %d: a slot keeps what was removed", seed)
				}
			}
		}
	}
}

func peeked(model *simplelru.LRU[cacheKey, grant], k cacheKey) *grant {
	if g, ok := model.Peek(k); ok {
		return &g
	}
	return nil
}

func keysOf(l *grants) []cacheKey {
	keys := make([]cacheKey, 0, l.len())
	for k := range l.all() {
		keys = append(keys, k)
	}
	return keys
}
