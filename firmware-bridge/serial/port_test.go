package serial_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// plug makes a pty and lets link, which stands for /dev/serial/by-id/…, lead to it. The returned
// end is the machine's; closing it pulls the plug.
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

func open(t *testing.T, c serial.Config) *serial.Port {
	t.Helper()
	port, err := serial.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { port.Close() })
	return port
}

func link(t *testing.T) string { return filepath.Join(t.TempDir(), "scale") }

// readFull collects n bytes, and not one more, over any number of Reads and silences.
func readFull(t *testing.T, port *serial.Port, n int) []byte {
	t.Helper()
	var got []byte
	buf := make([]byte, n)
	for limit := time.Now().Add(20 * time.Second); len(got) < n; {
		k, err := port.Read(buf[len(got):])
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("after %d of %d bytes: %v", len(got), n, err)
		}
		if got = buf[:len(got)+k]; time.Now().After(limit) {
			t.Fatalf("only %d of %d bytes came: % x", len(got), n, got)
		}
	}
	return got
}

// Every one of the 256 characters must come through, among them 03h (which a cooked tty takes
// for Ctrl-C), 0Dh, 11h and 13h, in both directions.
func TestLineIsRaw(t *testing.T) {
	device := link(t)
	machine := plug(t, device)
	port := open(t, serial.Config{Port: device})
	want := make([]byte, 256)
	for i := range want {
		want[i] = byte(i)
	}
	if _, err := machine.Write(want); err != nil {
		t.Fatal(err)
	}
	if got := readFull(t, port, len(want)); !bytes.Equal(got, want) {
		t.Errorf("read % x", got)
	}
	if n, err := port.Write(want); n != len(want) || err != nil {
		t.Fatalf("wrote %d, %v", n, err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(machine, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("machine got % x", got)
	}
}

// A scale that is merely quiet for two seconds: every Read ends with the deadline, none returns
// nothing without an error, and the number of Reads is that of the poll times.
func TestSilenceIsNotAFault(t *testing.T) {
	const silence = 2 * time.Second
	lines := map[string]func(t *testing.T) (io.Writer, string){
		"tty": func(t *testing.T) (io.Writer, string) {
			device := link(t)
			return plug(t, device), device
		},
		"tcp": func(t *testing.T) (io.Writer, string) {
			server := listen(t)
			return deferred{server}, "tcp://" + server.Addr().String()
		},
	}
	for name, line := range lines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			machine, address := line(t)
			port := open(t, serial.Config{Port: address, Poll: 10 * time.Millisecond})
			if d, ok := machine.(deferred); ok {
				conn, err := d.Accept()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				machine = conn
			}
			buf := make([]byte, 64)
			reads := 0
			for start := time.Now(); time.Since(start) < silence; reads++ {
				if n, err := port.Read(buf); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("read %d: %d bytes, %v", reads, n, err)
				}
			}
			if most := int(silence/(10*time.Millisecond)) + 1; reads > most {
				t.Errorf("%d reads in %s of silence, at most %d expected: the loop is busy", reads, silence, most)
			}
			if _, err := machine.Write([]byte("=0012340.")); err != nil {
				t.Fatal(err)
			}
			if got := readFull(t, port, 9); string(got) != "=0012340." {
				t.Errorf("after the silence: %q", got)
			}
		})
	}
}

type deferred struct{ *net.TCPListener }

func (deferred) Write([]byte) (int, error) { return 0, errors.New("not accepted yet") }

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	server, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server
}

func TestUnplugIsDistinguishable(t *testing.T) {
	device := link(t)
	machine := plug(t, device)
	port := open(t, serial.Config{Port: device, Poll: 10 * time.Second})
	failed := make(chan error, 1)
	go func() { // blocked in Read when the plug is pulled
		_, err := port.Read(make([]byte, 8))
		failed <- err
	}()
	machine.Close()
	err := <-failed
	if !errors.Is(err, serial.ErrUnplugged) || errors.Is(err, os.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read of an unplugged line: %v, want ErrUnplugged", err)
	}
	if _, err := port.Write([]byte("x")); !errors.Is(err, serial.ErrUnplugged) {
		t.Errorf("write to an unplugged line: %v, want ErrUnplugged", err)
	}
	if err := port.Close(); err != nil {
		t.Errorf("close of an unplugged line: %v", err)
	}
}

