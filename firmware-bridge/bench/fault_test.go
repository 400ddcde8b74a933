package bench_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"steelyard/firmware-bridge/serial"
	"steelyard/internal/program"
)

// since waits until the text behind a place contains one of what is wanted, and says which.
func (w *text) since(t testing.TB, place int, wants ...string) (came string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		behind := w.String()[place:]
		for _, want := range wants {
			if strings.Contains(behind, want) {
				return want
			}
		}
	}
	t.Fatalf("%s: %q did not come in time behind\n%s\n%s", w.of, wants, w.String()[:place], w.String()[place:])
	return ""
}

// press is a machine of which a test says how long it may take, in milliseconds.
const press = `profile: press
maker: none
model: of this test
status: bench
sources: [{doc: none}]
transport: {unit: 1, rtu: {baud: 9600, format: 8N1}}
address_base: 0
limits: {timeout_ms: %d, latency_ms: 100}
points:
  - {name: magic, at: 0, type: u16, constant: 16979}
  - {name: beat, at: 1, type: u16}
  - {name: total, at: 2, type: u32, unit: kg, quantity: totaliser.mass}
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

// pressFile writes the press for a master that has all the patience of a test.
func pressFile(t *testing.T) string { return pressWithin(t, patience) }

func pressWithin(t *testing.T, timeout time.Duration) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "press.yaml")
	if err := os.WriteFile(path, fmt.Appendf(nil, press, timeout.Milliseconds()), 0o644); err != nil {
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

// Every fault of a machine on every kind of link, as a master sees it, and that "healthy" heals it.
// Where a master must give up to see the fault, a hasty one does and reads nothing while it lasts;
// what is to be read is read by a patient one. So a busy computer changes nothing.
func TestEveryFaultOfAMachine(t *testing.T) {
	t.Parallel()
	const good = "magic=16979"
	for name, begin := range links {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			patient, hasty := pressFile(t), pressWithin(t, 100*time.Millisecond)
			machine, at := begin(t, patient)
			watching := func(profile string) *running {
				r := start(t, "show", "-link", at, "-profile", profile, "-every", "100ms")
				r.out.of = name
				return r
			}
			ends := func(r *running) {
				t.Helper()
				if code := r.stop(); code != program.ExitOK {
					t.Errorf("show: code %d: %s", code, &r.err)
				}
			}
			obeys := func(line string) {
				t.Helper()
				place := len(machine.out.String())
				machine.says(line)
				machine.out.since(t, place, strings.Fields(line)[0], "wraps")
			}
			// What a master sees that polls all the while.
			master := watching(patient)
			master.out.has(t, good)
			for _, fault := range []struct{ command, sees, heal string }{
				{"exception 4", "fault: ", "healthy"},
				{"frozen", "fault: beat has stood at", "healthy"},
				{"unplug", "silent: ", "replug"},
				{"slow 1ms", good, "healthy"}, // a wire that is slow but right
			} {
				place := len(master.out.String())
				obeys(fault.command)
				master.out.since(t, place, fault.sees)
				place = len(master.out.String())
				obeys(fault.heal)
				master.out.since(t, place, good)
			}
			place := len(master.out.String())
			obeys("wrap")
			wrapped := regexp.MustCompile(`(?s)total=99\d .*total=\d{1,2} `) // not each count is polled on a busy computer
			for end := time.Now().Add(patience); !wrapped.MatchString(flat(master.out.String()[place:])); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("the totaliser does not wrap:\n%s", &master.out)
				}
			}
			ends(master)
			// What only shows when a master gives up.
			for _, fault := range []string{"late", "late 1m", "dropped", "half", "garbage", "wrong-unit", "slow 1s"} {
				obeys(fault)
				master := watching(hasty)
				master.out.has(t, "silent: ")
				if ends(master); fault != "late" && strings.Contains(master.out.String(), good) { // who is late once may be in time for a later poll
					t.Errorf("%s: it is read all the same:\n%s", fault, &master.out)
				}
				obeys("healthy")
				stdout, stderr, code := run(t, "", "show", "-link", at, "-profile", patient, "-every", "100ms", "-count", "1")
				if code != program.ExitOK || !strings.Contains(stdout, good) {
					t.Errorf("healed of %s: code %d: %s%s", fault, code, stdout, stderr)
				}
			}
			machine.says("quit")
			if code := machine.wait(); code != program.ExitOK || strings.Contains(machine.out.String(), "error: ") {
				t.Errorf("simulate: code %d: %s", code, &machine.out)
			}
		})
	}
}

// flat ends each line with a blank, as each value within it does.
func flat(lines string) string { return strings.ReplaceAll(lines, "\n", " \n") }

// A reset on command is one: the next request is answered by a connection that breaks, or a line
// that hangs up, and behind it all is well. A bus would mend it before anybody sees it, so the
// client is a bare one.
func TestResetOnCommand(t *testing.T) {
	t.Parallel()
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
	const good, silent, damaged, lost = `"valid":true`, "for 2s: ", "no valid frame for 2s", "line lost"
	all(t, machines, "healthy", good)
	for _, fault := range []struct{ command, sees string }{
		{"late 1m", silent}, {"dropped", silent}, {"half", damaged}, {"garbage", damaged}, {"slow 400ms", damaged},
	} {
		seen(t, machines, fault.command, fault.sees, good)
	}
	all(t, machines, "slow 1ms", good) // a wire that is slow but right
	all(t, machines, "unplug", lost)
	all(t, machines, "replug", good)
	all(t, machines, "reset 400ms", lost)
	all(t, machines, "healthy", good)
	seen(t, addressed, "wrong-unit", damaged, good)
	for _, m := range machines {
		place := len(m.out.String())
		m.says("wrap")
		m.out.since(t, place, "has no totaliser")
		if slices.Contains(others, m) {
			m.says("wrong-unit")
			m.out.since(t, place, "has no addresses")
		}
		if code := m.reader.stop(); code != program.ExitOK {
			t.Errorf("show: code %d: %s", code, &m.reader.err)
		}
	}
}

// seen returns every machine a fault until every reader says what is wanted of it, and heals it. Where
// the computer was so busy that for a second nothing came, a reader rightly speaks of silence, once:
// that machine is healed and has its fault again.
func seen(t *testing.T, machines []*watched, fault, want, healed string) {
	t.Helper()
	for end := time.Now().Add(patience); len(machines) > 0; {
		for _, m := range machines {
			m.place = len(m.reader.out.String())
			m.says(fault)
		}
		said := map[*watched]string{}
		for _, m := range machines {
			said[m] = m.reader.out.since(t, m.place, want, "no frame for 2s: ", "no answer for 2s: ")
		}
		all(t, machines, "healthy", healed)
		if machines = slices.DeleteFunc(slices.Clone(machines), func(m *watched) bool { return said[m] == want }); len(machines) > 0 && time.Now().After(end) {
			t.Fatalf("%s: %q did not come in time:\n%s", fault, want, &machines[0].reader.out)
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
		if code != program.ExitOK || len(values) != 1 {
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
	if code != program.ExitOK {
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
