package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// client is a keep-alive connection that does little more than write and read, so that what is measured is the server.
type client struct {
	net.Conn
	answers *bufio.Reader
}

func dial(ctx context.Context, address string) (*client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &client{Conn: conn, answers: bufio.NewReader(conn)}, nil
}

// request is one as wrk sends it.
func request(host, path, authorization string) []byte {
	text := "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n"
	if authorization != "" {
		text += "Authorization: " + authorization + "\r\n"
	}
	return []byte(text + "\r\n")
}

// read reads an answer, which has to say how long it is, and returns its status.
func (c *client) read() (status int, err error) {
	line, err := c.answers.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < len("HTTP/1.1 200") {
		return 0, fmt.Errorf("%q is no status line", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, err
	}
	length := -1
	for {
		if line, err = c.answers.ReadSlice('\n'); err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(": ")); bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errors.New("an answer without Content-Length")
	}
	_, err = c.answers.Discard(length)
	return status, err
}

// warm sends each of the first n credentials once, and wants them all granted.
func warm(ctx context.Context, address string, l load, n, connections int) error {
	var (
		next  atomic.Int64
		wg    sync.WaitGroup
		first = make(chan error, connections)
	)
	for range connections {
		wg.Go(func() {
			if err := warmSome(ctx, address, l, &next, int64(n)); err != nil {
				first <- err
			}
		})
	}
	wg.Wait()
	close(first)
	return <-first
}

func warmSome(ctx context.Context, address string, l load, next *atomic.Int64, n int64) error {
	c, err := dial(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	for i := next.Add(1) - 1; i < n; i = next.Add(1) - 1 {
		if _, err := c.Write(request(address, l.at(), l.credential(int(i)))); err != nil {
			return err
		}
		if status, err := c.read(); err != nil || status != 200 {
			return fmt.Errorf("credential %d: status %d, %w", i, status, err)
		}
	}
	return nil
}

// job is what the process that sends at a constant rate gets as JSON.
type job struct {
	Address       string
	Path          string
	Authorization string
	Rate          float64
	Connections   int
	Duration      time.Duration
	Status        int
}

// constantRate sends requests at a rate that does not depend on the answers, from a process of its own.
func constantRate(ctx context.Context, self string, j job) (outcome, error) {
	raw, err := json.Marshal(j)
	if err != nil {
		return outcome{}, err
	}
	cmd := exec.CommandContext(ctx, self, "rate") //nolint:gosec // this program
	cmd.Stdin = bytes.NewReader(raw)
	result, err := run(cmd)
	if err != nil {
		return outcome{}, err
	}
	var out outcome
	return out, json.Unmarshal(result, &out)
}

// runRate is that process.
func runRate([]string) error {
	var j job
	if err := json.NewDecoder(os.Stdin).Decode(&j); err != nil {
		return err
	}
	runtime.GOMAXPROCS(runtime.NumCPU() + 2) // of which one sleeps in the kernel
	out, err := j.run(context.Background())
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// sender is a connection with at most one request under way.
type sender struct {
	*client
	due       chan time.Time // when that should have been sent
	latencies []float64
}

// run sends each request when it is due, or as soon as a connection is free, and measures from when it was due: what a
// request waits for the ones before it counts, as it does for those who wait.
func (j job) run(ctx context.Context) (outcome, error) {
	free := make(chan *sender, j.Connections)
	all := make([]*sender, j.Connections)
	for i := range all {
		c, err := dial(ctx, j.Address)
		if err != nil {
			return outcome{}, err
		}
		defer c.Close()
		all[i] = &sender{client: c, due: make(chan time.Time, 1)}
		free <- all[i]
	}
	var (
		out outcome
		wg  sync.WaitGroup
		bad atomic.Int64
	)
	failed := make(chan error, 2*j.Connections)
	for _, s := range all {
		wg.Go(func() {
			if err := s.receive(free, j.Status, &bad); err != nil {
				failed <- err
			}
		})
	}
	elapsed, err := j.send(free, failed)
	if err == nil {
		for range all { // every answer has come
			select {
			case s := <-free:
				close(s.due)
			case err = <-failed:
			}
		}
	}
	if err != nil {
		return out, err
	}
	wg.Wait()
	var latencies []float64
	for _, s := range all {
		latencies = append(latencies, s.latencies...)
	}
	slices.Sort(latencies)
	out = outcome{Requests: len(latencies), Duration: float64(elapsed.Microseconds()), Status: int(bad.Load())}
	out.P50, out.P99, out.P999 = quantile(latencies, .5), quantile(latencies, .99), quantile(latencies, .999)
	return out, nil
}

// send sends until the time is over.
func (j job) send(free chan *sender, failed <-chan error) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sleep := exactSleeper()
	text := request(j.Address, j.Path, j.Authorization)
	start := time.Now()
	for n := 0; ; n++ {
		after := time.Duration(float64(n) / j.Rate * float64(time.Second))
		if after >= j.Duration {
			return time.Since(start), nil
		}
		due := start.Add(after)
		sleep(time.Until(due))
		select {
		case s := <-free:
			s.due <- due
			if _, err := s.Write(text); err != nil {
				return 0, err
			}
		case err := <-failed:
			return 0, err
		}
	}
}

// receive reads answers until no more requests are sent, and counts those of another status. That of a wrong status is
// counted as wrk would an error, so the caller of the process sees it.
func (s *sender) receive(free chan<- *sender, status int, bad *atomic.Int64) error {
	for due := range s.due {
		got, err := s.read()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		s.latencies = append(s.latencies, float64(time.Since(due).Nanoseconds())/1000)
		if got != status {
			bad.Add(1)
		}
		free <- s
	}
	return nil
}

// quantile is the value of sorted ones that this fraction of them does not exceed.
func quantile(sorted []float64, fraction float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(fraction*float64(len(sorted))))]
}
