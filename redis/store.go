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

// errForeign says that a key holds what this package did not write.
var errForeign = errors.New("an answer does not have the expected form; give frappe_auth a prefix that no other program uses")

// pageSize is how many entries of the log are read at once.
const pageSize = 1000

func (s *Store) valueKey(name string) string { return s.prefix + "value:" + name }
func (s *Store) lockKey(name string) string  { return s.prefix + "lock:" + name }
func (s *Store) debtKey(name string) string  { return s.prefix + "debt:" + name }
func (s *Store) logKey() string              { return s.prefix + "revocations" }

// Get implements frappe.Store.
func (s *Store) Get(ctx context.Context, name string) ([]byte, error) {
	return call(ctx, s.connection, func(ctx context.Context, client rueidis.Client) ([]byte, error) {
		value, err := client.Do(ctx, client.B().Get().Key(s.valueKey(name)).Build()).AsBytes()
		if rueidis.IsRedisNil(err) {
			return nil, nil
		}
		return value, err
	})
}

// Set implements frappe.Store.
func (s *Store) Set(ctx context.Context, name string, value []byte, ttl time.Duration) error {
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
func (s *Store) Lock(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	return call(ctx, s.connection, func(ctx context.Context, client rueidis.Client) (bool, error) {
		return lockScript.Exec(ctx, client, []string{s.lockKey(name)}, []string{owner, milliseconds(ttl)}).AsBool()
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

// Read implements frappe.Store. An entry that another program wrote has an empty epoch.
func (s *Store) Read(ctx context.Context, after frappe.Position, patience time.Duration) ([]frappe.LogEntry, error) {
	inner, cancel := context.WithTimeout(ctx, patience+maxCall)
	defer cancel()
	return wait(ctx, s.connection, inner, func(ctx context.Context, client rueidis.Client) ([]frappe.LogEntry, error) {
		entries, err := s.page(ctx, client, after, patience)
		for page := entries; err == nil && len(page) == pageSize; {
			page, err = s.page(ctx, client, page[len(page)-1].Position, 0)
			entries = append(entries, page...)
		}
		if err != nil || len(entries) > 0 {
			return entries, err
		}
		if entries, err = s.last(ctx, client); err != nil || len(entries) > 0 {
			return entries, err
		}
		if err = startScript.Exec(ctx, client, []string{s.logKey()}, []string{rand.Text()}).Error(); err != nil {
			return nil, err
		}
		if entries, err = s.last(ctx, client); err == nil && len(entries) == 0 {
			err = errors.New("the log of revocations was deleted while it was read")
		}
		return entries, err
	})
}

// page returns the entries after a position, up to pageSize, and waits for the first one. After the zero Position it does
// not wait.
func (s *Store) page(ctx context.Context, client rueidis.Client, after frappe.Position, patience time.Duration) ([]frappe.LogEntry, error) {
	if after.ID == "" {
		after.ID, patience = "0-0", 0
	}
	read := client.B().Xread().Count(pageSize)
	var command rueidis.Completed
	if patience > 0 {
		command = read.Block(max(1, patience.Milliseconds())).Streams().Key(s.logKey()).Id(after.ID).Build()
	} else {
		command = read.Streams().Key(s.logKey()).Id(after.ID).Build()
	}
	streams, err := client.Do(ctx, command).AsXRead()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	return logEntries(streams[s.logKey()]), err
}

// last returns the last entry of the log, if there is one.
func (s *Store) last(ctx context.Context, client rueidis.Client) ([]frappe.LogEntry, error) {
	entries, err := client.Do(ctx, client.B().Xrevrange().Key(s.logKey()).End("+").Start("-").Count(1).Build()).AsXRange()
	return logEntries(entries), err
}

func logEntries(found []rueidis.XRangeEntry) []frappe.LogEntry {
	entries := make([]frappe.LogEntry, 0, len(found))
	for _, entry := range found {
		e := frappe.LogEntry{Position: frappe.Position{ID: entry.ID}}
		sequence, err := strconv.ParseUint(entry.FieldValues["s"], 10, 64)
		if err == nil {
			e.Epoch, e.Sequence, e.Data = entry.FieldValues["e"], sequence, []byte(entry.FieldValues["d"])
		}
		entries = append(entries, e)
	}
	return entries
}

// Reset implements frappe.Store.
func (s *Store) Reset(ctx context.Context, epoch string) error {
	return s.do(ctx, func(ctx context.Context, client rueidis.Client) error {
		return resetScript.Exec(ctx, client, []string{s.logKey()}, []string{epoch, rand.Text()}).Error()
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
