package influxtest

import (
	"os/exec"
	"syscall"
)

// dieWithParent ends the server even when the test process is killed.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
