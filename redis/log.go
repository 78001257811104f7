package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

const (
	// pageSize is how many entries of the log are read at once.
	pageSize = 200

	// maxRead is how many bytes of data Read returns, about. Older entries are left out: its caller sees a gap. 100,000 entries
	// with a few tags each have less. A page is always within it.
	maxRead = maxAnswer
)

// entry is an entry of the log, and the ID of the one that was the last when it was written.
type entry struct {
	frappe.LogEntry
	before string
}

// Read implements frappe.Store. An entry that another program wrote has an empty epoch. If the log has lost entries up to
// the given position, as a failover to a replica that lags does, Read starts a new epoch: sequence numbers that were given
// out twice would otherwise hide the loss.
func (s *Store) Read(ctx context.Context, after frappe.Position, patience time.Duration) ([]frappe.LogEntry, error) {
	return wait(ctx, s.connection, ctx, patience+maxCall, func(ctx context.Context, client rueidis.Client) ([]frappe.LogEntry, error) {
		entries, err := s.entries(ctx, client, after, patience)
		if err != nil {
			return nil, err
		}
		last := after
		for _, e := range entries {
			if lost(last, e) {
				if err := reset(ctx, client, s.logKey(), e.Epoch); err != nil {
					return nil, err
				}
				if entries, err = s.last(ctx, client); err != nil {
					return nil, err
				}
				break
			}
			last = e.Position
		}
		if len(entries) == 0 {
			return nil, errors.New("the log of revocations was deleted while it was read")
		}
		found := make([]frappe.LogEntry, len(entries))
		for i, e := range entries {
			found[i] = e.LogEntry
		}
		return found, nil
	})
}

// lost reports whether entries between a position and an entry that was read after it were lost, or the position itself.
// Entries that were trimmed are a gap, which callers see for themselves.
func lost(after frappe.Position, e entry) bool {
	switch {
	case e.Epoch != after.Epoch || e.Epoch == "" || e.ID == after.ID:
		return false
	case isBefore(e.ID, after.ID), e.Sequence <= after.Sequence:
		return true
	}
	return e.Sequence == after.Sequence+1 && e.before != after.ID
}

// isBefore compares IDs of entries, which are two numbers each.
func isBefore(a, b string) bool {
	parse := func(id string) (milliseconds, number uint64) {
		first, second, _ := strings.Cut(id, "-")
		milliseconds, _ = strconv.ParseUint(first, 10, 64)
		number, _ = strconv.ParseUint(second, 10, 64)
		return milliseconds, number
	}
	a1, a2 := parse(a)
	b1, b2 := parse(b)
	return a1 < b1 || a1 == b1 && a2 < b2
}

// entries returns the entries after a position. If there are none, it waits for one, and then returns the last one of all.
// If there is no log, it starts one.
func (s *Store) entries(ctx context.Context, client rueidis.Client, after frappe.Position, patience time.Duration) ([]entry, error) {
	if entries, err := s.pages(ctx, client, after, patience); err != nil || len(entries) > 0 {
		return entries, err
	}
	entries, err := s.last(ctx, client)
	if err == nil && len(entries) == 0 {
		if err = startScript.Exec(ctx, client, []string{s.logKey()}, []string{rand.Text()}).Error(); err == nil {
			entries, err = s.last(ctx, client)
		}
	}
	if err == nil && len(entries) > 0 && isBefore(after.ID, entries[0].ID) {
		return s.pages(ctx, client, after, 0) // all that came since
	}
	return entries, err
}

// pages returns the entries after a position, and waits for the first one.
func (s *Store) pages(ctx context.Context, client rueidis.Client, after frappe.Position, patience time.Duration) ([]entry, error) {
	entries, err := s.page(ctx, client, after.ID, patience)
	size := sizeOf(entries)
	for page := entries; err == nil && len(page) == pageSize; {
		page, err = s.page(ctx, client, page[len(page)-1].ID, 0)
		if size += sizeOf(page); size > maxRead {
			entries, size = nil, sizeOf(page)
		}
		entries = append(entries, page...)
	}
	return entries, err
}

func sizeOf(page []entry) (size int) {
	for _, e := range page {
		size += len(e.Data)
	}
	return size
}

// page returns the entries after an ID, up to pageSize, and waits for the first one. Without an ID it does not wait.
func (s *Store) page(ctx context.Context, client rueidis.Client, after string, patience time.Duration) ([]entry, error) {
	if after == "" {
		after, patience = "0-0", 0
	}
	read := client.B().Xread().Count(pageSize)
	var command rueidis.Completed
	if patience > 0 {
		command = read.Block(max(1, patience.Milliseconds())).Streams().Key(s.logKey()).Id(after).Build()
	} else {
		command = read.Streams().Key(s.logKey()).Id(after).Build()
	}
	streams, err := client.Do(ctx, command).AsXRead()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	return logEntries(streams[s.logKey()]), err
}

// last returns the last entry of the log, if there is one.
func (s *Store) last(ctx context.Context, client rueidis.Client) ([]entry, error) {
	entries, err := client.Do(ctx, client.B().Xrevrange().Key(s.logKey()).End("+").Start("-").Count(1).Build()).AsXRange()
	return logEntries(entries), err
}

func logEntries(found []rueidis.XRangeEntry) []entry {
	entries := make([]entry, 0, len(found))
	for _, one := range found {
		e := entry{LogEntry: frappe.LogEntry{Position: frappe.Position{ID: one.ID}}}
		sequence, err := strconv.ParseUint(one.FieldValues["s"], 10, 64)
		if err == nil {
			e.Epoch, e.Sequence, e.Data, e.before = one.FieldValues["e"], sequence, []byte(one.FieldValues["d"]), one.FieldValues["p"]
		}
		entries = append(entries, e)
	}
	return entries
}

func reset(ctx context.Context, client rueidis.Client, key, epoch string) error {
	return resetScript.Exec(ctx, client, []string{key}, []string{epoch, rand.Text()}).Error()
}
