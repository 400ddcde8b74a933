package bench

import (
	"context"
	"io"
	"io/fs"
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

// Keep records a line until it is lost, as the command does, and gives what is in the file.
func Keep(ctx context.Context, port io.Reader, file interface {
	io.Writer
	Truncate(int64) error
}) (pieces int, bytes int64, err error) {
	k := keeper{port: port, line: serial.Config{Port: "/dev/none", Baud: 9600, Format: "8N1"}, file: file, bar: new(progress)}
	err = k.keep(ctx)
	return k.pieces, k.bytes, err
}

// PortsOf names the serial adapters of a computer.
func PortsOf(root fs.FS) []string { return portsOf(root) }

// Fitted folds lines to a screen.
func Fitted(lines []string, width, height int) []string { return fitted(lines, width, height) }

// Open opens a line.
type Open = func(context.Context, serial.Config) (io.ReadWriteCloser, error)

// FindOver is find on lines that a test opens.
func FindOver(ctx context.Context, env program.Env, open Open) error {
	return findOver(ctx, newInvocation("find", env), testHooks{open: open})
}

// Asker asks the machines of a line.
type Asker = asker

// Lines are what a test puts in place of the lines that a setting names. What is nil is as in the
// program.
type Lines struct {
	Open     Open // of lines that are only listened to
	Reach    func(modbus.Link) modbus.Link
	Master   func(modbus.MasterConfig) (Asker, error)
	Trusting bool // the first answer is believed, for a negative control
}

// OpenLine opens a line as the program does.
var OpenLine Open = openSerial

// FindMachines is find -modbus on lines of a test.
func FindMachines(ctx context.Context, env program.Env, l Lines) error {
	way := testHooks{open: openSerial, reach: func(l modbus.Link) modbus.Link { return l }, master: newMaster, trusting: l.Trusting}
	if l.Open != nil {
		way.open = l.Open
	}
	if l.Reach != nil {
		way.reach = l.Reach
	}
	if l.Master != nil {
		way.master = l.Master
	}
	return findOver(ctx, newInvocation("find", env), way)
}

// LinkText writes a link as edge.yaml has it.
func LinkText(l modbus.Link) string { return linkText(l) }

// Wait lets time pass.
func Wait(ctx context.Context, d time.Duration) error { return wait(ctx, d) }

// WithCRC ends a frame, for machines that tests make themselves.
func WithCRC(frame []byte) []byte { return withCRC(frame) }

// Draft makes the file of what came while a display showed a weight.
func Draft(came []byte, known string) (string, error) {
	n, err := displayed(known)
	if err != nil {
		return "", err
	}
	d, err := guess([]sample{{from: "line", known: n, bytes: came}})
	if err != nil {
		return "", err
	}
	return d.file("own-indicator", "", nil), nil
}
