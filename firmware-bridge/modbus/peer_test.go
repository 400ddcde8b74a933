package modbus_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"steelyard/firmware-bridge/modbus"
)

// The machines here are not ours: libmodbus in C and pymodbus. Both must be installed; .ci/peers
// does it.

// start runs a peer until the test ends.
func start(t *testing.T, name string, args ...string) (output io.Reader) {
	t.Helper()
	cmd := exec.Command(name, args...)
	output, err := cmd.StdoutPipe()
	if err == nil {
		cmd.Stderr = t.Output()
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return output
}

// compiled builds the C slave.
func compiled(t *testing.T) string {
	t.Helper()
	flags, err := exec.Command("pkg-config", "--cflags", "--libs", "libmodbus").Output()
	if err != nil {
		t.Fatalf("pkg-config libmodbus: %v; install libmodbus-dev and pkg-config (.ci/peers does)", err)
	}
	binary := filepath.Join(t.TempDir(), "slave")
	args := append([]string{"-o", binary, "testdata/peers/slave.c"}, strings.Fields(string(flags))...)
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return binary
}

// readPeer polls unit 1 of a link and compares 40 registers in four blocks, 20 times.
func readPeer(t *testing.T, link string) {
	t.Helper()
	book := newBook(map[string]uint8{"peer": 1})
	bus := newBus(t, modbus.Config{Link: link, Units: []modbus.Unit{
		{Device: "peer", ID: 1, Profile: blocks(t, 4, patient, 0), Every: time.Millisecond}}}, book)
	stop := run(t, bus)
	book.until(t, "20 scans of "+link, func() bool { return book.scans["peer"] >= 20 })
	stop()
	book.check(t)
	if s := bus.Stats(); s.Failures+s.Exceptions > 0 {
		t.Errorf("%+v", s)
	}
}

// ready waits until the peer can be asked and gives what it said before: its port.
func ready(t *testing.T, output io.Reader) (said string) {
	t.Helper()
	lines := bufio.NewReader(output)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("peer says %q, %v; install libmodbus-dev and python3-pymodbus (.ci/peers does)", said+line, err)
		}
		if line == "ready\n" {
			return said
		}
		said += strings.TrimSpace(line)
	}
}

func TestLibmodbusOnTCP(t *testing.T) {
	t.Parallel()
	readPeer(t, "tcp://127.0.0.1:"+ready(t, start(t, compiled(t), "tcp", "0")))
}

func TestLibmodbusOnASerialLine(t *testing.T) {
	t.Parallel()
	binary := compiled(t)
	ours, our := ptyLine(t)
	theirs, their := ptyLine(t)
	var cable sync.WaitGroup
	wire := func(to, from *os.File) func() { return func() { io.Copy(to, from) } }
	cable.Go(wire(ours, theirs))
	cable.Go(wire(theirs, ours))
	t.Cleanup(func() { ours.Close(); theirs.Close(); cable.Wait() })
	ready(t, start(t, binary, "rtu", their))
	readPeer(t, "rtu://"+our+"?baud=19200")
}

func TestPymodbusOnTCP(t *testing.T) {
	t.Parallel()
	readPeer(t, "tcp://127.0.0.1:"+ready(t, start(t, "/usr/bin/python3", "testdata/peers/slave.py")))
}

// mbpoll is a master that we did not write: it shows that the machine of these tests speaks the
// protocol, so that what the bus reads from it counts.
func TestMbpollReadsTheTestMachine(t *testing.T) {
	t.Parallel()
	address := listen(t, func(conn net.Conn) { serve(conn, respond) })
	host, port, _ := net.SplitHostPort(address)
	out, err := exec.Command("mbpoll", "-m", "tcp", "-p", port, "-a", "1", "-0", "-r", "100", "-c", "5", "-t", "4", "-o", "10", "-1", host).CombinedOutput()
	if err != nil {
		t.Fatalf("mbpoll: %v\n%s", err, out)
	}
	if want := fmt.Sprintf("[104]: \t%d", holds(1, 104)); !strings.Contains(string(out), want) {
		t.Errorf("mbpoll does not say %q:\n%s", want, out)
	}
}

// The same line behind a terminal server.
func TestSerialLineOverTCP(t *testing.T) {
	t.Parallel()
	address := listen(t, func(conn net.Conn) { (&slave{end: conn}).serve() })
	readPeer(t, "rtu-over-tcp://"+address+"?baud=19200")
}

// A line between two terminals that socat made, as a fitter makes one at the desk.
func TestSocatLine(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	ours, theirs := filepath.Join(folder, "ours"), filepath.Join(folder, "theirs")
	start(t, "socat", "pty,raw,echo=0,link="+ours, "pty,raw,echo=0,link="+theirs)
	var end *os.File
	for deadline := time.Now().Add(30 * time.Second); end == nil; time.Sleep(10 * time.Millisecond) { // until a foreign process is ready
		if _, err := os.Stat(ours); err == nil {
			if end, err = os.OpenFile(theirs, os.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0); err != nil {
				end = nil
			}
		}
		if end == nil && time.Now().After(deadline) {
			t.Fatal("socat makes no line; install socat (.ci/peers does)")
		}
	}
	done := make(chan struct{})
	go func() { defer close(done); (&slave{end: end}).serve() }()
	t.Cleanup(func() { end.Close(); <-done })
	readPeer(t, "rtu://"+ours+"?baud=19200")
}
