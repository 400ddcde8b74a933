//go:build !linux

package modbus

import "time"

func nap(d time.Duration) { time.Sleep(d) }