func TestTerminalServerHangsUp(t *testing.T) {
	server := listen(t)
	port := open(t, serial.Config{Port: "tcp://" + server.Addr().String()})
	conn, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	for {
		_, err = port.Read(make([]byte, 8))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	if !errors.Is(err, serial.ErrUnplugged) {
		t.Errorf("read: %v, want ErrUnplugged", err)
	}
}

func TestReplugIsFoundByReopening(t *testing.T) {
	device := link(t)
	machine := plug(t, device)
	for round := range 3 {
		var port *serial.Port
		for limit := time.Now().Add(20 * time.Second); ; { // as a reader reopens
			var err error
			if port, err = serial.Open(serial.Config{Port: device, Poll: 50 * time.Millisecond}); err == nil {
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("round %d: %v", round, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if _, err := machine.Write([]byte("ok")); err != nil {
			t.Fatal(err)
		}
		if got := readFull(t, port, 2); string(got) != "ok" {
			t.Errorf("round %d: read %q", round, got)
		}
		machine.Close()
		os.Remove(device)
		for {
			if _, err := port.Read(make([]byte, 8)); errors.Is(err, serial.ErrUnplugged) {
				break
			}
		}
		if err := port.Close(); err != nil {
			t.Errorf("round %d: close: %v", round, err)
		}
		if _, err := serial.Open(serial.Config{Port: device}); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("round %d: open of a missing adapter: %v", round, err)
		}
		machine = plug(t, device)
	}
}

// Bytes that the machine sent before anybody was interested must not be read as the present.
func TestOpenDiscardsWhatIsOld(t *testing.T) {
	device := link(t)
	machine := plug(t, device)
	first := open(t, serial.Config{Port: device}) // makes the line raw
	if _, err := machine.Write([]byte("old")); err != nil {
		t.Fatal(err)
	}
	readFull(t, first, 1) // then the others have arrived as well: what the kernel is still carrying could not be discarded
	first.Close()
	port := open(t, serial.Config{Port: device, Poll: 50 * time.Millisecond})
	if n, err := port.Read(make([]byte, 8)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d old bytes, %v", n, err)
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	device := link(t)
	plug(t, device)
	port := open(t, serial.Config{Port: device})
	other := link(t) // another name of the same adapter
	target, err := os.Readlink(device)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, other); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{device, other, target} {
		second, err := serial.Open(serial.Config{Port: name})
		if err == nil {
			second.Close()
			t.Fatalf("second open of %s succeeded", name)
		}
		if !errors.Is(err, serial.ErrInUse) || !strings.Contains(err.Error(), "fuser -v "+target) {
			t.Errorf("second open of %s: %q, want ErrInUse and a remedy", name, err)
		}
	}
	if err := port.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, serial.Config{Port: device}) // free again
}

func TestOpenRefusesWhatIsNoLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, t.TempDir(), "/dev/zero", "/dev/null"} {
		port, err := serial.Open(serial.Config{Port: name})
		if err == nil {
			port.Close()
			t.Errorf("opened %s", name)
		} else if !strings.Contains(err.Error(), "serial device") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// With nobody reading the other end, a tty takes some 20 KiB and then holds the writer.
func TestStalledWriteEnds(t *testing.T) {
	server := listen(t)
	device := link(t)
	plug(t, device)
	for _, name := range []string{device, "tcp://" + server.Addr().String()} {
		port := open(t, serial.Config{Port: name, WriteTimeout: 200 * time.Millisecond})
		block := make([]byte, 64<<10)
		var err error
		for range 1000 { // a socket takes some megabytes
			if _, err = port.Write(block); err != nil {
				break
			}
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "flow control") {
			t.Errorf("%s: stalled write: %v", name, err)
		}
		if err := port.Close(); err != nil { // TestMain proves that no writer stays behind
			t.Errorf("%s: close after a stall: %v", name, err)
		}
	}
}

func TestCloseWakesReadAndWrite(t *testing.T) {
	device := link(t)
	plug(t, device)
	port := open(t, serial.Config{Port: device, Poll: time.Minute, WriteTimeout: time.Minute})
	ended := make(chan error, 2)
	go func() {
		_, err := port.Read(make([]byte, 8))
		ended <- err
	}()
	go func() {
		var err error
		for err == nil {
			_, err = port.Write(make([]byte, 64<<10))
		}
		ended <- err
	}()
	time.Sleep(50 * time.Millisecond) // lets both block; closing earlier must work as well
	if err := port.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-ended; !errors.Is(err, os.ErrClosed) || errors.Is(err, serial.ErrUnplugged) {
			t.Errorf("after close: %v, want os.ErrClosed", err)
		}
	}
	if err := port.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestDrain(t *testing.T) {
	device := link(t)
	machine := plug(t, device)
	port := open(t, serial.Config{Port: device})
	if _, err := machine.Write(bytes.Repeat([]byte("stale"), 10)); err != nil { // few enough for the kernel to carry them at once
		t.Fatal(err)
	}
	readFull(t, port, 1)
	if err := port.Drain(); err != nil {
		t.Fatal(err)
	}
	if _, err := machine.Write([]byte("new")); err != nil {
		t.Fatal(err)
	}
	if got := readFull(t, port, 3); string(got) != "new" {
		t.Errorf("after drain: %q", got)
	}
	machine.Close()
	if err := port.Drain(); err != nil && !errors.Is(err, serial.ErrUnplugged) {
		t.Errorf("drain of an unplugged line: %v", err)
	}
}

func TestReadTimeoutCanBeSet(t *testing.T) {
	device := link(t)
	plug(t, device)
	port := open(t, serial.Config{Port: device, Poll: time.Minute})
	for _, d := range []time.Duration{0, -1, time.Hour} {
		if err := port.SetReadTimeout(d); err == nil {
			t.Errorf("read timeout %s was taken", d)
		}
	}
	if err := port.SetReadTimeout(5 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if n, err := port.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %d, %v", n, err)
	}
	if n, err := port.Read(nil); n != 0 || err != nil {
		t.Errorf("empty read: %d, %v", n, err)
	}
}

// The owner before is just letting go: its successor waits a moment and is not refused.
func TestALineThatIsJustBeingFreedIsNotInUse(t *testing.T) {
	device := link(t)
	plug(t, device)
	before := open(t, serial.Config{Port: device})
	freed := make(chan error, 1)
	time.AfterFunc(50*time.Millisecond, func() { freed <- before.Close() }) // patience is a second
	after := open(t, serial.Config{Port: device})
	if err := errors.Join(<-freed, after.Close()); err != nil {
		t.Error(err)
	}
}

// A pty has no control lines. Whoever asks for one is told so, and the device is free again.
func TestAPtyHasNoControlLines(t *testing.T) {
	device := link(t)
	plug(t, device)
	_, err := serial.Open(serial.Config{Port: device, DTR: "on", RTS: "off"})
	if !errors.Is(err, serial.ErrNoControl) || !strings.Contains(err.Error(), "remove dtr and rts") {
		t.Errorf("open gives %v", err)
	}
	open(t, serial.Config{Port: device})
}
