package serial

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	bugst "go.bug.st/serial"
)

// Config says where a line is and how its characters are built. The zero value of every field
// but Port means the default.
type Config struct {
	Port   string `yaml:"port"`   // "/dev/serial/by-id/…" or "tcp://host:port" of a raw terminal server
	Baud   int    `yaml:"baud"`   // 9600 if zero; a TCP line takes it for timing only
	Format string `yaml:"format"` // data bits, parity N, E or O, stop bits; "8N1" if empty

	// DTR and RTS are the two control lines of RS-232, "on" or "off"; empty leaves each as the
	// driver raises it, which is on. Passive adapters are powered from them, and some turn their
	// receiver off while RTS is on. A TCP line has none that could be set from here.
	DTR string `yaml:"dtr"`
	RTS string `yaml:"rts"`

	Poll         time.Duration `yaml:"poll"`          // how long one Read waits for a byte; 100 ms if zero
	WriteTimeout time.Duration `yaml:"write_timeout"` // how long one Write may stall; 2 s if zero
	DialTimeout  time.Duration `yaml:"dial_timeout"`  // how long a TCP line may take to connect; 5 s if zero
}

const (
	defaultBaud         = 9600
	defaultFormat       = "8N1"
	defaultPoll         = 100 * time.Millisecond
	defaultWriteTimeout = 2 * time.Second
	defaultDialTimeout  = 5 * time.Second
	longestTimeout      = time.Minute // a longer one could hold up a shutdown
)

const tcpScheme = "tcp://"

// bauds lists the rates that instruments and terminal servers of this trade offer.
func bauds() []int {
	return []int{300, 600, 1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 115200, 230400}
}

func (c Config) withDefaults() Config {
	if c.Baud == 0 {
		c.Baud = defaultBaud
	}
	if c.Format == "" {
		c.Format = defaultFormat
	}
	if c.Poll == 0 {
		c.Poll = defaultPoll
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = defaultWriteTimeout
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = defaultDialTimeout
	}
	return c
}

// Check reports every mistake in the configuration at once. It opens nothing.
func (c Config) Check() error {
	c = c.withDefaults()
	var wrong []error
	switch address, isTCP := c.tcp(); {
	case c.Port == "":
		wrong = append(wrong, errors.New(`port: empty; name a device ("/dev/serial/by-id/…") or "tcp://host:port"`))
	case isTCP:
		if err := checkAddress(address); err != nil {
			wrong = append(wrong, err)
		}
	case !strings.HasPrefix(c.Port, "/") || strings.ContainsRune(c.Port, 0):
		wrong = append(wrong, fmt.Errorf(`port %.80q: neither a device path that starts with "/" nor "tcp://host:port"`, c.Port))
	}
	if !slices.Contains(bauds(), c.Baud) {
		wrong = append(wrong, fmt.Errorf("baud %d: not a rate of serial instruments; one of %v", c.Baud, bauds()))
	}
	if _, err := c.mode(); err != nil {
		wrong = append(wrong, err)
	}
	for _, control := range c.controls() {
		_, isTCP := c.tcp()
		switch {
		case control.level == "":
		case control.level != on && control.level != off:
			wrong = append(wrong, fmt.Errorf("%s %.20q: say on or off, or leave it out", control.name, control.level))
		case isTCP:
			wrong = append(wrong, fmt.Errorf("%s: a terminal server sets its own control lines; remove it here and set it there", control.name))
		}
	}
	for _, timeout := range []struct {
		name  string
		value time.Duration
	}{{"poll", c.Poll}, {"write_timeout", c.WriteTimeout}, {"dial_timeout", c.DialTimeout}} {
		if timeout.value < time.Millisecond || timeout.value > longestTimeout {
			wrong = append(wrong, fmt.Errorf("%s %s: must be between 1ms and %s", timeout.name, timeout.value, longestTimeout))
		}
	}
	return errors.Join(wrong...)
}

// Network reports whether the line is behind a terminal server, which has a speed, a format and control lines
// of its own that are set there.
func (c Config) Network() bool { _, is := c.tcp(); return is }

func (c Config) tcp() (address string, ok bool) { return strings.CutPrefix(c.Port, tcpScheme) }

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("port %.80q: %w; write tcp://host:port", tcpScheme+address, err)
	}
	if n, err := strconv.Atoi(port); host == "" || err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("port %.80q: needs a host and a port number from 1 to 65535", tcpScheme+address)
	}
	return nil
}

// mode translates Baud and Format into the library's words. It is a table on purpose: a pty
// accepts any parity without applying it, so only this mapping can be tested without a cable.
func (c Config) mode() (bugst.Mode, error) {
	c = c.withDefaults()
	m := bugst.Mode{BaudRate: c.Baud}
	bad := fmt.Errorf(`format %.20q: write data bits 7 or 8, parity N, E or O, stop bits 1 or 2, as in "8N1" or "7E1"`, c.Format)
	if len(c.Format) != 3 {
		return m, bad
	}
	switch c.Format[0] {
	case '7':
		m.DataBits = 7
	case '8':
		m.DataBits = 8
	default:
		return m, bad
	}
	switch c.Format[1] {
	case 'N':
		m.Parity = bugst.NoParity
	case 'E':
		m.Parity = bugst.EvenParity
	case 'O':
		m.Parity = bugst.OddParity
	default:
		return m, bad
	}
	switch c.Format[2] {
	case '1':
		m.StopBits = bugst.OneStopBit
	case '2':
		m.StopBits = bugst.TwoStopBits
	default:
		return m, bad
	}
	return m, nil
}

// CharacterBits is how many bit times one character takes, the start bit included: 10 for 8N1,
// 11 for 8E1. It is 0 for a Format that Check refuses.
func (c Config) CharacterBits() int {
	c = c.withDefaults()
	m, err := c.mode()
	if err != nil {
		return 0
	}
	bits := 1 + m.DataBits + 1
	if m.Parity != bugst.NoParity {
		bits++
	}
	if m.StopBits == bugst.TwoStopBits {
		bits++
	}
	return bits
}

// TimeOf is how long n characters take on the wire, rounded up.
func (c Config) TimeOf(n int) time.Duration {
	c = c.withDefaults()
	bits := time.Duration(n) * time.Duration(c.CharacterBits())
	if c.Baud <= 0 {
		return 0
	}
	return (bits*time.Second + time.Duration(c.Baud) - 1) / time.Duration(c.Baud)
}
