package modbus

import (
	"syscall"
	"time"
)

// nap sleeps less than three milliseconds by the kernel's fine timer. A signal may end it early.
func nap(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil)
}
