//go:build unix

package database

import (
	"os/exec"
	"syscall"
)

// runAs makes a command run as another user.
func runAs(command *exec.Cmd, uid, gid int) {
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}
