// Command benchmark measures frappe_auth in a running Caddy, side by side with what it is compared to: Caddy without it,
// what else Caddy has, and nginx. From a checkout, on Linux, with Debian's wrk, nginx-light and postgresql:
//
//	go run ./benchmark
//
// It builds Caddy, starts every contender as a process of its own at a free port of the loopback interface, sees that
// each answers what it should, and drives them with wrk. Contenders of a group are measured in rounds, one after the
// other, in every second round the other way around. The table has the medians of the rounds; a ratio is taken within
// each round, and its median is shown, since what else the machine does concerns neighbours alike. Behind a ratio stands
// what it should be, and whether it is.
//
// The load generator runs on the same machine and takes a part of it, so that rates are lower than they could be, and
// ratios nearer to 1: "CPU" is what the server alone used for a request, without the doubles of a site.
//
//	go run ./benchmark -only '^(limit|cold)/'                # groups, or contenders and what they are compared to
//	go run ./benchmark -json figures.json -svg figures.svg
//	go run ./benchmark -smoke                                # each once and briefly: does everything work?
//
// It fails if a contender does not start, answers anything else than it should, or does not ask a site as often as it
// should; that a ratio is not what it should be is no failure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	rounds      int
	duration    time.Duration
	connections int
	threads     int
	json        string
	svg         string
	smoke       bool
	only        *regexp.Regexp

	wrk string // path of the program
}

// harness is what all groups share.
type harness struct {
	options
	sizes  sizes
	groups []group
	self   string // path of this program, which doubles and one load generator are processes of
	module string // directory of the checkout
	dir    string // of everything temporary
	caddy  string // path of the program
	ports  *ports
	runs   int // of wrk, so that none begins with the credentials of the one before
}

// roles are what this program is when it starts itself.
var roles = map[string]func([]string) error{"double": runDouble, "rate": runRate}

func main() {
	var err error
	if role := roles[strings.Join(os.Args[1:min(2, len(os.Args))], "")]; role != nil {
		err = role(os.Args[2:])
	} else {
		err = benchmark(os.Args[1:])
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("benchmark", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 21, "how often each contender is measured")
	flags.DurationVar(&o.duration, "duration", time.Second, "how long one measurement takes")
	flags.IntVar(&o.connections, "connections", 32, "connections of the load generator")
	flags.IntVar(&o.threads, "threads", 1, "threads of wrk")
	flags.StringVar(&o.json, "json", "", "`file` to write all figures to")
	flags.StringVar(&o.svg, "svg", "", "`file` to write a chart to")
	flags.BoolVar(&o.smoke, "smoke", false, "everything once, briefly, with small numbers of credentials, to see that it works")
	only := flags.String("only", "", "measure what of group/contender matches this `regexp`, and what it is compared to")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag", flags.Arg(0))
	}
	if o.smoke {
		o.rounds, o.duration = 1, 200*time.Millisecond
	}
	if o.rounds < 1 || o.duration <= 0 || o.threads < 1 || o.connections < o.threads {
		return o, errors.New("-rounds, -duration, -connections and -threads are at least 1, and no thread is without connections")
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, err
	}
	o.wrk, err = program("wrk", "wrk")
	return o, err
}

func benchmark(args []string) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	h := &harness{options: o, sizes: fullSizes, ports: &ports{given: make(map[int]bool)}}
	if o.smoke {
		h.sizes = smokeSizes
	}
	if h.groups, err = h.selectGroups(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx = withParent(ctx)
	if h.dir, err = os.MkdirTemp("", "frappe-auth-benchmark-*"); err != nil {
		return err
	}
	defer os.RemoveAll(h.dir)                      //nolint:errcheck // nothing can be done about it
	if err := os.Chmod(h.dir, 0o755); err != nil { //nolint:gosec // others run nginx and PostgreSQL
		return err
	}
	if err := h.build(ctx); err != nil {
		return err
	}
	r, err := h.measureAll(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		return err
	}
	return h.write(r)
}

// build builds Caddy.
func (h *harness) build(ctx context.Context) error {
	var err error
	if h.self, err = os.Executable(); err != nil {
		return err
	}
	module, err := run(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/caddy-frappe/frappe-auth"))
	if err != nil {
		return err
	}
	h.module = strings.TrimSpace(string(module))
	h.caddy = filepath.Join(h.dir, "caddy")
	fmt.Fprintln(os.Stderr, "building Caddy")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", h.caddy, "./cmd/caddy") //nolint:gosec // of this checkout
	cmd.Dir = h.module
	_, err = run(cmd)
	return err
}

// measureAll measures the groups one after the other, so that no more than one runs at a time.
func (h *harness) measureAll(ctx context.Context) (*report, error) {
	r := &report{
		Go: runtime.Version(), CPUs: runtime.NumCPU(), Rounds: h.rounds, Seconds: h.duration.Seconds(),
		Connections: h.connections, Threads: h.threads,
	}
	for _, g := range h.groups {
		measured, err := h.measureGroup(ctx, g)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", g.name, err)
		}
		r.Groups = append(r.Groups, *measured)
	}
	return r, nil
}

// selectGroups are the groups that are wanted. It fails if a program is missing that they need, before anything is
// measured in vain.
func (h *harness) selectGroups() ([]group, error) {
	var selected []group
	for _, g := range groups(h.sizes) {
		g = g.selected(h.only.MatchString)
		if len(g.contenders) == 0 {
			continue
		}
		selected = append(selected, g)
		for _, c := range g.contenders {
			if err := c.site.installed(); err != nil {
				return nil, err
			}
		}
	}
	if selected == nil {
		return nil, errors.New("-only matches nothing")
	}
	return selected, nil
}

// withParent is a context that also ends when `go run` does: it passes interrupts on, but not that it is terminated.
func withParent(ctx context.Context) context.Context {
	self, err := os.Executable()
	if err != nil || !strings.Contains(self, "go-build") {
		return ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	parent := os.Getppid()
	go func() {
		for os.Getppid() == parent {
			time.Sleep(100 * time.Millisecond)
		}
		cancel()
	}()
	return ctx
}

// selected is the group with the contenders that match, and those they are compared to.
func (g group) selected(match func(string) bool) group {
	wanted := make(map[string]bool)
	var want func(c contender)
	want = func(c contender) {
		if wanted[c.name] {
			return
		}
		wanted[c.name] = true
		for _, other := range g.contenders {
			for _, a := range c.against {
				if other.name == a.other || other.name == c.memory.over {
					want(other)
				}
			}
		}
	}
	for _, c := range g.contenders {
		if match(g.name + "/" + c.name) {
			want(c)
		}
	}
	chosen := g
	chosen.contenders = nil
	for _, c := range g.contenders {
		if wanted[c.name] {
			chosen.contenders = append(chosen.contenders, c)
		}
	}
	return chosen
}

// write prints the table, and writes the files that are wanted.
func (h *harness) write(r *report) error {
	if err := r.table(os.Stdout); err != nil {
		return err
	}
	return errors.Join(writeFile(h.json, r.json), writeFile(h.svg, r.chart))
}

func writeFile(name string, write func(io.Writer) error) error {
	if name == "" {
		return nil
	}
	file, err := os.Create(name) //nolint:gosec // the user names it
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}
