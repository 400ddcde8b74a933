package weighbridge_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/weighbridge"
)

// yaohua is a line with Yaohua indicators in command mode.
type yaohua struct {
	t      *testing.T
	answer func(address, command byte) string

	mu    sync.Mutex
	asked []byte // addresses, in order
}

// wire plugs the line in and answers until the machine's end is closed.
func (y *yaohua) wire(link string) *os.File {
	y.t.Helper()
	machine := pollable(y.t, plug(y.t, link))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		request := make([]byte, 6)
		for {
			if _, err := io.ReadFull(machine, request); err != nil {
				return
			}
			if request[0] != 0x02 || request[5] != 0x03 || request[1]^request[2] != pairAt(request, 3) {
				y.t.Errorf("request % x", request)
				return
			}
			y.mu.Lock()
			y.asked = append(y.asked, request[1])
			reply := y.answer(request[1], request[2])
			y.mu.Unlock()
			if _, err := io.WriteString(machine, reply); err != nil {
				return
			}
		}
	}()
	y.t.Cleanup(func() { machine.Close(); <-ended })
	return machine
}

// pollable returns the machine's end as a file whose Close wakes a Read, and so hangs up at once.
func pollable(t *testing.T, machine *os.File) *os.File {
	t.Helper()
	fd, err := syscall.Dup(int(machine.Fd()))
	if err == nil {
		err = errors.Join(syscall.SetNonblock(fd, true), machine.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "machine")
}

func (y *yaohua) requests() string {
	y.mu.Lock()
	defer y.mu.Unlock()
	return string(y.asked)
}

// says is the answer of an indicator: six digits without decimals.
func says(address, command byte, kilograms int) string {
	return seal(fmt.Sprintf("%c%c+%06d0", address, command, kilograms))
}

// sharedReader reads the indicators of the addresses 1 to n as "A", "B" and so on.
func sharedReader(link string, d weighbridge.Dialect, n int, s *site) weighbridge.Reader {
	r := weighbridge.Reader{Line: serial.Config{Port: link}, Sink: s,
		RetryFrom: 20 * time.Millisecond, RetryTo: 200 * time.Millisecond}
	for address := 1; address <= n; address++ {
		r.Indicators = append(r.Indicators, weighbridge.Indicator{Device: string(rune('A' + address - 1)), Dialect: d,
			Options: weighbridge.Options{Address: address, TareIs: "C"}})
	}
	return r
}

func of(weights []device.Weight, name string) (mine []device.Weight) {
	for _, w := range weights {
		if w.Device == name {
			mine = append(mine, w)
		}
	}
	return mine
}

func stateOf(health []device.Health, name string) (last device.Health, changes int) {
	for _, h := range health {
		if h.Device == name {
			last = h
			changes++
		}
	}
	return last, changes
}

// Two weighbridges, one cable: each weight has the name of its own, and the line is asked in turn.
func TestTwoIndicatorsOnOneLine(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "line")
	loads := map[byte]int{'A': 12340, 'B': 23960}
	y := &yaohua{t: t, answer: func(address, command byte) string { return says(address, command, loads[address]) }}
	y.wire(link)
	s := newSite()
	r := sharedReader(link, dialect(t, "yaohua-cmd"), 2, s)
	r.Timeout = 20 * time.Second // on a machine that is busy an answer is late, and nobody is to be set aside for it
	stop := run(t, r)
	s.until(t, "four weights of each", func(w []device.Weight, _ []device.Health) bool {
		return len(of(w, "A")) >= 4 && len(of(w, "B")) >= 4
	})
	stop()
	weights, health := s.seen()
	for _, w := range weights {
		if w.Raw[1] != w.Device[0] || w.Value.String() != fmt.Sprint(loads[w.Device[0]]) || w.Kind != device.Gross {
			t.Errorf("%s weighs %s %s from %q", w.Device, w.Kind, w.Value, w.Raw)
		}
	}
	for _, name := range []string{"A", "B"} {
		if h, n := stateOf(health, name); h.State != device.Online || n != 1 {
			t.Errorf("%s: %d changes, latest %+v", name, n, h)
		}
	}
	if asked := y.requests(); strings.Contains(asked, "AA") || strings.Contains(asked, "BB") {
		t.Errorf("asked in the order %s, want in turn", asked)
	}
}

