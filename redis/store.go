package redis

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/fleet"
)

// noteFor is how long Redis keeps the note by which Caddys with different secrets see each other.
const noteFor = 3 * time.Minute

// errForeign says that an answer is not one of the scripts.
var errForeign = errors.New("an answer does not have the expected form; " +
	"give frappe_auth a prefix that no other program uses")

// storeClient is a use of a connection. Its methods implement fleet.Connection: each runs one of the scripts.
type storeClient struct {
	connection *connection
	timeout    time.Duration
	close      func()
}

// Connect implements fleet.Module.
func (s *Store) Connect() fleet.Connection {
	c := s.connection
	connections.LoadOrStore(c.address.key, c) // one more use
	return &storeClient{connection: c, timeout: time.Duration(s.RequestTimeout), close: sync.OnceFunc(func() {
		_, _ = connections.Delete(c.address.key)
	})}
}

// run runs a script. Its answer is a list, of which numbers are texts as well.
func (l *storeClient) run(ctx context.Context, script *rueidis.Lua, keys, args []string, want int) ([]string, error) {
	return call(ctx, l.connection, func(ctx context.Context, client rueidis.Client) ([]string, error) {
		values, err := script.Exec(ctx, client, keys, args).ToArray()
		if err != nil {
			return nil, err
		}
		if len(values) != want {
			return nil, errForeign
		}
		answer := make([]string, len(values))
		for i, v := range values {
			if n, err := v.AsInt64(); err == nil && v.IsInt64() {
				answer[i] = strconv.FormatInt(n, 10)
			} else if answer[i], err = v.ToString(); err != nil {
				return nil, errForeign
			}
		}
		return answer, nil
	})
}

// Look implements fleet.Connection.
func (l *storeClient) Look(ctx context.Context, q fleet.LookQuery) (reply fleet.LookReply, err error) {
	keys := append(make([]string, 0, 2+2*len(q.Rings)), q.Lock, q.Failures)
	args := append(make([]string, 0, 2+len(q.Rings)), q.Owner, strconv.FormatInt(q.LockFor.Milliseconds(), 10))
	for _, r := range q.Rings {
		keys, args = append(keys, r.State, r.Verdict), append(args, r.Unwanted)
	}
	answer, err := l.run(ctx, lookScript, keys, args, 3+2*len(q.Rings))
	if err != nil {
		return reply, err
	}
	if reply.Time, err = strconv.ParseInt(answer[0], 10, 64); err != nil {
		return reply, errForeign
	}
	reply.Holder, reply.Paid = answer[1], answer[2]
	for at := 3; at < len(answer); at += 2 {
		reply.Rings = append(reply.Rings, fleet.Looked{Version: answer[at], Verdict: answer[at+1]})
	}
	return reply, nil
}

// Done implements fleet.Connection.
func (l *storeClient) Done(ctx context.Context, q fleet.DoneQuery) error {
	todo := ""
	switch {
	case q.Value != nil:
		todo = "set"
	case q.Delete:
		todo = "delete"
	}
	keys := []string{q.Lock, q.Failures, q.Verdict}
	args := []string{
		q.Owner, todo, rueidis.BinaryString(q.Value), strconv.FormatInt(q.Keep.Milliseconds(), 10),
		strconv.FormatInt(q.Cost.Microseconds(), 10), strconv.FormatInt(q.Window.Microseconds(), 10),
		q.Fingerprint, strconv.Itoa(q.Most),
	}
	refused, err := call(ctx, l.connection, func(ctx context.Context, client rueidis.Client) (string, error) {
		return doneScript.Exec(ctx, client, keys, args).ToString()
	})
	if err != nil || refused == "" {
		return err
	}
	code := errorCode(refused)
	if code == "READONLY" {
		l.connection.askRenewal("")
	}
	return fmt.Errorf("%w: %s", fleet.ErrRefused, code)
}

// inScript is an error of a command in a script. Redis 6.2 writes the line before it; an error may have no code there.
var inScript = regexp.MustCompile(`^(?:@user_script: ?\d+: )?-?([A-Z]+)(?: |$)`)

// errorCode returns the code of such an error, for example READONLY.
func errorCode(text string) string {
	if match := inScript.FindStringSubmatch(text); match != nil {
		return match[1]
	}
	return "the command is not permitted"
}

// Publish implements fleet.Connection.
func (l *storeClient) Publish(ctx context.Context, at fleet.StateKeys, version string, state []byte) (bool, error) {
	keys, args := []string{at.State, at.Wake}, []string{version, rueidis.BinaryString(state)}
	n, err := call(ctx, l.connection, func(ctx context.Context, client rueidis.Client) (int64, error) {
		return publishScript.Exec(ctx, client, keys, args).ToInt64()
	})
	return n == 1, err
}

