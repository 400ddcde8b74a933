package modbus_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
)

// What a link says of the port is what is opened; what it does not say is left as the driver has it.
func TestThePortOfALink(t *testing.T) {
	for link, want := range map[string]serial.Config{
		"rtu:///dev/ttyS9":                                     {Port: "/dev/ttyS9", Baud: 9600, Format: "8N1"},
		"rtu:///dev/ttyS9?dtr=on&rts=off":                      {Port: "/dev/ttyS9", Baud: 9600, Format: "8N1", DTR: "on", RTS: "off"},
		"rtu:///dev/ttyS9?baud=19200&format=8E1&rts=on&echo=1": {Port: "/dev/ttyS9", Baud: 19200, Format: "8E1", RTS: "on"},
		"rtu:///dev/ttyS9?dtr=off":                             {Port: "/dev/ttyS9", Baud: 9600, Format: "8N1", DTR: "off"},
		"rtu-over-tcp://192.168.10.31:4001?baud=2400":          {Port: "tcp://192.168.10.31:4001", Baud: 2400, Format: "8N1"},
	} {
		l, err := modbus.ParseLink(link)
		if err != nil {
			t.Error(err)
			continue
		}
		got := l.Port()
		want.Poll = got.Poll // how long the reader sleeps is not the link's
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", link, diff)
		}
	}
	for link, want := range map[string]string{
		"rtu:///dev/ttyS9?dtr=1":                        `dtr "1": say on or off, or leave it out`,
		"rtu:///dev/ttyS9?rts=ON":                       `rts "ON": say on or off`,
		"rtu:///dev/ttyS9?rts=":                         "rts is empty",
		"rtu:///dev/ttyS9?dtr=on&dtr=off":               `"dtr" cannot be set here`,
		"tcp://192.168.10.21:502?dtr=on":                `"dtr" cannot be set here`,
		"rtu-over-tcp://192.168.10.31:4001?rts=off":     "a terminal server sets its own control lines; remove it here and set it there",
		"rtu-over-tcp://192.168.10.31:4001?dtr=on&echo": "echo is empty",
	} {
		if _, err := modbus.ParseLink(link); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q in one line", link, err, want)
		}
	}
}

// The control lines reach the driver: a pseudo-terminal has none and says so, and without them the
// same line is read.
func TestControlLinesReachTheDriver(t *testing.T) {
	t.Parallel()
	path := onPty(t, &slave{})
	q := modbus.Question{Unit: 1, FC: 3, Count: 1}
	for query, has := range map[string]bool{"": true, "?dtr=on": false, "?rts=off": false, "?dtr=off&rts=on": false} {
		m := newMaster(t, modbus.MasterConfig{Link: "rtu://" + path + query, Timeout: patient})
		_, _, err := m.Read(t.Context(), q)
		m.Close()
		_, closed := errors.AsType[*modbus.OpenError](err)
		if has && err != nil || !has && (!closed || !errors.Is(err, serial.ErrNoControl) || !strings.Contains(err.Error(), "remove dtr and rts")) {
			t.Errorf("%q: %v", query, err)
		}
	}
}