// One of three is switched off. It is told silent, the others are not; switched on, it is back
// without anybody's help.
func TestADeadIndicatorOnTheLine(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "line")
	on := false // guarded by the line's lock
	y := &yaohua{t: t}
	y.answer = func(address, command byte) string {
		if address == 'B' && !on {
			return ""
		}
		return says(address, command, 1000*int(address-'A'+1))
	}
	y.wire(link)
	s := newSite()
	r := sharedReader(link, dialect(t, "yaohua-cmd"), 3, s)
	r.Timeout = 100 * time.Millisecond
	run(t, r)
	s.until(t, "silence of B", func(_ []device.Weight, h []device.Health) bool {
		b, _ := stateOf(h, "B")
		return b.State == device.Silent
	})
	weights, health := s.seen()
	for _, name := range []string{"A", "C"} {
		if h, n := stateOf(health, name); h.State != device.Online || n != 1 || len(of(weights, name)) == 0 {
			t.Errorf("%s suffers: %d weights, %d changes, %+v", name, len(of(weights, name)), n, h)
		}
	}
	if len(of(weights, "B")) != 0 {
		t.Errorf("a dead indicator weighs: %+v", of(weights, "B"))
	}
	s.until(t, "two rounds without B", func([]device.Weight, []device.Health) bool { return strings.Contains(y.requests(), "ACACA") })
	y.mu.Lock()
	on = true
	y.mu.Unlock()
	s.until(t, "B again", func(w []device.Weight, h []device.Health) bool {
		b, _ := stateOf(h, "B")
		return b.State == device.Online && len(of(w, "B")) > 1
	})
}

// A answers so late that B has been asked already. What it says is never B's weight.
func TestALateAnswerIsNobodyElsesWeight(t *testing.T) {
	t.Parallel()
	late := func(t *testing.T, d weighbridge.Dialect, enough func([]device.Weight) bool) []device.Weight {
		t.Helper()
		link := filepath.Join(t.TempDir(), "line")
		held := ""
		y := &yaohua{t: t, answer: func(address, command byte) string {
			if address == 'A' {
				held = says('A', command, 12340)
				return ""
			}
			reply := held + says('B', command, 23960)
			held = ""
			return reply
		}}
		y.wire(link)
		s := newSite()
		r := sharedReader(link, d, 2, s)
		r.Timeout = 100 * time.Millisecond
		stop := run(t, r)
		s.until(t, "the weights", func(w []device.Weight, _ []device.Health) bool { return enough(w) })
		stop()
		weights, _ := s.seen()
		return weights
	}
	t.Run("the address is looked at", func(t *testing.T) {
		t.Parallel()
		for _, w := range late(t, dialect(t, "yaohua-cmd"), func(w []device.Weight) bool { return len(of(w, "B")) >= 5 }) {
			if w.Device != "B" || w.Value.String() != "23960" || w.Raw[1] != 'B' {
				t.Errorf("%s weighs %s from %q", w.Device, w.Value, w.Raw)
			}
		}
	})
	t.Run("the negative control: it is not", func(t *testing.T) {
		t.Parallel()
		stolen := func(w []device.Weight) bool {
			for _, w := range of(w, "B") {
				if w.Value.String() == "12340" {
					return true
				}
			}
			return false
		}
		late(t, weighbridge.Deaf(dialect(t, "yaohua-cmd")), stolen)
	})
}

// A sends half an answer in one turn and the other half in the next: together they would pass the
// checksum, and be a weight that was never on the bridge when both were sent.
func TestHalfAnAnswerIsNotGluedToTheNext(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "line")
	turn := 0
	y := &yaohua{t: t, answer: func(address, command byte) string {
		if address == 'B' {
			return says('B', command, 23960)
		}
		whole := says('A', command, 12340)
		if turn++; turn%2 == 1 {
			return whole[:7]
		}
		return whole[7:]
	}}
	y.wire(link)
	s := newSite()
	r := sharedReader(link, dialect(t, "yaohua-cmd"), 2, s)
	r.Timeout = 100 * time.Millisecond
	r.Line.Baud = 600 // so slow that a pause of a turn does not end a frame by itself
	stop := run(t, r)
	s.until(t, "five weights", func(w []device.Weight, _ []device.Health) bool { return len(w) >= 5 })
	stop()
	weights, _ := s.seen()
	if glued := of(weights, "A"); len(glued) != 0 {
		t.Errorf("A weighs %s from %q", glued[0].Value, glued[0].Raw)
	}
}

