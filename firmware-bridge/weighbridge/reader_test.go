package weighbridge_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/sim"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// site is a sink that remembers and lets a test wait for what must come.
type site struct {
	mu      sync.Mutex
	weights []device.Weight
	health  []device.Health
	changed chan struct{}
}

func newSite() *site { return &site{changed: make(chan struct{}, 1)} }

func (s *site) poke() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *site) Weight(w device.Weight) {
	s.mu.Lock()
	s.weights = append(s.weights, w)
	s.mu.Unlock()
	s.poke()
}

func (s *site) Scan(device.Scan) {}

func (s *site) Health(h device.Health) {
	s.mu.Lock()
	s.health = append(s.health, h)
	s.mu.Unlock()
	s.poke()
}

func (s *site) seen() ([]device.Weight, []device.Health) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]device.Weight(nil), s.weights...), append([]device.Health(nil), s.health...)
}

// until waits for a condition; the limit only ends a test that would hang.
func (s *site) until(t *testing.T, what string, done func([]device.Weight, []device.Health) bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		weights, health := s.seen()
		if done(weights, health) {
			return
		}
		select {
		case <-s.changed:
		case <-limit:
			t.Fatalf("waited for %s: %d weights, health %v", what, len(weights), health)
		}
	}
}

// saying are the changes to a state, the oldest first. What comes after one that was waited for, as
// silence on a machine that is busy, does not hide it.
func saying(health []device.Health, state device.State) (all []device.Health) {
	for _, h := range health {
		if h.State == state {
			all = append(all, h)
		}
	}
	return all
}

func state(health []device.Health) device.State {
	if len(health) == 0 {
		return ""
	}
	return health[len(health)-1].State
}

// plug makes a pty that link leads to, and returns the machine's end.
func plug(t *testing.T, link string) *os.File {
	t.Helper()
	machine, tty, err := sim.OpenTerminal()
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(link)
	if err := os.Symlink(tty.Name(), link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { machine.Close(); tty.Close() })
	return machine
}

// send repeats a frame as an indicator does, until stop is called; stop waits for the last one.
func send(machine io.Writer, frame []byte, pause time.Duration) (stop func()) {
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-quit:
				return
			case <-time.After(pause):
				if _, err := machine.Write(frame); err != nil {
					return
				}
			}
		}
	}()
	return func() { close(quit); <-ended }
}

// start runs a reader until the test ends, and then waits for it.
func run(t *testing.T, r weighbridge.Reader) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func reader(t *testing.T, link, dialectName string, s *site) weighbridge.Reader {
	t.Helper()
	return weighbridge.Reader{
		Line:       serial.Config{Port: link},
		Indicators: []weighbridge.Indicator{{Device: "weighbridge-1", Dialect: dialect(t, dialectName)}},
		Sink:       s, RetryFrom: 20 * time.Millisecond, RetryTo: 200 * time.Millisecond,
	}
}

