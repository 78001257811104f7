package fleet_test

import (
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestExchange: the answers of a slow store do not add up. A store that answers in time, though slowly, is still used, and the
// lock is released whatever happens.
func TestExchange(t *testing.T) {
	for _, test := range []struct {
		name   string
		delay  time.Duration // of each message, there and back
		most   time.Duration // that the lookup waits
		stored bool
	}{
		{"near", time.Millisecond, 12 * time.Millisecond, true},
		{"far", 15 * time.Millisecond, 180 * time.Millisecond, true},
		{"slow", 45 * time.Millisecond, 300 * time.Millisecond, false},
		{"too slow", 60 * time.Millisecond, 300 * time.Millisecond, false},
		{"hangs", time.Hour, 300 * time.Millisecond, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				store := testutil.NewStore()
				a, b := join(t, store, secret, 0), join(t, store, secret, 0)
				a.client.SetDelay(func() time.Duration { return test.delay })
				asked, _ := a.Begin()
				name := a.Name("key")
				x := a.Exchange()
				began := time.Now()
				x.Get(name)
				unlock := x.Lock(name, func() bool { return x.Get(name) != nil })
				x.Wait(fleet.Limit{Client: "192.0.2.0/32", Max: 4, Window: time.Minute})
				x.Put(name, asked, []byte(`"alice"`), time.Hour)
				unlock()
				if took := time.Since(began); took > test.most {
					t.Errorf("it waits %s", took)
				}
				if stored := b.age("key") != -1; stored != test.stored {
					t.Errorf("the verdict is stored: %t", stored)
				}
			})
		})
	}
}

// TestExchangeWaits: the time that a Caddy waits for another one is not taken from what it has for the store.
func TestExchangeWaits(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewStore()
		a, b := join(t, store, secret, 0), join(t, store, secret, 0)
		b.client.SetDelay(func() time.Duration { return 10 * time.Millisecond })
		asked, _ := b.Begin()
		name := a.Name("key")
		unlock := a.Exchange().Lock(name, func() bool { return false })
		x := b.Exchange()
		released := make(chan func())
		looked := 0
		go func() {
			released <- x.Lock(name, func() bool {
				looked++
				return x.Get(name) != nil
			})
		}()
		time.Sleep(2 * time.Second)
		unlock()
		(<-released)()
		x.Put(name, asked, []byte(`"alice"`), time.Hour)
		if looked < 20 || a.age("key") == -1 {
			t.Errorf("it looked %d times, and the verdict has an age of %s", looked, a.age("key"))
		}
	})
}