// The tare was asked for, and comes when the gross has been asked for since: it is a tare.
func TestALateAnswerKeepsItsMeaning(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "line")
	held := ""
	y := &yaohua{t: t, answer: func(address, command byte) string {
		switch {
		case address == 'A' && command == 'C':
			held = says('A', 'C', 8000)
			return ""
		case address == 'A':
			reply := held + says('A', command, 12340)
			held = ""
			return reply
		}
		return says(address, command, 23960)
	}}
	y.wire(link)
	s := newSite()
	r := sharedReader(link, dialect(t, "yaohua-cmd"), 2, s)
	ask := make(chan weighbridge.Request)
	r.Indicators[0].Ask = ask
	stop := run(t, r)
	s.until(t, "a weight of each", func(w []device.Weight, _ []device.Health) bool { return len(of(w, "A")) > 0 && len(of(w, "B")) > 0 })
	ask <- weighbridge.ReadTare
	s.until(t, "the tare", func(w []device.Weight, _ []device.Health) bool {
		mine := of(w, "A")
		return slices.ContainsFunc(mine, func(w device.Weight) bool { return w.Kind == device.Tare }) && mine[len(mine)-1].Kind == device.Gross
	})
	stop()
	weights, _ := s.seen()
	for _, w := range weights {
		if want := map[device.Kind]string{device.Gross: "12340", device.Tare: "8000"}[w.Kind]; w.Device == "A" && w.Value.String() != want {
			t.Errorf("%s reads %s", w.Kind, w.Value)
		}
	}
}

// The indicator that answers to B's requests calls itself C: no weight for anybody, one fault that
// says where to look, and no harm to A.
func TestAWrongAddressIsAFaultOfItsOwn(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "line")
	y := &yaohua{t: t, answer: func(address, command byte) string {
		if address == 'B' {
			return says('C', command, 23960)
		}
		return says(address, command, 12340)
	}}
	y.wire(link)
	s := newSite()
	r := sharedReader(link, dialect(t, "yaohua-cmd"), 2, s)
	r.Timeout = 200 * time.Millisecond
	stop := run(t, r)
	var fault device.Health
	s.until(t, "the fault of B", func(_ []device.Weight, h []device.Health) bool {
		fault, _ = stateOf(h, "B")
		return fault.State == device.Faulty
	})
	before, _ := s.seen()
	s.until(t, "more of A", func(w []device.Weight, _ []device.Health) bool { return len(w) >= len(before)+5 })
	stop()
	weights, health := s.seen()
	if others := len(weights) - len(of(weights, "A")); others != 0 {
		t.Errorf("%d weights are not A's", others)
	}
	if !strings.Contains(fault.Detail, "address") { // that it stays at that is shown without a clock in turn_internal_test.go
		t.Errorf("B: %+v", fault)
	}
	for _, h := range saying(health, device.Faulty) {
		if h.Device != "B" {
			t.Errorf("a fault of %+v", h)
		}
	}
}

// The cable of a whole line is pulled in the middle of an answer, and plugged in again.
func TestUnplugASharedLine(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "line")
	y := &yaohua{t: t, answer: func(address, command byte) string { return says(address, command, 12340) }}
	machine := y.wire(link)
	s := newSite()
	run(t, sharedReader(link, dialect(t, "yaohua-cmd"), 2, s))
	both := func(state device.State) func([]device.Weight, []device.Health) bool {
		return func(_ []device.Weight, h []device.Health) bool {
			a, _ := stateOf(h, "A")
			b, _ := stateOf(h, "B")
			return a.State == state && b.State == state
		}
	}
	s.until(t, "both online", both(device.Online))
	if _, err := machine.WriteString("\x02AB+0123"); err != nil {
		t.Fatal(err)
	}
	machine.Close()
	os.Remove(link)
	s.until(t, "both at fault", both(device.Faulty))
	y.wire(link)
	s.until(t, "both back", both(device.Online))
	weights, _ := s.seen()
	for _, w := range weights {
		if w.Value.String() != "12340" || w.Raw[1] != w.Device[0] {
			t.Errorf("%s weighs %s from %q", w.Device, w.Value, w.Raw)
		}
	}
}

