package bench_test

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"steelyard/firmware-bridge/bench"
	"steelyard/internal/program"
)

// Whoever has not plugged in a serial adapter before is told what the computer calls it, by a name
// that stays, where the system gives one.
func TestPortsOfThisComputer(t *testing.T) {
	const adapter = "dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0"
	many := fstest.MapFS{}
	for _, n := range "0123456789" {
		many["dev/ttyUSB"+string(n)] = new(fstest.MapFile)
	}
	for name, test := range map[string]struct {
		root fstest.MapFS
		want string
	}{
		"none":  {fstest.MapFS{"dev/ttyS0": {}, "dev/null": {}}, ""},
		"named": {fstest.MapFS{"dev/ttyUSB0": {}, adapter: {}}, "/" + adapter},
		"two without a serial number": {fstest.MapFS{"dev/ttyUSB0": {}, "dev/ttyUSB1": {}, "dev/serial/by-id/usb-1a86_USB_Serial-if00-port0": {}, socket(1): {}, socket(2): {}},
			"/" + socket(1) + " /" + socket(2)},
		"one without, one with": {fstest.MapFS{"dev/ttyUSB0": {}, "dev/ttyUSB1": {}, "dev/serial/by-id/usb-1a86_USB_Serial-if00-port0": {}, adapter: {}, socket(1): {}, socket(2): {}},
			"/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0 /" + adapter},
		"sockets named twice": {fstest.MapFS{"dev/ttyUSB0": {}, "dev/ttyUSB1": {}, "dev/serial/by-id/usb-1a86_USB_Serial-if00-port0": leads(0),
			socket(1): leads(0), socket(2): leads(1), "dev/serial/by-path/pci-0000:00:14.0-usbv2-0:1:1.0-port0": leads(0), "dev/serial/by-path/pci-0000:00:14.0-usbv2-0:2:1.0-port0": leads(1)},
			"/" + socket(1) + " /" + socket(2)},
		"two and no sockets": {fstest.MapFS{"dev/ttyUSB0": {}, "dev/ttyUSB1": {}, "dev/serial/by-id/usb-1a86_USB_Serial-if00-port0": {}}, "/dev/ttyUSB0 /dev/ttyUSB1"},
		"only numbers":       {fstest.MapFS{"dev/ttyUSB0": {}, "dev/ttyACM1": {}}, "/dev/ttyACM1 /dev/ttyUSB0"},
		"many":               {many, "/dev/ttyUSB0 /dev/ttyUSB1 /dev/ttyUSB2 /dev/ttyUSB3 /dev/ttyUSB4 /dev/ttyUSB5 /dev/ttyUSB6 /dev/ttyUSB7"},
	} {
		if got := bench.PortsOf(test.root); !slices.Equal(got, strings.Fields(test.want)) {
			t.Errorf("%s: %q, want %s", name, got, test.want)
		}
	}
}

func socket(n int) string {
	return fmt.Sprintf("dev/serial/by-path/pci-0000:00:14.0-usb-0:%d:1.0-port0", n)
}

// leads is a link to an adapter.
func leads(n int) *fstest.MapFile {
	return &fstest.MapFile{Mode: fs.ModeSymlink, Data: fmt.Appendf(nil, "../../ttyUSB%d", n)}
}

// Two simulated machines do not take one line from each other, and none takes the link that leads to
// a real adapter; what a killed process left behind is in nobody's way.
func TestSimulateTakesNoLineAway(t *testing.T) {
	t.Parallel()
	path := link(t)
	first := start(t, "simulate", "-dialect", "yaohua-tf0", "-pty", path, "-weight", "23960")
	first.at()
	if _, stderr, code := run(t, "", "simulate", "-dialect", "mt-cont", "-pty", path); code != program.ExitError || !strings.Contains(stderr, "leads to a line already") {
		t.Errorf("a second machine: code %d: %s", code, stderr)
	}
	if stdout, stderr, code := run(t, "", "show", "-port", path, "-dialect", "yaohua-tf0", "-count", "1"); code != program.ExitOK || !strings.Contains(stdout, "23960") {
		t.Errorf("the first is gone: code %d: %s%s", code, stdout, stderr)
	}
	first.stop()
	if err := os.Symlink(filepath.Join(t.TempDir(), "gone"), path); err != nil {
		t.Fatal(err)
	}
	if at := start(t, "simulate", "-dialect", "mt-cont", "-pty", path).at(); at != path {
		t.Errorf("over a link that leads nowhere it is at %s", at)
	}
}

// A line, a file or an address that cannot be used is named with its cause and the remedy, on one line.
func TestWhatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("there", []byte("0 0203\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	busy := "tcp://" + taken.Addr().String()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "tcp://" + closed.Addr().String()
	closed.Close()
	defer taken.Close()
	for _, test := range []struct{ args, want string }{
		{"record -port " + nobody + " new", "connection refused; check the address and its port, the terminal server's power and the network"},
		{"find -port " + nobody + " -known 1", "the terminal server's power"},
		{"replay there -port " + nobody, "the terminal server's power"},
		{"record -port " + nobody + " there", "there: is there already, and a recording is never overwritten; choose another name"},
		{"record -port " + nobody + " missing/new", "missing/new: no such file or directory; check that the folder is there"},
		{"replay missing -pty new", "missing: no such file or directory; check the path"},
		{"replay . -pty new", ".: is a directory; name a file in it"},
		{"decode -dialect sics .", ".: is a directory; name a file in it"},
		{"decode -dialect sics missing", "missing: no such file or directory; check the path"},
		{"replay there -pty missing/new", "the folder " + filepath.Join(dir, "missing") + " cannot be used: no such file or directory; make it"},
		{"simulate -profile laumas-tlb -pty missing/new", "cannot be used: no such file or directory; make it"},
		{"simulate -profile laumas-tlb -pty there", "is not a link; choose another name"},
		{"simulate -profile laumas-tlb -listen " + busy, "address already in use; write an address of this computer and another port"},
		{"simulate -profile laumas-tlb -listen rtu-over-" + busy, "another port, or port 0 for a free one"},
		{"simulate -dialect mt-cont -listen tcp://127.0.0.1:99999", "invalid port; write an address"},
		{"replay there -listen " + busy, "another port, or port 0 for a free one"},
	} {
		stdout, stderr, code := run(t, "", strings.Fields(test.args)...)
		if code != program.ExitError || !strings.Contains(stderr, test.want) || strings.Count(stderr, "\n") != strings.Count(stderr, " unit ids ")+1 || stdout != "" {
			t.Errorf("%s: code %d: %s%s; want %q", test.args, code, stdout, stderr, test.want)
		}
	}
	if left, err := filepath.Glob("new*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A line that is named from where one stands is named so that every other command understands it.
func TestSimulateSaysTheWholePath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if at := start(t, "simulate", "-dialect", "yaohua-tf0", "-pty", "scale").at(); at != filepath.Join(dir, "scale") {
		t.Errorf("it says %s, and a port begins with /", at)
	}
}
