package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

const (
	// maxValue is how long a value may be, in bytes.
	maxValue = 128 << 10

	// maxEntry is how long the data of an entry of the log may be, in bytes. A page of such entries is within maxAnswer.
	maxEntry = 64 << 10
)

var (
	// errForeign says that a key holds what this package did not write.
	errForeign = errors.New("an answer does not have the expected form; give frappe_auth a prefix that no other program uses")

	errTooBig = errors.New("the value is too long")
)

func (s *Store) valueKey(name string) string { return s.prefix + "value:" + name }
func (s *Store) lockKey(name string) string  { return s.prefix + "lock:" + name }
func (s *Store) debtKey(name string) string  { return s.prefix + "debt:" + name }
func (s *Store) logKey() string              { return s.prefix + "revocations" }

// Get implements frappe.Store.
func (s *Store) Get(ctx context.Context, name string) ([]byte, error) {
	return call(ctx, s.connection, func(ctx context.Context, client rueidis.Client) ([]byte, error) {
		// Redis answers with an empty value if there is none. Whoever may write to it must not fill this machine's memory.
		value, err := client.Do(ctx, client.B().Getrange().Key(s.valueKey(name)).Start(0).End(maxValue).Build()).AsBytes()
		switch {
		case err != nil || len(value) == 0:
			return nil, err
		case len(value) > maxValue:
			return nil, errTooBig
		}
		return value, nil
	})
}

// Set implements frappe.Store.
func (s *Store) Set(ctx context.Context, name string, value []byte, ttl time.Duration) error {
	if len(value) > maxValue {
		return errTooBig
	}
	if ttl < time.Millisecond {
		return s.Delete(ctx, name)
	}
	return s.do(ctx, func(ctx context.Context, client rueidis.Client) error {
		return client.Do(ctx, client.B().Set().Key(s.valueKey(name)).Value(rueidis.BinaryString(value)).
			PxMilliseconds(ttl.Milliseconds()).Build()).Error()
	})
}

// Delete implements frappe.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	return s.do(ctx, func(ctx context.Context, client rueidis.Client) error {
		return client.Do(ctx, client.B().Del().Key(s.valueKey(name)).Build()).Error()
	})
}

// Lock implements frappe.Store.
func (s *Store) Lock(ctx context.Context, name, owner string, ttl time.Duration) (holder string, err error) {
	return call(ctx, s.connection, func(ctx context.Context, client rueidis.Client) (string, error) {
		return lockScript.Exec(ctx, client, []string{s.lockKey(name)}, []string{owner, milliseconds(ttl)}).ToString()
	})
}

// Unlock implements frappe.Store.
func (s *Store) Unlock(ctx context.Context, name, owner string) error {
	return s.do(ctx, func(ctx context.Context, client rueidis.Client) error {
		return unlockScript.Exec(ctx, client, []string{s.lockKey(name)}, []string{owner}).Error()
	})
}

// Charge implements frappe.Store.
func (s *Store) Charge(ctx context.Context, name string, cost, limit time.Duration) (time.Duration, error) {
	return call(ctx, s.connection, func(ctx context.Context, client rueidis.Client) (time.Duration, error) {
		microseconds, err := chargeScript.Exec(ctx, client, []string{s.debtKey(name)},
			[]string{strconv.FormatInt(cost.Microseconds(), 10), strconv.FormatInt(limit.Microseconds(), 10)}).AsInt64()
		return time.Duration(microseconds) * time.Microsecond, err
	})
}

// Append implements frappe.Store.
func (s *Store) Append(ctx context.Context, data []byte, keep time.Duration) (frappe.Position, error) {
	if len(data) > maxEntry {
		return frappe.Position{}, errTooBig
	}
	return call(ctx, s.connection, func(ctx context.Context, client rueidis.Client) (frappe.Position, error) {
		return appendTo(ctx, client, s.logKey(), data, keep)
	})
}

func appendTo(ctx context.Context, client rueidis.Client, key string, data []byte, keep time.Duration) (frappe.Position, error) {
	reply, err := appendScript.Exec(ctx, client, []string{key}, []string{rand.Text(), rueidis.BinaryString(data), milliseconds(keep)}).AsStrSlice()
	if err != nil {
		return frappe.Position{}, err
	}
	if len(reply) != 3 {
		return frappe.Position{}, errForeign
	}
	sequence, err := strconv.ParseUint(reply[1], 10, 64)
	if err != nil {
		return frappe.Position{}, errForeign
	}
	return frappe.Position{Epoch: reply[0], Sequence: sequence, ID: reply[2]}, nil
}

// Reset implements frappe.Store.
func (s *Store) Reset(ctx context.Context, epoch string) error {
	return s.do(ctx, func(ctx context.Context, client rueidis.Client) error {
		return reset(ctx, client, s.logKey(), epoch)
	})
}

// Time implements frappe.Store.
func (s *Store) Time(ctx context.Context) (time.Time, error) {
	return call(ctx, s.connection, func(ctx context.Context, client rueidis.Client) (time.Time, error) {
		reply, err := timeScript.Exec(ctx, client, []string{s.logKey()}, nil).AsIntSlice()
		if err != nil {
			return time.Time{}, err
		}
		if len(reply) != 2 {
			return time.Time{}, errForeign
		}
		return time.Unix(reply[0], reply[1]*int64(time.Microsecond)), nil
	})
}

// do runs a command whose answer does not matter.
func (s *Store) do(ctx context.Context, run func(context.Context, rueidis.Client) error) error {
	_, err := call(ctx, s.connection, func(ctx context.Context, client rueidis.Client) (struct{}, error) {
		return struct{}{}, run(ctx, client)
	})
	return err
}

// milliseconds rounds up, since Redis has no duration of 0.
func milliseconds(d time.Duration) string {
	return strconv.FormatInt(max(1, int64(math.Ceil(float64(d)/float64(time.Millisecond)))), 10)
}
