package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

	// renewEvery is how often a connection is replaced at most because Redis is read-only.
	renewEvery = 5 * time.Second
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
	renew   chan struct{} // asks for a new client, since Redis is read-only
	calls   chan struct{} // one element for each call under way
	current atomic.Pointer[attempt]
}

// attempt is the last attempt to connect: a client, or an error.
type attempt struct {
	client rueidis.Client
	err    error
}

// connect begins to connect, and returns at once.
func connect(a *address) *connection {
	c := &connection{
		address: a,
		done:    make(chan struct{}),
		tried:   make(chan struct{}),
		renew:   make(chan struct{}, 1),
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

// run connects, and connects anew when Redis turns out to be read-only: it may have failed over to another server behind
// the same name. The library itself replaces connections that were lost.
func (c *connection) run() {
	defer close(c.done)
	var client rueidis.Client
	for c.ended.Err() == nil {
		fresh := c.open(client)
		if client != nil && fresh != nil {
			client.Close()
		}
		if fresh != nil {
			client = fresh
		}
		pause(c.ended, renewEvery)
		select {
		case <-c.renew:
		case <-c.ended.Done():
		}
	}
	if client != nil {
		client.Close()
	}
}

// open connects, with growing waits. If there is a client already, it tries once.
func (c *connection) open(client rueidis.Client) rueidis.Client {
	for wait := minWait; ; wait = min(2*wait, maxConnectWait) {
		fresh, err := rueidis.NewClient(c.address.within(c.ended, limits{bulk: maxBulk, answers: maxAnswers}))
		if err == nil {
			c.current.Store(&attempt{client: fresh})
		} else if client == nil {
			c.current.Store(&attempt{err: err})
		}
		select {
		case <-c.tried:
		default:
			close(c.tried)
		}
		if err == nil {
			return fresh
		}
		if client != nil || !pause(c.ended, jitter(wait)) {
			return nil
		}
	}
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

// ready returns the client. It waits for the first attempt to connect only.
func (c *connection) ready(ctx context.Context) (rueidis.Client, error) {
	select {
	case <-c.tried:
	case <-ctx.Done():
		return nil, errNotYet
	case <-c.ended.Done():
	}
	a := c.current.Load()
	return a.client, a.err
}

// command is a command or a script, and what to make of its answer.
type command[T any] func(ctx context.Context, client rueidis.Client) (T, error)

// call runs a command. It returns when ctx is done, even if the command is not: the library waits for a connection that
// is being established.
func call[T any](ctx context.Context, c *connection, run command[T]) (T, error) {
	return wait(ctx, c, c.ended, maxCall, run)
}

// wait runs a command until ctx is done. The command itself may go on until outlive is done, and for that long at most.
func wait[T any](ctx context.Context, c *connection, outlive context.Context, atMost time.Duration, run command[T]) (T, error) {
	type result struct {
		value T
		err   error
	}
	var r result
	client, err := c.ready(ctx)
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
		value, err := run(inner, client)
		if newer := c.current.Load().client; newer != nil && newer != client && errors.Is(err, rueidis.ErrClosing) {
			value, err = run(inner, newer) // it was replaced just now, and refused the command
		}
		returned <- result{value, err}
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
	if answer, ok := rueidis.IsRedisErr(err); ok && strings.Contains(answer.Error(), "READONLY ") {
		select {
		case c.renew <- struct{}{}:
		default:
		}
	}
	return fmt.Errorf("%s: %w", c.address, c.address.public(err))
}
