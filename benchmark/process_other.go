//go:build !linux

package main

import (
	"errors"
	"syscall"
	"time"
)

// The harness reads /proc and starts Debian's programs. Elsewhere it only compiles.

func attributes(*account, syscall.Signal) *syscall.SysProcAttr { return nil }

func killGroup(int) {}

func cpuTime(int) time.Duration { return 0 }

func residentMemory(int) (int, error) { return 0, errors.New("the harness runs on Linux only") }

func exactTimeouts() {}

type poller struct{}

func newPoller() *poller { return new(poller) }

func (*poller) add(uintptr) {}

func (*poller) await(int, bool) {}

func (*poller) wait(time.Duration) error { return errors.New("the harness runs on Linux only") }

func (*poller) ready(int) bool { return false }
