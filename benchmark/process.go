package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// process is a server that runs beside the harness.
type process struct {
	name   string
	cmd    *exec.Cmd
	log    string
	signal syscall.Signal // asks it to end
	ended  chan struct{}
}

const (
	startTimeout = time.Minute     // until a server takes connections: some have long configurations
	stopTimeout  = 5 * time.Second // until it is killed
)

// start starts a server. Its output goes to a file, unless the command has one already, and is part of the error if
// the server does not come up.
func start(name string, cmd *exec.Cmd, dir string, who *account, signal syscall.Signal) (*process, error) {
	log, err := os.CreateTemp(dir, "log-*")
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has it open by itself
	cmd.Stderr = log
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	cmd.SysProcAttr = attributes(who, signal)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, log: log.Name(), signal: signal, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // what it says is in the log
		close(p.ended)
	}()
	return p, nil
}

// await waits until the server takes connections.
func (p *process) await(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s did not start:\n%s", p.name, p.output())
		case <-ctx.Done():
			return fmt.Errorf("%s does not take connections at %s: %w\n%s", p.name, address, ctx.Err(), p.output())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *process) output() []byte {
	raw, _ := os.ReadFile(p.log)
	return bytes.TrimSpace(raw)
}

// stop ends the server and all that it started.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(p.signal) // it may have ended
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
	}
	killGroup(p.cmd.Process.Pid)
	<-p.ended
}

// program is the path of an installed program, of which name may be a pattern.
func program(debianPackage string, names ...string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
		if matches, _ := filepath.Glob(name); len(matches) > 0 {
			return matches[len(matches)-1], nil
		}
	}
	return "", fmt.Errorf("%s is missing: apt-get install %s", filepath.Base(names[0]), debianPackage)
}

// account is a user of this machine.
type account struct{ uid, gid int }

// unprivileged is whom to run a server as that root must not or should not run: nobody in particular, if the harness
// does not run as root.
func unprivileged(name string) (*account, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	found, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, uidErr := strconv.Atoi(found.Uid)
	gid, gidErr := strconv.Atoi(found.Gid)
	return &account{uid: uid, gid: gid}, errors.Join(uidErr, gidErr)
}

// directory makes a directory that the account can write to.
func (who *account) directory(parent, pattern string) (string, error) {
	dir, err := os.MkdirTemp(parent, pattern)
	if err != nil || who == nil {
		return dir, err
	}
	return dir, os.Chown(dir, who.uid, who.gid)
}

// ports never gives a port twice, so that servers that start at the same time do not get the same.
type ports struct {
	mu    sync.Mutex
	given map[int]bool
}

// free is a port of the loopback interface that nobody listens at.
func (p *ports) free(ctx context.Context) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := listener.Addr().(*net.TCPAddr).Port
		_ = listener.Close()
		if !p.given[port] {
			p.given[port] = true
			return port, nil
		}
	}
}

// run runs a program to its end.
func run(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s%s", filepath.Base(cmd.Path), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes(), nil
}
