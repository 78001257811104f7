package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ticksPerSecond is the unit of /proc/*/stat, the same on every architecture of Linux that Go knows.
const ticksPerSecond = 100

// attributes make a process the leader of a group of its own, so that all it starts can be ended with it, and end it
// with the harness even if that is killed.
func attributes(who *account, death syscall.Signal) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: death}
	if who != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(who.uid), Gid: uint32(who.gid)}
	}
	return attr
}

// killGroup ends whatever is left of a process group.
func killGroup(leader int) { _ = syscall.Kill(-leader, syscall.SIGKILL) }

// cpuTime is what the processes of a group have used so far.
func cpuTime(leader int) time.Duration {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	var ticks int
	for _, name := range files {
		raw, err := os.ReadFile(name) //nolint:gosec // found in /proc
		if err != nil {
			continue // it has ended
		}
		// What follows the program's name, which is in parentheses and may hold any character; proc(5).
		fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
		const group, user, system = 2, 11, 12
		if len(fields) <= system || string(fields[group]) != strconv.Itoa(leader) {
			continue
		}
		for _, field := range []int{user, system} {
			n, _ := strconv.Atoi(string(fields[field]))
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond
}

// residentMemory is what of a process is in memory, in bytes.
func residentMemory(pid int) (int, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(raw, []byte("\nVmRSS:"))
	var kilobytes int
	if _, err := fmt.Sscanf(string(rest), "%d kB", &kilobytes); err != nil {
		return 0, fmt.Errorf("VmRSS of process %d: %w", pid, err)
	}
	return kilobytes << 10, nil
}

// exactTimeouts makes what the calling thread waits for end as exactly as the kernel can.
func exactTimeouts() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // without it, waits end a little later
}

// poller waits for connections that have something to read.
type poller struct{ connections []unix.PollFd }

func newPoller() *poller { return new(poller) }

// add adds a connection, from which nothing is awaited yet.
func (p *poller) add(fd uintptr) {
	p.connections = append(p.connections, unix.PollFd{Fd: ^int32(fd), Events: unix.POLLIN})
}

// await says whether something is to be read from a connection. poll(2) ignores what is negative.
func (p *poller) await(i int, something bool) {
	c := &p.connections[i]
	if something != (c.Fd >= 0) {
		c.Fd = ^c.Fd
	}
}

// wait ends when there is something to read, or after so long; if that is negative, never.
func (p *poller) wait(longest time.Duration) error {
	var timeout *unix.Timespec
	if longest >= 0 {
		timeout = new(unix.NsecToTimespec(int64(longest)))
	}
	_, err := unix.Ppoll(p.connections, timeout, nil)
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	return err
}

// ready reports whether there is something to read, or an error to see.
func (p *poller) ready(i int) bool { return p.connections[i].Revents != 0 }
