package serial_test

import (
	"strings"
	"testing"
	"time"

	"steelyard/firmware-bridge/serial"
)

func TestCheckNamesEveryMistake(t *testing.T) {
	tests := []struct {
		config serial.Config
		want   []string // empty: no mistake
	}{
		{serial.Config{Port: "/dev/serial/by-id/usb-x"}, nil},
		{serial.Config{Port: "tcp://10.0.0.7:4001", Baud: 2400, Format: "7E1"}, nil},
		{serial.Config{Port: "tcp://[::1]:4001"}, nil},
		{serial.Config{}, []string{"port: empty"}},
		{serial.Config{Port: "ttyUSB0"}, []string{"neither a device path"}},
		{serial.Config{Port: "/dev/a\x00b"}, []string{"neither a device path"}},
		{serial.Config{Port: "tcp://10.0.0.7"}, []string{"write tcp://host:port"}},
		{serial.Config{Port: "tcp://:4001"}, []string{"needs a host"}},
		{serial.Config{Port: "tcp://h:0"}, []string{"port number"}},
		{serial.Config{Port: "tcp://h:70000"}, []string{"port number"}},
		{serial.Config{Port: "/dev/x", Baud: 9601}, []string{"baud 9601"}},
		{serial.Config{Port: "/dev/x", Baud: -1}, []string{"baud -1"}},
		{serial.Config{Port: "/dev/x", Format: "8n1"}, []string{"format"}},
		{serial.Config{Port: "/dev/x", Format: "9N1"}, []string{"format"}},
		{serial.Config{Port: "/dev/x", Format: "8N3"}, []string{"format"}},
		{serial.Config{Port: "/dev/x", Format: "8N11"}, []string{"format"}},
		{serial.Config{Port: "/dev/x", Poll: -1}, []string{"poll -1ns"}},
		{serial.Config{Port: "/dev/x", WriteTimeout: time.Hour}, []string{"write_timeout 1h0m0s"}},
		{serial.Config{Port: "/dev/x", DTR: "on", RTS: "off"}, nil},
		{serial.Config{Port: "/dev/x", DTR: "yes", RTS: "1"}, []string{`dtr "yes"`, `rts "1"`}},
		{serial.Config{Port: "tcp://h:1", RTS: "off"}, []string{"rts: a terminal server sets its own"}},
		{serial.Config{Port: "x", Baud: 7, Format: "?", DialTimeout: time.Hour},
			[]string{"neither a device path", "baud 7", "format", "dial_timeout"}},
	}
	for _, test := range tests {
		err := test.config.Check()
		if len(test.want) == 0 {
			if err != nil {
				t.Errorf("%+v: %v", test.config, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%+v: no error, want %q", test.config, test.want)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: error %q does not say %q", test.config, err, want)
			}
		}
	}
}

func TestTimeOf(t *testing.T) {
	tests := []struct {
		baud   int
		format string
		chars  int
		want   time.Duration
	}{
		{9600, "8N1", 12, 12500 * time.Microsecond},
		{1200, "8N1", 12, 100 * time.Millisecond},
		{600, "7E1", 12, 200 * time.Millisecond},
		{19200, "8E1", 16, 9166667 * time.Nanosecond},
		{4800, "7E2", 48, 110 * time.Millisecond},
	}
	for _, test := range tests {
		got := serial.Config{Baud: test.baud, Format: test.format}.TimeOf(test.chars)
		if got != test.want {
			t.Errorf("%d characters at %d %s take %s, want %s", test.chars, test.baud, test.format, got, test.want)
		}
	}
}
