package bench

import (
	"context"
	"io"
	"time"

	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
	"steelyard/internal/program"
)

// Send replays chunks as the command does.
func Send(ctx context.Context, to io.Writer, chunks []Chunk, after time.Duration, speed float64, loop bool) error {
	r := replaying{to: to, chunks: chunks, speed: speed, loop: loop, bar: new(progress)}
	return r.send(ctx, after)
}

// Open opens a line.
type Open = func(context.Context, serial.Config) (io.ReadWriteCloser, error)

// FindOver is find on lines that a test opens.
func FindOver(ctx context.Context, env program.Env, open Open) error {
	return findOver(ctx, newCall("find", env), seams{open: open})
}

// FindMachines is find -modbus on lines that a test puts in place of those that a setting names.
// With trusting the first answer is believed, for a negative control.
func FindMachines(ctx context.Context, env program.Env, reach func(modbus.Link) modbus.Link, trusting bool) error {
	return findOver(ctx, newCall("find", env), seams{open: openSerial, reach: reach, trusting: trusting})
}

// WithCRC ends a frame, for machines that tests make themselves.
func WithCRC(frame []byte) []byte { return withCRC(frame) }
