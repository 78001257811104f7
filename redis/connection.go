package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyserver/caddy/v2"
)

const (
	// maxCall is how long a command may take, whether or not its caller still waits. It lets a slow connection be
	// established that no single request would wait for.
	maxCall = dialTimeout

	// maxCalls is how many commands may be under way at once. More fail at once, so that a Redis that hangs does not
	// collect them.
	maxCalls = 1024

	minWait = 100 * time.Millisecond
	maxWait = 30 * time.Second

	// maxConnectWait is the longest wait between two attempts to connect a store. A store is back soon after Redis is.
	maxConnectWait = 2 * time.Second

	// renewEvery is the longest wait between two attempts to find a better server than the current one, which fails or
	// is read-only.
	renewEvery = 5 * time.Second

	// askEvery is how often Sentinels are asked where the primary is.
	askEvery = time.Second
)

var (
	errBusy   = errors.New("too many commands wait for an answer")
	errNotYet = errors.New("not connected yet")
)

// connections holds one connection for each address, by its key.
var connections = caddy.NewUsagePool()

// connection is what all stores with the same address share.
type connection struct {
	address *address
	ended   context.Context // done when the connection is closed
	end     context.CancelFunc
	done    chan struct{} // closed when run has returned
	tried   chan struct{} // closed after the first attempt to connect
	renew   chan string   // asks for another server; to which one, if that is known
	calls   chan struct{} // one element for each call under way
	current atomic.Pointer[attempt]
}

// attempt is the last attempt to connect: a link, or an error.
type attempt struct {
	*link
	err    error
	number uint32
}

// connect begins to connect, and returns at once.
func connect(a *address) *connection {
	c := &connection{
		address: a,
		done:    make(chan struct{}),
		tried:   make(chan struct{}),
		renew:   make(chan string, 1),
		calls:   make(chan struct{}, maxCalls),
	}
	c.ended, c.end = context.WithCancel(context.Background())
	c.current.Store(&attempt{err: errNotYet})
	go c.run()
	return c
}

// Destruct closes the connection. Calls that are under way fail.
func (c *connection) Destruct() error {
	c.end()
	<-c.done
	return nil
}

// run keeps the connection up, whatever happens to it.
func (c *connection) run() {
	defer close(c.done)
	for wait := minWait; c.ended.Err() == nil; wait = min(2*wait, maxWait) {
		c.tell(&attempt{err: safely(c.follow)})
		pause(c.ended, jitter(wait))
	}
}

// tell makes an attempt known.
func (c *connection) tell(a *attempt) {
	a.number = c.current.Load().number + 1
	c.current.Store(a)
	select {
	case <-c.tried:
	default:
		close(c.tried)
	}
}

// follow connects, and connects anew when the server fails or is read-only: another one may have taken its place,
// behind the same name or not. The library itself replaces connections that were lost.
func (c *connection) follow() error {
	f := finder{address: c.address, sentinels: sentinels{address: c.address}}
	defer f.sentinels.close()
	var now *link
	defer func() {
		if now != nil {
			now.client.Close()
		}
	}()
	wait := minWait
	for c.ended.Err() == nil {
		fresh, err := f.connect(c.ended)
		switch {
		case err == nil:
			c.tell(&attempt{link: fresh})
			if now != nil {
				now.client.Close()
			}
			now = fresh
		case now == nil:
			c.tell(&attempt{err: err})
			pause(c.ended, jitter(wait))
			wait = min(2*wait, maxConnectWait)
			continue
		}
		began := time.Now()
		pause(c.ended, jitter(wait))
		f.moved = c.hint(&f.sentinels, now)
		if wait = min(2*wait, renewEvery); time.Since(began) > renewEvery {
			wait = minWait
		}
	}
	return errNotYet
}

