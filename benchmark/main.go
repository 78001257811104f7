// Command benchmark measures frappe_auth in a running Caddy, side by side with Caddy alone, with Caddy's own directives
// and with nginx, and prints markdown tables. It needs Debian's wrk, nginx-light and redis-server, and runs in its folder of
// a checkout:
//
//	go run .                        # everything, in about a quarter of an hour
//	go run . -only 'grant|denial'   # some groups
//	go run . -soak 10m              # the soak instead: load, revocations and reloads
//	go run . -smoke                 # measurements and soak for a moment, to see that all of it works
//
// Every server is a process. The contenders of a group are measured in rounds, in every second round in reverse order.
// The table shows medians of the rounds; a ratio is computed within each round. CPU is what the server alone used for a
// request; it is read from /proc, and empty where there is none. The command fails if a server answers anything but what
// it should, or if a cached credential reaches the site. The groups fleet and simulation print tables of their own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// harness has the flags and what all measurements share.
type harness struct {
	rounds      int
	duration    time.Duration
	soak        time.Duration
	smoke       bool
	only        *regexp.Regexp
	populations []int // numbers of cached credentials, the largest last
	simulated   scale

	dir    string // temporary, removed at the end
	caddy  string // path of the program
	redis  *server
	serial atomic.Int64 // of the credentials that are used for the first time
}

func main() {
	h := &harness{only: regexp.MustCompile(""), populations: []int{1, 10_000, 100_000, 1_000_000}, simulated: scale{100, 1_000_000, 1000, 20}}
	flag.IntVar(&h.rounds, "rounds", 9, "how often each contender is measured")
	flag.DurationVar(&h.duration, "duration", time.Second, "how long one measurement takes")
	flag.DurationVar(&h.soak, "soak", 0, "run the soak for this long instead of the measurements")
	flag.BoolVar(&h.smoke, "smoke", false, "run the measurements and the soak for a moment")
	flag.Func("only", "measure only the groups whose name matches this `regexp`", func(text string) (err error) {
		h.only, err = regexp.Compile(text)
		return err
	})
	flag.Parse()
	if h.smoke {
		h.rounds, h.duration, h.soak, h.populations = 1, 200*time.Millisecond, 3*time.Second, []int{1, 100, 1000}
		h.simulated = scale{5, 1000, 100, 2}
	}
	_ = os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin") // where Debian has nginx
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := h.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		os.Exit(1)
	}
}

func (h *harness) run(ctx context.Context) (err error) {
	if flag.NArg() > 0 || h.rounds < 1 || h.duration <= 0 || h.soak < 0 {
		return errors.New("use only the flags that -help lists, with positive values")
	}
	for program, debianPackage := range map[string]string{"wrk": "wrk", "nginx": "nginx-light", "redis-server": "redis-server"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed: apt-get install %s", program, debianPackage)
		}
	}
	if h.dir, err = os.MkdirTemp("", "frappe-auth-benchmark-*"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(h.dir)) }()
	fmt.Fprintln(os.Stderr, "building Caddy")
	h.caddy = filepath.Join(h.dir, "caddy")
	build := exec.CommandContext(ctx, "go", "build", "-o", h.caddy, "./cmd/caddy") //nolint:gosec // of this checkout
	build.Dir = ".."                                                               // a module of its own, with the versions that are released
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w; run the command in the folder benchmark of a checkout\n%s", err, output)
	}
	h.redis = redisServer()
	if err := h.start(ctx, h.redis); err != nil {
		return err
	}
	defer h.redis.stop()
	if h.soak > 0 && !h.smoke {
		return h.runSoak(ctx)
	}
	fmt.Printf("%s, %s, %d cores, %d rounds of %s\n\n%s", time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.NumCPU(), h.rounds, h.duration, tableHead)
	for _, g := range append(groups(h.populations), group{name: "fleet", run: h.measureFleets}, group{name: "simulation", run: h.simulate}) {
		if !h.only.MatchString(g.name) {
			continue
		}
		if g.run == nil {
			g.run = func(ctx context.Context) (string, error) { return h.measureGroup(ctx, g) }
		}
		text, err := g.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", g.name, errors.Join(ctx.Err(), err))
		}
		fmt.Print(text)
	}
	if h.soak > 0 {
		return h.runSoak(ctx)
	}
	return nil
}
