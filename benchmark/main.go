// Command benchmark measures frappe_auth in a running Caddy, side by side with Caddy alone and with Caddy's own
// directives, and prints markdown tables. It needs Debian's wrk and redis-server, and runs in its folder of a checkout:
//
//	go run .                         # everything, in about twenty minutes
//	go run . -only 'grant|latency'   # some groups
//	go run . -smoke                  # everything for a moment, to see that it works
//	go run . -plot                   # no measurement: draws measured.md for the documents
//
// Every server is a process. The contenders of a group are measured in rounds, in every second round in reverse order.
// The table shows medians of the rounds; a ratio is computed within each round. CPU is what the server alone used for a
// request; it is read from /proc, and empty where there is none. The command fails if a server answers anything but
// what it should, or if a credential that is cached or shared reaches the site.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"sync/atomic"
	"time"
)

// harness has the flags and what all measurements share.
type harness struct {
	smoke    bool
	only     *regexp.Regexp
	rounds   int           // how often each contender is measured
	duration time.Duration // of one measurement

	dir     string // temporary, removed at the end
	caddy   string // path of the program
	redis   string // address of a Redis
	admin   string // address of the admin API of the newest Caddy
	serial  atomic.Int64
	running []func() // stop the Caddys that run
}

func main() {
	h := new(harness)
	flag.BoolVar(&h.smoke, "smoke", false, "run everything for a moment")
	plot := flag.Bool("plot", false, "draw measured.md as the plots of docs/images, and measure nothing")
	only := flag.String("only", "", "measure only the groups whose name matches this `regexp`")
	flag.Parse()
	h.only, h.rounds, h.duration = regexp.MustCompile(*only), 9, time.Second
	if h.smoke {
		h.rounds, h.duration = 1, 200*time.Millisecond
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	var err error
	if *plot {
		err = drawPlots()
	} else {
		err = h.run(ctx)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		os.Exit(1)
	}
}

func (h *harness) run(ctx context.Context) (err error) {
	if flag.NArg() > 0 {
		return errors.New("see -help")
	}
	for _, program := range []string{"wrk", "redis-server"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed: apt-get install %[1]s", program)
		}
	}
	if h.dir, err = os.MkdirTemp("", "frappe-auth-benchmark-*"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(h.dir)) }()
	fmt.Fprintln(os.Stderr, "building Caddy")
	h.caddy = filepath.Join(h.dir, "caddy")
	build := exec.CommandContext(ctx, "go", "build", "-o", h.caddy, "./cmd/caddy") //nolint:gosec // of this checkout
	// A module of its own, with the versions that are released.
	build.Dir = ".."
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w; run the command in the folder benchmark of a checkout\n%s", err, output)
	}
	free, err := freeAddresses(ctx, 1)
	if err != nil {
		return err
	}
	h.redis = free[0]
	host, port, _ := net.SplitHostPort(h.redis)
	_, stop, err := h.process(ctx, h.redis, "redis-server", "--bind", host, "--port", port, "--save", "")
	if err != nil {
		return err
	}
	defer stop()
	fmt.Printf("%s, %s, %d cores, %d rounds of %s\n\n%s", time.Now().UTC().Format(time.DateOnly), runtime.Version(),
		runtime.NumCPU(), h.rounds, h.duration, tableHead)
	for _, g := range h.groups() {
		if !h.only.MatchString(g.name) {
			continue
		}
		text, err := g.measure(ctx)
		h.stopServers()
		if err != nil {
			return fmt.Errorf("%s: %w", g.name, errors.Join(ctx.Err(), err))
		}
		fmt.Print(text)
	}
	return nil
}
