package bench_test

import (
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"steelyard/firmware-bridge/serial"
	"steelyard/internal/program"
)

// since waits until the text behind a place contains what is wanted.
func (w *text) since(t testing.TB, place int, want string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if strings.Contains(w.String()[place:], want) {
			return
		}
	}
	t.Fatalf("%s: %q did not come in time behind\n%s\n%s", w.of, want, w.String()[:place], w.String()[place:])
}

// press is a machine that may not take long, so that the faults of a test do not either.
const press = `profile: press
maker: none
model: of this test
status: bench
sources: [{doc: none}]
transport: {unit: 1, rtu: {baud: 9600, format: 8N1}}
address_base: 0
limits: {timeout_ms: 250, latency_ms: 250}
points:
  - {name: magic, at: 0, type: u16, constant: 16979}
  - {name: beat, at: 1, type: u16}
  - {name: total, at: 2, type: u32, unit: kg, meaning: totaliser.mass}
heartbeat: {point: beat, limit: 3s}
totaliser: {point: total, modulus: 1000, step: 1 kg}
tests: [{request: "01 03 00 00 00 04", reply: "01 03 08 42 53 00 07 00 00 00 2A", expect: {beat: 7, total: 42}}]
`

// links start a simulated machine on each kind of link and name the link as a master does.
var links = map[string]func(t *testing.T, profile string) (machine *running, link string){
	"pty": func(t *testing.T, profile string) (*running, string) {
		path := link(t)
		r := start(t, "simulate", "-profile", profile, "-pty", path, "-baud", "0")
		r.at()
		return r, "rtu://" + path + "?baud=115200"
	},
	"tcp": func(t *testing.T, profile string) (*running, string) {
		r := start(t, "simulate", "-profile", profile, "-listen", "tcp://127.0.0.1:0")
		return r, r.at()
	},
	"rtu-over-tcp": func(t *testing.T, profile string) (*running, string) {
		r := start(t, "simulate", "-profile", profile, "-listen", "rtu-over-tcp://127.0.0.1:0")
		return r, r.at()
	},
}

func pressFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "press.yaml")
	if err := os.WriteFile(path, []byte(press), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// watched is a simulated machine and a program that reads it.
type watched struct {
	*running
	reader *running
	place  int // in what the reader said
}

// all says a line to every machine and waits until every reader says what is wanted.
func all(t *testing.T, machines []*watched, line, want string) {
	t.Helper()
	for _, m := range machines {
		m.place = len(m.reader.out.String())
		m.says(line)
	}
	for _, m := range machines {
		m.reader.out.since(t, m.place, want)
	}
}

// Every fault of a machine on every kind of link, as a master sees it that polls all the while, and
// that "healthy" heals it.
func TestEveryFaultOfAMachine(t *testing.T) {
	t.Parallel()
	profile := pressFile(t)
	const good = "magic=16979"
	var machines []*watched
	for name, begin := range links {
		machine, at := begin(t, profile)
		master := start(t, "show", "-link", at, "-profile", profile, "-every", "100ms")
		master.out.of = name
		master.out.has(t, good)
		machines = append(machines, &watched{running: machine, reader: master})
	}
	for _, fault := range []struct{ command, sees string }{
		{"late", "silent: "},
		{"dropped", "no reply in time"},
		{"half", "silent: "},
		{"garbage", "silent: "},
		{"wrong-unit", "silent: "},
		{"exception 4", "fault: "},
		{"slow 1s", "silent: "},
		{"frozen", "fault: beat has stood at"},
		{"unplug", "silent: "},
	} {
		all(t, machines, fault.command, fault.sees)
		heal := "healthy"
		if fault.command == "unplug" {
			heal = "replug"
		}
		all(t, machines, heal, good)
	}
	// What spoils nothing is borne: a wire that is slow but right, a totaliser that wraps. (The
	// master is not asked whether it missed nothing: on a busy computer a byte takes its time.)
	all(t, machines, "slow 1ms", good)
	all(t, machines, "wrap", "total=999")
	for _, m := range machines {
		m.reader.out.since(t, m.place, "total=0")
		if code := m.reader.stop(); code != program.Done {
			t.Errorf("show: code %d: %s", code, &m.reader.err)
		}
		m.says("quit")
		if code := m.wait(); code != program.Done || strings.Contains(m.out.String(), "error: ") {
			t.Errorf("simulate: code %d: %s", code, &m.out)
		}
	}
}

// A reset on command is one: the next request is answered by a connection that breaks, or a line
// that hangs up, and behind it all is well. A bus would mend it before anybody sees it, so the
// client is a bare one.
func TestResetOnCommand(t *testing.T) {
	const rtu = "010300000001840a" // one register from 0
	const mbap = "000100000006" + "010300000001"
	for name, test := range map[string]struct {
		request, reply string
		broken         error
	}{
		"pty":          {rtu, "0103024253c8d9", serial.ErrUnplugged},
		"rtu-over-tcp": {rtu, "0103024253c8d9", serial.ErrUnplugged},
		"tcp":          {mbap, "000100000005" + "0103024253", syscall.ECONNRESET},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			machine, at := links[name](t, pressFile(t))
			ask := func(dial bool, line io.ReadWriteCloser) (io.ReadWriteCloser, string, error) {
				for dial {
					var err error
					if line, err = bareLine(t, at); err == nil {
						break
					}
					time.Sleep(10 * time.Millisecond) // the line is not back yet
				}
				request, err := hex.DecodeString(test.request)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := line.Write(request); err != nil {
					return line, "", err
				}
				reply := make([]byte, len(test.reply)/2)
				_, err = io.ReadFull(patiently{line}, reply)
				return line, hex.EncodeToString(reply), err
			}
			line, reply, err := ask(true, nil)
			if err != nil || reply != test.reply {
				t.Fatalf("healthy: %s, %v", reply, err)
			}
			machine.says("reset 50ms")
			machine.out.has(t, "reset after")
			if _, reply, err := ask(false, line); !errors.Is(err, test.broken) {
				t.Errorf("reset: %s, %v, want %v", reply, err, test.broken)
			}
			line.Close()
			line, reply, err = ask(true, nil)
			if err != nil || reply != test.reply {
				t.Errorf("behind the reset: %s, %v", reply, err)
			}
			line.Close()
		})
	}
}

// bareLine opens a link without anything that could mend it.
func bareLine(t *testing.T, link string) (io.ReadWriteCloser, error) {
	t.Helper()
	port := strings.TrimPrefix(link, "rtu-over-")
	if port == link && strings.HasPrefix(link, "tcp://") {
		return net.Dial("tcp", strings.TrimPrefix(link, "tcp://"))
	}
	port, _, _ = strings.Cut(strings.TrimPrefix(port, "rtu://"), "?")
	return serial.Open(serial.Config{Port: port})
}

// patiently reads over silences.
type patiently struct{ io.Reader }

func (p patiently) Read(b []byte) (int, error) {
	for end := time.Now().Add(patience); ; {
		n, err := p.Reader.Read(b)
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Now().After(end) {
			return n, err
		}
	}
}

