package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
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

// exactSleeper makes the calling thread one that sleeps as exactly as the kernel can, and returns how. A time.Sleep of
// an otherwise idle program may end a millisecond late.
func exactSleeper() func(time.Duration) {
	const setTimerSlack = 29                                   // PR_SET_TIMERSLACK, of prctl(2)
	syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, 1, 0) //nolint:errcheck // without it, it sleeps a little longer
	return func(d time.Duration) {
		if d > 0 {
			spec := syscall.NsecToTimespec(int64(d))
			_ = syscall.Nanosleep(&spec, nil) // ends early on a signal, which costs a second look at the clock
		}
	}
}