// hint returns when there may be a better server than the current one. It returns which one, if a node of a Cluster
// said so.
func (c *connection) hint(s *sentinels, now *link) (moved string) {
	var ticks <-chan time.Time
	if c.address.masterSet != "" {
		ticker := time.NewTicker(askEvery)
		defer ticker.Stop()
		ticks = ticker.C
	}
	for {
		select {
		case moved = <-c.renew:
			return moved
		case <-c.ended.Done():
			return ""
		case <-ticks:
			if to, err := s.primary(c.ended); err == nil && to != now.where {
				return ""
			}
		}
	}
}

// safely runs what uses the library, which panics at times.
func safely(run func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the client of Redis failed: %v", p)
		}
	}()
	return run()
}

// pause waits. It returns false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// jitter shortens a wait at random by up to a half, so that many Caddys do not come at once.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1) //nolint:gosec // nobody gains from guessing it
}

// ready returns the link. It waits for the first attempt to connect only.
func (c *connection) ready(ctx context.Context) (*link, error) {
	select {
	case <-c.tried:
	case <-ctx.Done():
		return nil, errNotYet
	case <-c.ended.Done():
	}
	a := c.current.Load()
	return a.link, a.err
}

// command is a command or a script, and what to make of its answer.
type command[T any] func(ctx context.Context, client rueidis.Client) (T, error)

// call runs a command. It returns when ctx is done, even if the command is not: the library waits for a connection that
// is being established.
func call[T any](ctx context.Context, c *connection, run command[T]) (T, error) {
	return wait(ctx, c, c.ended, maxCall, run)
}

// wait runs a command until ctx is done. The command itself may go on until outlive is done, and for that long at most.
func wait[T any](
	ctx context.Context, c *connection, outlive context.Context, atMost time.Duration, run command[T],
) (T, error) {
	type result struct {
		value T
		err   error
	}
	var r result
	l, err := c.ready(ctx)
	if err != nil {
		return r.value, c.failed(err)
	}
	select {
	case c.calls <- struct{}{}:
	default:
		return r.value, c.failed(errBusy)
	}
	returned := make(chan result, 1)
	go func() {
		defer func() { <-c.calls }()
		inner, cancel := context.WithTimeout(outlive, atMost)
		defer cancel()
		var r result
		r.err = safely(func() (err error) { r.value, err = run(inner, l.client); return err })
		if newer := c.current.Load().link; newer != nil && newer != l && errors.Is(r.err, rueidis.ErrClosing) {
			// it was replaced just now, and refused the command
			r.err = safely(func() (err error) { r.value, err = run(inner, newer.client); return err })
		}
		c.judge(r.err, l)
		returned <- r
	}()
	select {
	case r = <-returned:
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	if r.err != nil {
		return r.value, c.failed(r.err)
	}
	return r.value, nil
}

// failed adds the address to an error.
func (c *connection) failed(err error) error {
	return fmt.Errorf("%s: %w", c.address, c.address.public(err))
}

// judge asks for another server if the error of a command suggests that there is a better one.
func (c *connection) judge(err error, l *link) {
	var moved string
	if answer, refused := errors.AsType[*rueidis.RedisError](err); refused {
		switch text := answer.Error(); {
		case strings.HasPrefix(text, "MOVED "):
			if moved, err = l.nodeOf(text); err != nil {
				return
			}
		case !strings.Contains(text, "READONLY ") && !strings.HasPrefix(text, "CLUSTERDOWN "):
			return
		}
	} else if !isLost(err) {
		return
	}
	c.askRenewal(moved)
}

// askRenewal asks for another server; to names it, if it is known.
func (c *connection) askRenewal(to string) {
	select {
	case c.renew <- to:
	default:
	}
}

// epoch is another number after a command may have gone over another connection, or to another server, which may have
// lost what was written before.
func (c *connection) epoch() uint64 {
	a := c.current.Load()
	if a.link == nil {
		return 0
	}
	return uint64(a.number)<<32 | uint64(a.link.dialled.Load())
}

// isLost reports whether an error is that of a connection, and not of the command.
func isLost(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network && !errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