// Every fault of an indicator: of one that sends by itself, of one that only answers, and of one
// whose frames its file describes; on a terminal and behind a terminal server.
func TestEveryFaultOfAnIndicator(t *testing.T) {
	t.Parallel()
	var machines, addressed, others []*watched
	for _, test := range [][]string{
		{"-dialect", "yaohua-tf0", "-weight", "12340", "-pty"},
		{"-dialect", "mt-cont", "-weight", "12340", "-listen"},
		{"-dialect", "yaohua-cmd", "-pty"},
		{"-indicator", "toledo-8217", "-listen"},
		{"-indicator", "generic-frame", "-listen"},
	} {
		where := "tcp://127.0.0.1:0"
		if slices.Contains(test, "-pty") {
			where = link(t)
		}
		machine := start(t, slices.Concat([]string{"simulate", "-rate", "20"}, test, []string{where})...)
		reader := start(t, "show", "-json", "-port", machine.at(), test[0], test[1])
		reader.out.of = test[1]
		m := &watched{running: machine, reader: reader}
		if machines = append(machines, m); test[1] == "yaohua-cmd" {
			addressed = append(addressed, m)
		} else {
			others = append(others, m)
		}
	}
	const good, silent, damaged = `"valid":true`, "for 2s: ", "no valid frame for 2s"
	all(t, machines, "healthy", good)
	for _, fault := range []struct{ command, sees string }{
		{"late 5s", silent}, {"dropped", silent}, {"half", damaged}, {"garbage", damaged}, {"slow 1s", damaged},
	} {
		all(t, machines, fault.command, fault.sees)
		all(t, machines, "healthy", good)
	}
	all(t, machines, "slow 1ms", good) // a wire that is slow but right
	all(t, machines, "unplug", `"error":"`)
	all(t, machines, "replug", good)
	all(t, machines, "reset 400ms", `"error":"`)
	all(t, machines, "healthy", good)
	all(t, addressed, "wrong-unit", damaged)
	all(t, addressed, "healthy", good)
	for _, m := range machines {
		place := len(m.out.String())
		m.says("wrap")
		m.out.since(t, place, "has no totaliser")
		if slices.Contains(others, m) {
			m.says("wrong-unit")
			m.out.since(t, place, "has no addresses")
		}
		if code := m.reader.stop(); code != program.Done {
			t.Errorf("show: code %d: %s", code, &m.reader.err)
		}
	}
}

// A frozen indicator repeats what it showed, whatever is on the scale; healed, it shows that.
func TestFrozenIndicator(t *testing.T) {
	t.Parallel()
	t.Run("on a deck", func(t *testing.T) {
		machine := start(t, "simulate", "-dialect", "yaohua-tf0", "-pty", link(t), "-rate", "50", "-weight", "12340")
		reader := start(t, "show", "-port", machine.at(), "-dialect", "yaohua-tf0")
		reader.out.has(t, " 12340 ")
		machine.says("frozen")
		machine.out.has(t, "frozen\n")
		reader.out.since(t, len(reader.out.String()), " 12340 ")
		machine.says("weight 60")
		machine.out.has(t, "60 kg\n")
		frozen := len(reader.out.String())
		for range 10 {
			reader.out.since(t, len(reader.out.String()), " 12340 ")
		}
		if strings.Contains(reader.out.String()[frozen:], " 60 ") {
			t.Errorf("a frozen indicator weighs:\n%s", &reader.out)
		}
		machine.says("healthy")
		reader.out.since(t, frozen, " 60 ")
	})
	t.Run("of known frames", func(t *testing.T) {
		machine := start(t, "simulate", "-indicator", "generic-frame", "-pty", link(t), "-rate", "50", "-hold", "50ms")
		machine.at()
		machine.says("frozen")
		machine.out.has(t, "frozen\n")
		stdout, stderr, code := run(t, "", "show", "-port", machine.at(), "-indicator", "generic-frame", "-json", "-count", "30")
		values := map[any]bool{}
		for _, o := range objects(t, stdout) {
			values[o["value"]] = true
		}
		if code != program.Done || len(values) != 1 {
			t.Errorf("code %d: a frozen indicator shows %v: %s", code, values, stderr)
		}
	})
}

// An answer brings the next question forward: an indicator that answers at once is not asked as
// seldom as one that is silent.
func TestAnAnswerBringsTheNextQuestionForward(t *testing.T) {
	t.Parallel()
	machine := start(t, "simulate", "-dialect", "toledo8217", "-pty", link(t), "-baud", "0", "-weight", "4.139")
	stdout, stderr, code := run(t, "", "show", "-port", machine.at(), "-dialect", "toledo8217", "-json", "-count", "9")
	if code != program.Done {
		t.Fatalf("code %d: %s", code, stderr)
	}
	var last time.Time
	quickest := time.Hour
	for _, o := range objects(t, stdout) {
		at, err := time.Parse(time.RFC3339Nano, o["at"].(string))
		if err != nil {
			t.Fatal(err)
		}
		if !last.IsZero() {
			quickest = min(quickest, at.Sub(last))
		}
		last = at
	}
	// The quickest of eight: without the rule each of them takes 700 ms at least.
	if quickest >= 700*time.Millisecond || quickest < 200*time.Millisecond {
		t.Errorf("the quickest of eight answers came %s behind the one before", quickest)
	}
}