// Sync implements fleet.Connection.
func (l *storeClient) Sync(ctx context.Context, q fleet.SyncQuery) (reply fleet.SyncReply, err error) {
	keys := append(make([]string, 0, 1+2*len(q.Rings)), q.Note)
	for _, r := range q.Rings {
		keys = append(keys, r.State, r.Wake)
	}
	args := append([]string{q.Write, strconv.FormatInt(noteFor.Milliseconds(), 10)}, q.Known...)
	answer, err := l.run(ctx, syncScript, keys, args, 4+3*len(q.Rings))
	if err != nil {
		return reply, err
	}
	if reply.Time, err = strconv.ParseInt(answer[0], 10, 64); err != nil {
		return reply, errForeign
	}
	reply.Replication, reply.Note = answer[1], answer[3]
	reply.Full, reply.Evicts = answer[2] == "full", answer[2] == "evicts"
	for at := 4; at < len(answer); at += 3 {
		reply.Rings = append(reply.Rings, fleet.Synced{Version: answer[at], State: answer[at+1], Wake: answer[at+2]})
	}
	return reply, nil
}

// Wait implements fleet.Connection.
func (l *storeClient) Wait(ctx context.Context, rings []fleet.StateKeys, after []string, patience time.Duration) error {
	read := func(ctx context.Context, client rueidis.Client) (struct{}, error) {
		keys := make([]string, len(rings))
		for i, r := range rings {
			keys[i] = r.Wake
		}
		command := client.B().Xread().Count(1).Block(patience.Milliseconds()).Streams().Key(keys...).Id(after...).Build()
		err := client.Do(ctx, command).Error()
		if rueidis.IsRedisNil(err) {
			err = nil
		}
		return struct{}{}, err
	}
	_, err := wait(ctx, l.connection, ctx, patience+maxCall, read)
	return err
}

// Dialled implements fleet.Connection.
func (l *storeClient) Dialled() uint64 { return l.connection.epoch() }

// Timeout implements fleet.Connection.
func (l *storeClient) Timeout() time.Duration { return l.timeout }

// String implements fleet.Connection.
func (l *storeClient) String() string { return l.connection.address.String() }

// Close implements fleet.Connection.
func (l *storeClient) Close() { l.close() }

// checkScripts does once what requests do, under names of its own, and compares the clocks.
func (s *Store) checkScripts(ctx context.Context) (findings []frappe.Finding) {
	const check = "commands"
	l := &storeClient{connection: s.connection}
	key := func(kind string) string { return "{" + s.place.Prefix + "}:doctor:" + kind }
	at := fleet.StateKeys{State: key("state"), Wake: key("wake")}
	look := fleet.LookQuery{Lock: key("lock"), Failures: key("failures"), Owner: "doctor"}
	look.Rings = []fleet.LookRing{{State: at.State, Verdict: key("verdict")}}
	var clock fleet.LookReply
	var sent, received time.Time
	verdict := fleet.DoneQuery{Lock: look.Lock, Failures: look.Failures, Verdict: look.Rings[0].Verdict, Owner: look.Owner}
	remove := func(keys ...string) (err error) {
		for _, key := range keys {
			q := fleet.DoneQuery{Lock: look.Lock, Failures: look.Failures, Verdict: key, Delete: true}
			err = errors.Join(err, l.Done(ctx, q))
		}
		return err
	}
	for _, step := range []struct {
		what string
		run  func() error
	}{
		{"look up a verdict", func() (err error) {
			sent = time.Now()
			clock, err = l.Look(ctx, look)
			received = time.Now()
			return err
		}},
		{"store a verdict and count a failure", func() error {
			q := verdict
			q.Value, q.Keep, q.Cost, q.Window, q.Most = []byte("-"), time.Second, time.Millisecond, time.Second, 1
			return l.Done(ctx, q)
		}},
		{"delete it", func() error { return remove(verdict.Verdict) }},
		{"take a lock", func() error {
			look.LockFor = time.Second
			got, err := l.Look(ctx, look)
			if err == nil && got.Holder == "" {
				err = errors.New("SET is refused")
			}
			return err
		}},
		{"compare the state", func() error {
			_, err := l.Sync(ctx, fleet.SyncQuery{Note: key("note"), Rings: []fleet.StateKeys{at}, Known: []string{""}})
			return err
		}},
		{"replace the state", func() error { _, err := l.Publish(ctx, at, "", []byte("-")); return err }},
		{"wait for another state", func() error {
			return l.Wait(ctx, []fleet.StateKeys{at}, []string{"0-0"}, time.Millisecond)
		}},
		{"delete the state", func() error { return remove(at.State, at.Wake) }},
	} {
		if err := step.run(); err != nil {
			findings = append(findings, frappe.Trouble(check,
				"cannot %s: %v; docs/redis.md has the rights that the user needs", step.what, err))
			break
		}
	}
	if len(findings) == 0 {
		findings = append(findings, frappe.OK(check, "all that are needed are allowed"))
	}
	theirs := time.UnixMicro(clock.Time)
	switch skew := max(sent.Sub(theirs), theirs.Sub(received), 0); {
	case clock.Time == 0: // it could not be asked
	case skew > maxSkew:
		findings = append(findings, frappe.Warning("clock",
			"differs from this machine's by %s, so shared verdicts serve that much shorter; run NTP on both",
			skew.Round(time.Second)))
	default:
		findings = append(findings, frappe.OK("clock", "at most %s from this machine's", maxSkew))
	}
	return findings
}

// Interface guards
var (
	_ fleet.Module     = (*Store)(nil)
	_ fleet.Connection = (*storeClient)(nil)
)