// A lorry drives over a bridge whose indicator was captured: empty, a car of 1560 kg, with its
// driver 1650 kg, a lorry of 23960 kg. What was on the line must come out, in order, with its
// bytes as evidence.
func TestCapturedFramesThroughAPty(t *testing.T) {
	link := filepath.Join(t.TempDir(), "indicator")
	machine := plug(t, link)
	s := newSite()
	stop := run(t, reader(t, link, "yaohua-tf0", s))
	empty := []byte("\x02+00000001B\x03")
	quiet := send(machine, empty, 5*time.Millisecond)
	s.until(t, "the first weight", func(w []device.Weight, _ []device.Health) bool { return len(w) > 2 })
	quiet()
	wants := []string{"1560", "1650", "23960", "12340", "-60", "123.4"}
	byValue := make(map[string][]byte)
	for _, v := range vectors(t) {
		if value, ok := v.Expect["value"].(string); ok && v.Proto == "yaohua-tf0" {
			byValue[value] = v.bytes(t)
		}
	}
	for _, want := range wants {
		frame := byValue[want]
		for _, piece := range [][]byte{frame[:5], frame[5:]} {
			if _, err := machine.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
	}
	var tail []device.Weight
	s.until(t, "all weights", func(ws []device.Weight, _ []device.Health) bool {
		tail = tail[:0]
		for _, w := range ws {
			if w.Value.Coef != 0 {
				tail = append(tail, w)
			}
		}
		return len(tail) == len(wants)
	})
	stop()
	for i, w := range tail {
		if w.Value.String() != wants[i] || !bytes.Equal(w.Raw, byValue[wants[i]]) || w.Device != "weighbridge-1" {
			t.Errorf("weight %d: %+v, want %s", i, w, wants[i])
		}
		if i > 0 && w.At.Before(tail[i-1].At) {
			t.Errorf("weight %d arrived before %d", i, i-1)
		}
	}
	if _, health := s.seen(); len(saying(health, device.Online)) == 0 || len(saying(health, device.Faulty)) != 0 {
		t.Errorf("health %+v, want online and no fault", health)
	}
}

// Pulling the plug is a fault, and plugging in again heals it without anybody's help. Nothing that
// stood half read may be glued to what comes after.
func TestUnplugAndReplug(t *testing.T) {
	link := filepath.Join(t.TempDir(), "indicator")
	machine := plug(t, link)
	s := newSite()
	run(t, reader(t, link, "yaohua-eq-fwd", s))
	for round := range 3 {
		quiet := send(machine, []byte("=0012340."), 5*time.Millisecond)
		before, _ := s.seen()
		s.until(t, "weights", func(w []device.Weight, h []device.Health) bool {
			return len(w) > len(before)+2 && state(h) == device.Online
		})
		quiet()
		if _, err := machine.Write([]byte("=0099")); err != nil { // the plug is pulled in mid-frame
			t.Fatal(err)
		}
		machine.Close()
		os.Remove(link)
		var fault device.Health
		s.until(t, "the fault", func(_ []device.Weight, h []device.Health) bool {
			if state(h) == device.Faulty {
				fault = h[len(h)-1]
			}
			return state(h) == device.Faulty
		})
		if !strings.Contains(fault.Detail, "line lost") {
			t.Errorf("round %d: detail %q", round, fault.Detail)
		}
		machine = plug(t, link)
	}
	weights, health := s.seen()
	for _, w := range weights {
		if w.Value.String() != "12340" {
			t.Errorf("weight %s from % x", w.Value, w.Raw)
		}
	}
	for i := 1; i < len(health); i++ {
		if health[i].State == health[i-1].State {
			t.Errorf("state %s reported twice in a row", health[i].State)
		}
	}
}

func TestSilenceAndWrongDialectAreToldApart(t *testing.T) {
	link := filepath.Join(t.TempDir(), "indicator")
	machine := plug(t, link)
	s := newSite()
	run(t, reader(t, link, "yaohua-tf0", s))
	s.until(t, "silence", func(_ []device.Weight, h []device.Health) bool { return state(h) == device.Silent })
	quiet := send(machine, []byte("ST,GS,+0012340kg\r\n"), 10*time.Millisecond)
	s.until(t, "the fault", func(_ []device.Weight, h []device.Health) bool { return len(saying(h, device.Faulty)) > 0 })
	quiet()
	_, health := s.seen()
	fault := saying(health, device.Faulty)[0]
	for _, want := range []string{"no byte 02, with which a frame begins", "53 54 2C 47 53", "ST,GS,+0012340kg", "wrong baud rate, format, checksum or dialect?"} {
		if !strings.Contains(fault.Detail, want) {
			t.Errorf("fault %+v does not say %q", fault, want)
		}
	}
	quiet = send(machine, []byte("\x02+01234001F\x03"), 10*time.Millisecond)
	s.until(t, "the right dialect", func(w []device.Weight, h []device.Health) bool { return len(w) > 0 && state(h) == device.Online })
	quiet()
	s.until(t, "silence again", func(_ []device.Weight, h []device.Health) bool { return state(h) == device.Silent })
}

// Behind a terminal server the speed is set there, so nobody is sent to look for it here.
func TestWordsOfANetworkLine(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			stop := send(conn, []byte("ST,NX,+0012340kg\r\n"), 10*time.Millisecond)
			t.Cleanup(func() { conn.Close(); stop() })
		}
	}()
	s := newSite()
	stop := run(t, reader(t, "tcp://"+listener.Addr().String(), "and18", s))
	s.until(t, "the fault", func(_ []device.Weight, h []device.Health) bool { return len(saying(h, device.Faulty)) > 0 })
	stop()
	_, health := s.seen()
	fault := saying(health, device.Faulty)[0].Detail
	for _, want := range []string{"a status or legend is not known", "ST,NX,+0012340kg", "terminal server"} {
		if !strings.Contains(fault, want) {
			t.Errorf("%q does not say %q", fault, want)
		}
	}
	if strings.Contains(fault, "baud") {
		t.Errorf("%q speaks of baud", fault)
	}
}

