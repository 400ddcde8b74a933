package bench_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"steelyard/firmware-bridge/bench"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
)

// An exception is as good as a register: somebody lives there. That it fits nothing is said.
func TestFindMachineThatRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		code byte
	}{{"every address", 2}, {"being busy", 6}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			p := handmade(t, func(request []byte) []byte {
				asked++
				return refusal(request, test.code)
			})
			stdout, stderr, err := hunt(t, bench.Lines{}, "-port", p.Path(), "-baud", "9600", "-format", "8E1", "-units", "9", "-timeout", "500ms", "-listen", "100ms")
			for _, want := range []string{fmt.Sprintf("unit 9 answers at 9600 8E1 with function 3: exception %02X", test.code), "no profile of the catalogue fits", "# profile: none of the catalogue", "unit: 9"} {
				if err != nil || !strings.Contains(stdout, want) {
					t.Errorf("%q is missing: %v\n%s%s", want, err, stdout, stderr)
				}
			}
			if p.Close(); asked > 60 {
				t.Errorf("it was asked %d times, again and again for each profile", asked)
			}
		})
	}
}

// A machine may know function 4 only and be silent about the other.
func TestFindMachineOfInputRegisters(t *testing.T) {
	t.Parallel()
	p, master := frank(t, func(request []byte) []byte {
		if request[1] != 4 {
			return nil
		}
		return zeros(request)
	})
	stdout, stderr, err := hunt(t, bench.Lines{Master: master}, "-port", p.Path(), "-baud", "2400", "-format", "8O1", "-units", "247", "-listen", "50ms", "-json")
	if err != nil || !strings.Contains(stdout, `"unit":247,"function":4,"refused":"","examined":true`) || !strings.Contains(stdout, `"profile":"eastron-sdm630"`) || strings.Contains(stdout, "laumas") {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
}

// A machine that is silent about single registers that it does not have is asked again what it knows,
// and is not taken for dead. One that dies meanwhile is.
func TestFindMachineThatIsSilentAboutSome(t *testing.T) {
	t.Parallel()
	for _, dies := range []bool{false, true} {
		t.Run(fmt.Sprint("dies ", dies), func(t *testing.T) {
			t.Parallel()
			dead := false
			p, master := frank(t, func(request []byte) []byte {
				from, n := binary.BigEndian.Uint16(request[2:]), binary.BigEndian.Uint16(request[4:])
				switch known := request[1] == 3 && int(from+n) <= 2; {
				case dead:
				case known:
					return zeros(request)
				case n == 1 || n == 17:
					dead = dies
				default:
					return refusal(request, 2)
				}
				return nil
			})
			stdout, stderr, err := hunt(t, bench.Lines{Master: master}, "-port", p.Path(), "-baud", "9600", "-format", "8E1", "-units", "1", "-listen", "50ms")
			want := "generic-pulse     1 block answered"
			if dies {
				want = "Unit 1 stopped answering"
			}
			if err != nil || !strings.Contains(stdout, want) || strings.Contains(stdout, "laumas") {
				t.Errorf("%q is missing: %v\n%s%s", want, err, stdout, stderr)
			}
		})
	}
}

// A machine that needs longer than it was given is heard while its setting is left, and asked again
// with the time that it needs, also for its profiles. How long each master would wait is seen in its
// time-out and not on a clock.
func TestFindSlowMachine(t *testing.T) {
	t.Parallel()
	const needs = 640 * time.Millisecond
	machine := registersOf(t, "ssc-baler-v1")
	var inTime atomic.Bool
	var mu sync.Mutex
	var held []byte // answers for which nobody waited
	p, master := frank(t, func(request []byte) []byte {
		frames := refusal(request, 2)
		if words, ok := machine.Words(int(binary.BigEndian.Uint16(request[2:])), int(binary.BigEndian.Uint16(request[4:]))); ok {
			frames = []byte{request[0], request[1], byte(2 * len(words))}
			for _, w := range words {
				frames = binary.BigEndian.AppendUint16(frames, w)
			}
			frames = bench.WithCRC(frames)
		}
		if inTime.Load() {
			return frames
		}
		mu.Lock()
		defer mu.Unlock()
		held = append(held, frames...)
		return nil
	})
	lines := bench.Lines{
		Master: func(c modbus.MasterConfig) (bench.Asker, error) {
			inTime.Store(c.Timeout >= needs)
			return master(c)
		},
		Open: func(ctx context.Context, c serial.Config) (io.ReadWriteCloser, error) {
			port, err := bench.OpenLine(ctx, c)
			mu.Lock()
			defer mu.Unlock()
			late := held
			if held = nil; err != nil || len(late) == 0 {
				return port, err
			}
			_, err = p.Write(late)
			return &heard{port, len(late)}, err
		},
	}
	stdout, stderr, err := hunt(t, lines, "-port", p.Path(), "-baud", "9600", "-format", "8N1", "-units", "1", "-timeout", "200ms", "-listen", "50ms")
	if err != nil || !strings.Contains(stderr, "unit 1 comes late") || !strings.Contains(stdout, "unit 1 answers at 9600 8N1\n  ssc-baler-v1 fits") || !strings.Contains(stdout, "abb-acs") {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
}

// heard is a line whose first Read ends with all that was sent to it, however long that takes.
type heard struct {
	io.ReadWriteCloser
	sent int
}

func (l *heard) Read(b []byte) (n int, err error) {
	for n < l.sent && (err == nil || errors.Is(err, os.ErrDeadlineExceeded)) {
		var more int
		more, err = l.ReadWriteCloser.Read(b[n:])
		n += more
	}
	if l.sent > 0 {
		l.sent = 0
		return n, err
	}
	return l.ReadWriteCloser.Read(b)
}

// The answer to what was asked at one setting comes when the same is asked at the next. It proves
// neither that setting nor another unit, be it that the machine hears nothing at the next setting, or
// that it is always one answer behind. Negative control: where the first answer is believed, the wrong
// setting is found.
func TestLateAnswerProvesNoSetting(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		reply  func([]byte) []byte
		behind bool // it goes on so
	}{
		{"register", zeros, false},
		{"exception", func(request []byte) []byte { return refusal(request, 2) }, false},
		{"always behind", zeros, true},
	} {
		for _, trusting := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, " trusting ", trusting), func(t *testing.T) {
				t.Parallel()
				var held []byte
				given := 0
				p := handmade(t, func(request []byte) []byte {
					if request[1] != 3 || given > 0 && !test.behind {
						return nil
					}
					late := held
					if held = test.reply(request); late != nil {
						given++
					}
					return late
				})
				stdout, stderr, err := hunt(t, bench.Lines{Trusting: trusting}, "-port", p.Path(), "-baud", "9600", "-format", "8N1,8N2", "-units", "1", "-timeout", "500ms", "-listen", "50ms")
				wrong := strings.Contains(stdout, "unit 1 answers at 9600 8N2")
				if wrong != trusting {
					t.Errorf("the wrong setting is found: %t, want %t: %v\n%s%s", wrong, trusting, err, stdout, stderr)
				}
				if !trusting && (err == nil || !strings.Contains(err.Error(), "answered once and not again")) {
					t.Errorf("%v\n%s", err, stderr)
				}
			})
		}
	}
	t.Run("another unit", func(t *testing.T) {
		t.Parallel()
		var held []byte
		p := handmade(t, func(request []byte) []byte {
			if request[0] == 1 {
				held = zeros(request)
				return nil
			}
			return held
		})
		stdout, stderr, err := hunt(t, bench.Lines{}, "-port", p.Path(), "-baud", "9600", "-format", "8N1", "-units", "1-2", "-timeout", "100ms", "-listen", "50ms")
		if err == nil || strings.Contains(stderr, "unit 2 answers") {
			t.Errorf("%v\n%s%s", err, stdout, stderr)
		}
	})
}
