package modbus

import (
	"syscall"
	"time"
)

// preciseSleep sleeps less than three milliseconds by the kernel's fine timer. A signal may end it early.
func preciseSleep(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil)
}
