//go:build !linux

package modbus

import "time"

func preciseSleep(d time.Duration) { time.Sleep(d) }