// A registered weighing between two polls of a live display: told once, sent once, and the number
// of the alibi memory comes with the weight. What was asked for while the line was down is dropped:
// another vehicle may stand there when it is up.
func TestRegisterOnALiveLine(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "line")
	s := newSite()
	r := reader(t, link, "dini-short", s)
	ask := make(chan weighbridge.Request, 4)
	r.Indicators[0].Ask = ask
	r.Indicators[0].Options.Address = 7
	ask <- weighbridge.Store // nothing is plugged in yet
	stop := run(t, r)
	s.until(t, "the fault", func(_ []device.Weight, h []device.Health) bool { return state(h) == device.Faulty })
	machine := pollable(t, plug(t, link))
	var mu sync.Mutex
	sent := map[string]int{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var line []byte
		for one := make([]byte, 1); ; {
			if _, err := machine.Read(one); err != nil {
				return
			}
			if line = append(line, one[0]); !bytes.HasSuffix(line, []byte("\r\n")) {
				continue
			}
			mu.Lock()
			sent[string(line)]++
			mu.Unlock()
			reply := "07ST,GS,   12340,kg\r\n"
			if string(line) == "07PID\r\n" {
				reply = "07PIDST,1,     12340kg,           0kg,00126-000048\r\n"
			}
			line = line[:0]
			if _, err := io.WriteString(machine, reply); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { machine.Close(); <-ended })
	s.until(t, "live weights", func(w []device.Weight, _ []device.Health) bool { return len(w) >= 3 })
	mu.Lock()
	if n := sent["07PID\r\n"]; n != 0 {
		t.Errorf("registered %d times for a request of before", n)
	}
	mu.Unlock()
	ask <- weighbridge.Store
	registered := func(w []device.Weight) (n int) {
		for _, w := range w {
			if w.Alibi == "00126-000048" {
				n++
			}
		}
		return n
	}
	s.until(t, "the registered weight and two live ones", func(w []device.Weight, _ []device.Health) bool {
		return registered(w) > 0 && len(w) > 2 && registered(w[len(w)-2:]) == 0
	})
	stop()
	mu.Lock()
	defer mu.Unlock()
	if weights, _ := s.seen(); sent["07PID\r\n"] != 1 || registered(weights) != 1 || len(sent) != 2 {
		t.Errorf("sent %v, registered %d", sent, registered(weights))
	}
}

func TestCheckRefusesWhatCannotShareALine(t *testing.T) {
	indicator := func(device, name string, address int, listen bool) weighbridge.Indicator {
		return weighbridge.Indicator{Device: device, Dialect: dialect(t, name), Options: weighbridge.Options{Address: address}, Listen: listen}
	}
	type line = []weighbridge.Indicator
	for _, test := range []struct {
		name string
		line line
		want string // empty: accepted
	}{
		{"two with addresses", line{indicator("a", "yaohua-cmd", 1, false), indicator("b", "yaohua-cmd", 2, false)}, ""},
		{"the default address and another", line{indicator("a", "yaohua-cmd", 0, false), indicator("b", "yaohua-cmd", 2, false)}, ""},
		{"polled and registered", line{indicator("a", "dini-short", 1, false), indicator("b", "dini-pid", 2, false), indicator("c", "dini-ext", 3, false)}, ""},
		{"two makers", line{indicator("a", "laumas-ascii", 1, false), indicator("b", "yaohua-cmd", 2, false)}, ""},
		{"one alone that sends", line{indicator("a", "yaohua-tf0", 0, false)}, ""},
		{"one alone without address", line{indicator("a", "sics", 0, false)}, ""},
		{"two that send", line{indicator("a", "yaohua-tf0", 0, false), indicator("b", "yaohua-tf0", 0, false)}, `indicator "b": sends by itself`},
		{"one that sends beside one that is asked", line{indicator("a", "yaohua-cmd", 1, false), indicator("b", "and18", 0, false)}, `indicator "b": sends by itself`},
		{"one set to send by itself", line{indicator("a", "yaohua-cmd", 1, true), indicator("b", "yaohua-cmd", 2, false)}, `indicator "a": sends by itself`},
		{"a dialect without address", line{indicator("a", "sics", 0, false), indicator("b", "yaohua-cmd", 2, false)}, `indicator "a": dialect sics knows no address`},
		{"registered, without address", line{indicator("a", "systec-rn", 0, false), indicator("b", "yaohua-cmd", 2, false)}, `dialect systec-rn knows no address`},
		{"no address set", line{indicator("a", "dini-short", 0, false), indicator("b", "dini-short", 2, false)}, `indicator "a": has no address`},
		{"the same address", line{indicator("a", "yaohua-cmd", 3, false), indicator("b", "yaohua-cmd", 3, false)}, `indicator "b": address 3 is that of "a"`},
		{"the default address twice", line{indicator("a", "laumas-ascii", 0, false), indicator("b", "laumas-ascii", 1, false)}, `indicator "b": address 1 is that of "a"`},
		{"the same name", line{indicator("a", "yaohua-cmd", 1, false), indicator("a", "yaohua-cmd", 2, false)}, `indicator "a": is on this line twice`},
	} {
		err := weighbridge.Reader{Line: serial.Config{Port: "/dev/null"}, Indicators: test.line, Sink: newSite()}.Check()
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// Three turns of everyone, when each takes as long as it may.
func TestSilenceAllowsForTheOthersTurns(t *testing.T) {
	r := sharedReader("/dev/null", dialect(t, "yaohua-cmd"), 3, newSite())
	if got, want := r.SilenceAfter(), 3*3*700*time.Millisecond; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
