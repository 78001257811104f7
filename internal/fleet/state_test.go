package fleet

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

// TestCurrent: a verdict is current if it is of the state's generation, and neither everything nor one of its tags was
// revoked since.
func TestCurrent(t *testing.T) {
	s := &state{generation: 7, floor: 100, last: 200, tags: map[uint64]uint64{1: 150, 2: 200}}
	for _, test := range []struct {
		name              string
		generation, stamp uint64
		tags              []uint64
		want              bool
	}{
		{"of the last stamp", 7, 200, []uint64{1, 2}, true},
		{"of the floor", 7, 100, []uint64{3}, true},
		{"its tag was revoked before", 7, 150, []uint64{1}, true},
		{"its tag was revoked since", 7, 149, []uint64{1}, false},
		{"another tag of it was revoked since", 7, 160, []uint64{1, 2}, false},
		{"everything was revoked since", 7, 99, []uint64{3}, false},
		{"of another generation", 8, 200, []uint64{3}, false},
		{"of a later state", 7, 201, []uint64{3}, false},
	} {
		if got := s.current(test.generation, test.stamp, test.tags); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}

// TestCurrentAt: in a ring that a verdict is not from, the time of its confirmation counts, with slack.
func TestCurrentAt(t *testing.T) {
	const second = 1_000_000
	slackMicros := slack.Microseconds()
	s := &state{floor: 10 * second << 12, last: 30 * second << 12, tags: map[uint64]uint64{1: 20 * second << 12}}
	for _, test := range []struct {
		name      string
		confirmed int64
		tag       uint64
		want      bool
	}{
		{"after its revocation", 20*second + slackMicros + 1, 1, true},
		{"at once after its revocation", 20*second + slackMicros, 1, false},
		{"before its revocation", 15 * second, 1, false},
		{"after the floor", 10*second + slackMicros + 1, 2, true},
		{"at the floor", 10*second + slackMicros, 2, false},
		{"before the floor", 5 * second, 2, false},
		{"before all times", -1, 2, false},
	} {
		if got := s.currentAt(test.confirmed, []uint64{test.tag}); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}

// TestChanges: what one state has lost of another, what it revokes besides, and what it lacks as that of a newer
// secret.
func TestChanges(t *testing.T) {
	known := &state{generation: 7, floor: 100, last: 200, tags: map[uint64]uint64{1: 150, 2: 200}}
	everything := Revocation{Everything: true}
	for _, test := range []struct {
		name           string
		newer          state
		lacks          bool
		since, missing Revocation
	}{
		{"the same", *known, false, Revocation{}, Revocation{}},
		{
			"a tag more",
			state{generation: 7, floor: 100, last: 250, tags: map[uint64]uint64{1: 150, 2: 200, 3: 250}},
			false,
			Revocation{Tags: []uint64{3}},
			Revocation{},
		},
		{
			"a tag again",
			state{generation: 7, floor: 100, last: 250, tags: map[uint64]uint64{1: 250, 2: 200}},
			false,
			Revocation{Tags: []uint64{1}},
			Revocation{},
		},
		{
			"a tag less",
			state{generation: 7, floor: 100, last: 250, tags: map[uint64]uint64{2: 200, 3: 250}},
			true,
			Revocation{Tags: []uint64{3}},
			Revocation{Tags: []uint64{1}},
		},
		{
			"an older stamp",
			state{generation: 7, floor: 100, last: 200, tags: map[uint64]uint64{1: 149, 2: 200}},
			true,
			Revocation{Tags: []uint64{1}},
			Revocation{Tags: []uint64{1}},
		},
		{
			"an earlier last stamp",
			state{generation: 7, floor: 100, last: 199, tags: map[uint64]uint64{1: 150, 2: 200}},
			true,
			Revocation{},
			Revocation{},
		},
		{
			"a lower floor",
			state{generation: 7, floor: 99, last: 200, tags: map[uint64]uint64{1: 150, 2: 200}},
			true, everything, everything,
		},
		{
			"a floor above a known tag",
			state{generation: 7, floor: 150, last: 250, tags: map[uint64]uint64{2: 200, 3: 250}},
			false,
			Revocation{Tags: []uint64{3}},
			Revocation{},
		},
		{
			"a floor that nobody knows",
			state{generation: 7, floor: 180, last: 250, tags: map[uint64]uint64{2: 200}},
			false, everything,
			Revocation{},
		},
		{
			"another generation",
			state{generation: 8, floor: 100, last: 200, tags: map[uint64]uint64{1: 150, 2: 200}},
			false, everything,
			Revocation{},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := known.lacks(&test.newer); got != test.lacks {
				t.Errorf("it has lost something: %t, want %t", got, test.lacks)
			}
			if got := known.since(&test.newer); !reflect.DeepEqual(got, test.since) {
				t.Errorf("it revokes %v, want %v", got, test.since)
			}
			got := known.missing(&test.newer)
			slices.Sort(got.Tags)
			if !reflect.DeepEqual(got, test.missing) {
				t.Errorf("it lacks %v, want %v", got, test.missing)
			}
			both := known.joined(&test.newer)
			if both.lacks(known) && known.lacks(both) || known.lacks(both) || (&test.newer).lacks(both) {
				t.Errorf("joined, they have lost something: %v", both)
			}
		})
	}
}

// TestClock: a clock that goes back by more than the slack is noticed, whatever the messages take; one that goes
// forward, or is a little slower, is not.
func TestClock(t *testing.T) {
	const second = 1_000_000
	for _, test := range []struct {
		name  string
		store []int64 // readings of the store's clock, one each second
		takes int64   // to hear one
		back  bool
	}{
		{"right", []int64{100 * second, 101 * second, 102 * second}, 0, false},
		{"right, heard late", []int64{100*second + 200, 101*second + 900, 102*second + 100}, 1000, false},
		{"forward", []int64{100 * second, 110 * second, 111 * second}, 0, false},
		{"back", []int64{100 * second, 101 * second, 101*second + second/2}, 0, true},
		{"back by less than the slack", []int64{100 * second, 101*second - 99_000}, 0, false},
		{"back after it went forward", []int64{100 * second, 110 * second, 110*second + second/2}, 0, true},
		{"a little slow", []int64{100 * second, 101*second - 1000, 102*second - 2000}, 0, false},
	} {
		var c clock
		back := false
		for i, reading := range test.store {
			sent := int64(i) * second
			back = c.heard(reading, sent, sent+test.takes) || back
		}
		if back != test.back {
			t.Errorf("%s: noticed %t, want %t", test.name, back, test.back)
		}
	}
}

// TestAge: a verdict from the future of the store's clock has no age.
func TestAge(t *testing.T) {
	now := time.Now()
	f := &fleet{registry: NewRegistry(func() time.Time { return now }, func() float64 { return 0 })}
	l := &Lookup{member: &Member{fleet: f}, sent: now}
	l.reply.Time = now.UnixMicro()
	for _, test := range []struct {
		confirmed, wall time.Duration // after now
		age             time.Duration
		ok              bool
	}{
		{-time.Minute, -time.Minute, time.Minute + slack, true},
		{-time.Minute, -time.Hour, time.Hour, true},
		{-time.Minute, time.Hour, time.Minute + slack, true},
		{time.Second, -time.Minute, 0, false},
	} {
		age, ok := l.age(now.Add(test.confirmed).UnixMicro(), now.Add(test.wall).UnixMicro())
		if ok != test.ok || ok && (age-test.age).Abs() > time.Millisecond {
			t.Errorf("%v: %s %t", test, age, ok)
		}
	}
}