// An indicator with a layout of its own that must be asked is asked with the question of its file.
func TestALayoutIsAsked(t *testing.T) {
	link := filepath.Join(t.TempDir(), "indicator")
	machine := plug(t, link)
	go func() {
		buf := make([]byte, 64)
		for {
			n, err := machine.Read(buf)
			if err != nil {
				return
			}
			if string(buf[:n]) == "RW\r\n" {
				if _, err := machine.WriteString("ST,GS,+0012340kg\r\n"); err != nil {
					return
				}
			}
		}
	}()
	s := newSite()
	r := reader(t, link, "generic", s)
	r.Indicators[0].Options = weighbridge.Options{Layout: comma(), Request: weighbridge.Bytes("RW\r\n")}
	r.Indicators[0].Dialect = r.Indicators[0].Dialect.For(r.Indicators[0].Options)
	run(t, r)
	s.until(t, "three answers", func(w []device.Weight, _ []device.Health) bool { return len(w) >= 3 })
	if weights, _ := s.seen(); weights[0].Value.String() != "12340" || weights[0].Kind != device.Gross {
		t.Errorf("%+v", weights[0])
	}
}

func TestMissingAdapterIsAFaultAndHeals(t *testing.T) {
	link := filepath.Join(t.TempDir(), "indicator")
	s := newSite()
	run(t, reader(t, link, "yaohua-tf0", s))
	s.until(t, "the fault", func(_ []device.Weight, h []device.Health) bool { return state(h) == device.Faulty })
	if _, health := s.seen(); !strings.Contains(health[0].Detail, "is the adapter plugged in?") {
		t.Errorf("health %+v", health)
	}
	quiet := send(plug(t, link), []byte("\x02+01234001F\x03"), 5*time.Millisecond)
	defer quiet()
	s.until(t, "a weight", func(w []device.Weight, h []device.Health) bool { return len(w) > 0 && state(h) == device.Online })
}

// A polled indicator on a terminal server: it answers requests, and only those.
func TestPolledIndicatorOverTCP(t *testing.T) {
	for name, talk := range map[string]struct{ request, reply string }{
		"yaohua-cmd":   {"\x02AB03\x03", "\x02AB+01234001C\x03"},
		"sics":         {"SI\r\n", "S S      12340 kg\r\n"},
		"sma":          {"\nW\r", "\n 1G       12340kg \r"},
		"dini-short":   {"READ\r\n", "ST,GS,   12340,kg\r\n"},
		"laumas-ascii": {"$01t75\r", "&&01012340t\\71\r"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			asked := make(chan []time.Time, 1)
			go func() {
				var at []time.Time
				defer func() { asked <- at }()
				conn, err := server.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				request := make([]byte, len(talk.request))
				for {
					if _, err := io.ReadFull(conn, request); err != nil {
						return
					}
					if string(request) != talk.request {
						t.Errorf("asked %q, want %q", request, talk.request)
						return
					}
					at = append(at, time.Now())
					if _, err := conn.Write([]byte(talk.reply)); err != nil {
						return
					}
				}
			}()
			s := newSite()
			r := reader(t, "tcp://"+server.Addr().String(), name, s)
			r.Timeout = time.Minute // a machine that is busy answers late; asked again, it would see two requests at once
			stop := run(t, r)
			s.until(t, "four answers", func(w []device.Weight, _ []device.Health) bool { return len(w) >= 4 })
			stop()
			server.Close()
			weights, _ := s.seen()
			for _, w := range weights {
				if w.Value.String() != "12340" {
					t.Errorf("%+v", w)
				}
			}
			at := <-asked
			for i := 1; i < len(at); i++ { // the pause starts after the answer; 5 ms for the clock's reading
				if gap := at[i].Sub(at[i-1]); gap < 195*time.Millisecond {
					t.Errorf("request %d came %s after the one before", i, gap)
				}
			}
		})
	}
}

