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

func exactSleeper() func(time.Duration) { return time.Sleep }
