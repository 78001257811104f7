package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
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
	io.ReadWriteCloser
	answers *bufio.Reader
}

func newClient(conn io.ReadWriteCloser) *client { return &client{conn, bufio.NewReader(conn)} }

func dial(ctx context.Context, address string) (*client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return newClient(conn), nil
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
	out, err := j.run(context.Background())
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// window is what percentiles are taken of, and the median of the windows is reported. A virtual machine stands still for some
// milliseconds several times a second; in a longer window the p99 would be that of the machine.
const window = 100 * time.Millisecond

// sender is a connection with at most one request under way.
type sender struct {
	*client
	due time.Time // when that should have been sent
}

// newSender connects, with reads and writes that wait in the kernel rather than in Go's scheduler.
func newSender(ctx context.Context, address string) (s *sender, fd uintptr, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	f, err := conn.(*net.TCPConn).File()
	if err != nil {
		return nil, 0, err
	}
	return &sender{client: newClient(f)}, f.Fd(), nil
}

// openLoop sends each request when it is due, or as soon as a connection is free, and measures from when it was due: what a
// request waits for the ones before it counts, as it does for those who wait. It is one loop in one thread, since what a
// generator of load needs of the processors is not there for the server.
type openLoop struct {
	job
	text      []byte
	senders   []*sender
	free      []int // numbers of senders
	polled    *poller
	start     time.Time
	sent      int
	answered  int
	total     int
	unwanted  int         // answers of another status
	latencies [][]float64 // in microseconds, of the requests due in each window
}

// run does the job.
func (j job) run(ctx context.Context) (outcome, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	exactTimeouts()
	l := &openLoop{
		job:       j,
		text:      request(j.Address, j.Path, j.Authorization),
		polled:    newPoller(),
		total:     int(math.Ceil(j.Rate * j.Duration.Seconds())),
		latencies: make([][]float64, 1+j.Duration/window),
	}
	for i := range j.Connections {
		s, fd, err := newSender(ctx, j.Address)
		if err != nil {
			return outcome{}, err
		}
		defer s.Close()
		l.senders, l.free = append(l.senders, s), append(l.free, i)
		l.polled.add(fd)
	}
	l.start = time.Now()
	for l.answered < l.total {
		if err := l.send(); err != nil {
			return outcome{}, err
		}
		if err := l.receive(); err != nil {
			return outcome{}, err
		}
	}
	out := outcome{Requests: l.total, Duration: float64(time.Since(l.start).Microseconds()), Status: l.unwanted}
	out.P50, out.P99, out.P999 = l.typical(.5), l.typical(.99), l.typical(.999)
	return out, nil
}

// due is when the next request should be sent.
func (l *openLoop) due() time.Time {
	return l.start.Add(time.Duration(float64(l.sent) / l.Rate * float64(time.Second)))
}

// canSend reports whether there is a request to be sent, and a connection for it.
func (l *openLoop) canSend() bool { return l.sent < l.total && len(l.free) > 0 }

// send sends what is due.
func (l *openLoop) send() error {
	for l.canSend() && time.Until(l.due()) <= 0 {
		i := l.free[len(l.free)-1]
		l.free = l.free[:len(l.free)-1]
		l.senders[i].due = l.due()
		if _, err := l.senders[i].Write(l.text); err != nil {
			return err
		}
		l.polled.await(i, true)
		l.sent++
	}
	return nil
}

// receive reads the answers that there are. If there are none, it waits until there is one or the next request is due.
func (l *openLoop) receive() error {
	var longest time.Duration = -1
	if l.canSend() {
		longest = max(0, time.Until(l.due()))
	}
	if err := l.polled.wait(longest); err != nil {
		return err
	}
	for i, s := range l.senders {
		if !l.polled.ready(i) {
			continue
		}
		status, err := s.read()
		if err != nil {
			return err
		}
		if status != l.Status {
			l.unwanted++ // as wrk counts an error
		}
		in := s.due.Sub(l.start) / window
		l.latencies[in] = append(l.latencies[in], float64(time.Since(s.due).Nanoseconds())/1000)
		l.polled.await(i, false)
		l.free = append(l.free, i)
		l.answered++
	}
	return nil
}

// typical is the latency that this fraction of the requests of a window does not exceed, in the median window.
func (l *openLoop) typical(fraction float64) float64 {
	var of []float64
	for _, in := range l.latencies {
		if len(in) > 0 {
			slices.Sort(in)
			of = append(of, quantile(in, fraction))
		}
	}
	return median(of)
}

// quantile is the value of sorted ones that this fraction of them does not exceed.
func quantile(sorted []float64, fraction float64) float64 {
	return sorted[min(len(sorted)-1, int(fraction*float64(len(sorted))))]
}