// Registered weighing writes into the indicator's alibi memory: it happens on request only.
func TestRegisterIsNeverPolled(t *testing.T) {
	link := filepath.Join(t.TempDir(), "indicator")
	machine := pollable(t, plug(t, link))
	s := newSite()
	ask := make(chan weighbridge.Request, 2)
	r := reader(t, link, "systec-rn", s)
	r.Indicators[0].Ask = ask
	run(t, r)
	s.until(t, "an open line", func(_ []device.Weight, h []device.Health) bool { return state(h) == device.Online })
	ask <- "zero" // not a request: dropped
	ask <- weighbridge.Store
	asked := make(chan byte, 64)
	t.Cleanup(func() {
		machine.Close()
		for range asked { // until the goroutine has ended
		}
	})
	go func() {
		defer close(asked)
		for one := make([]byte, 1); ; {
			if _, err := machine.Read(one); err != nil {
				return
			}
			asked <- one[0]
		}
	}()
	for _, want := range []byte("<RN>") {
		if got := <-asked; got != want {
			t.Fatalf("asked %q, want %q", got, want)
		}
	}
	if _, err := machine.Write([]byte("<000005.06.1813:12   21   20000       0   20000kg  >")); err != nil {
		t.Fatal(err)
	}
	s.until(t, "the answer", func(w []device.Weight, _ []device.Health) bool {
		return len(w) == 1 && w[0].Value.String() == "20000" && w[0].Alibi == "05.06.18/1/2"
	})
	select {
	case c := <-asked:
		t.Errorf("asked again without being told: %q", c)
	case <-time.After(time.Second): // more than a poll's pause
	}
}

func TestRunRefusesABadConfiguration(t *testing.T) {
	s := newSite()
	for want, change := range map[string]func(*weighbridge.Reader){
		"no device id":        func(r *weighbridge.Reader) { r.Indicators[0].Device = "" },
		"no indicator":        func(r *weighbridge.Reader) { r.Indicators = nil },
		"no sink":             func(r *weighbridge.Reader) { r.Sink = nil },
		"gap 100ms":           func(r *weighbridge.Reader) { r.Gap = 100 * time.Millisecond },
		"baud 7":              func(r *weighbridge.Reader) { r.Line.Baud = 7 },
		"weighbridge dialect": func(r *weighbridge.Reader) { r.Indicators[0].Dialect = weighbridge.Dialect{} },
		"option address":      func(r *weighbridge.Reader) { r.Indicators[0].Options.Address = 3 },
	} {
		r := reader(t, "/dev/null", "yaohua-tf0", s)
		change(&r)
		if err := r.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestSilenceFollowsTheLine(t *testing.T) {
	for _, test := range []struct {
		dialect string
		baud    int
		want    time.Duration
	}{
		{"yaohua-tf0", 9600, 500 * time.Millisecond}, // ten frames of 12.5 ms are less
		{"yaohua-tf0", 600, 2 * time.Second},
		{"sma", 9600, 2100 * time.Millisecond},  // three polls without an answer
		{"sics", 9600, 6600 * time.Millisecond}, // each may take two seconds
	} {
		r := reader(t, "/dev/null", test.dialect, newSite())
		r.Line.Baud = test.baud
		if got := r.SilenceAfter(); got != test.want {
			t.Errorf("%s at %d: %s, want %s", test.dialect, test.baud, got, test.want)
		}
	}
}
