package modbus

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"

	"steelyard/firmware-bridge/serial"
)

// Link says how the machines are reached:
//
//	tcp://host:port                        Modbus TCP
//	rtu:///dev/ttyUSB0?baud=9600&format=8N1  a serial line
//	rtu-over-tcp://host:port?baud=9600     a serial line behind a terminal server
//
// A serial line may end with echo=1, for an RS-485 adapter that hears itself: each request must then
// come back before its reply. A port of this machine may have its control lines set with dtr=on,
// dtr=off, rts=on or rts=off, for adapters that are powered from them or switch direction by them;
// what is not said is left as the driver raises it. A TCP link may end with transaction=any, for a gateway
// that answers under transactions of its own and has no other client on this connection, and with trailing=1,
// for one whose header counts a byte or two behind the answer.
type Link struct {
	Scheme  string
	Address string // host:port or the path of the port
	Baud    int    // of the serial line; 9600 unless said
	Format  string // of the serial line; 8N1 unless said
	Echo    bool   // what is sent on the serial line comes back
	DTR     string // control line of the port: on or off; empty: as the driver raises it
	RTS     string // likewise

	AnyTransaction bool // over TCP: an answer may come under another transaction than its question
	Trailing       bool // over TCP: the header of an answer may count one or two bytes more than it has
}

// The schemes of a Link.
const (
	TCP        = "tcp"
	Serial     = "rtu"
	RTUOverTCP = "rtu-over-tcp"
)

var format = regexp.MustCompile(`^[78][NEO][12]$`)

func checkLine(baud int, f string) error {
	if !slices.Contains([]int{300, 600, 1200, 2400, 4800, 9600, 14400, 19200, 38400, 57600, 115200}, baud) {
		return fmt.Errorf("baud %d is not a rate of serial lines (300 to 115200)", baud)
	}
	if !format.MatchString(f) || f[0] != '8' {
		return fmt.Errorf("format %.20q: Modbus RTU needs 8 data bits: 8N1, 8N2, 8E1 or 8O1", f)
	}
	return nil
}

// ParseLink reads and checks a link.
func ParseLink(text string) (Link, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Link{}, fmt.Errorf("link %.120q: %w", text, err)
	}
	l := Link{Scheme: u.Scheme, Address: u.Host, Baud: 9600, Format: "8N1"}
	query := u.Query()
	for key, values := range query {
		known := []string{"baud", "format", "echo", "dtr", "rts"}
		if u.Scheme == TCP {
			known = []string{"transaction", "trailing"}
		}
		if !slices.Contains(known, key) || len(values) != 1 {
			return Link{}, fmt.Errorf("link %.120q: %.40q cannot be set here", text, key)
		}
		if values[0] == "" {
			return Link{}, fmt.Errorf("link %.120q: %s is empty; give it a value, or leave it out", text, key)
		}
	}
	if query.Has("baud") {
		if l.Baud, err = strconv.Atoi(query.Get("baud")); err != nil {
			return Link{}, fmt.Errorf("link %.120q: baud %.20q is no number", text, query.Get("baud"))
		}
	}
	if query.Has("format") {
		l.Format = query.Get("format")
	}
	if query.Has("echo") {
		if l.Echo = query.Get("echo") == "1"; !l.Echo && query.Get("echo") != "0" {
			return Link{}, fmt.Errorf("link %.120q: echo %.20q is neither 1 nor 0", text, query.Get("echo"))
		}
	}
	if query.Has("transaction") {
		if l.AnyTransaction = query.Get("transaction") == "any"; !l.AnyTransaction {
			return Link{}, fmt.Errorf("link %.120q: transaction %.20q is not any; leave it out where answers come under the transaction of their question", text, query.Get("transaction"))
		}
	}
	if query.Has("trailing") {
		if l.Trailing = query.Get("trailing") == "1"; !l.Trailing && query.Get("trailing") != "0" {
			return Link{}, fmt.Errorf("link %.120q: trailing %.20q is neither 1 nor 0", text, query.Get("trailing"))
		}
	}
	l.DTR, l.RTS = query.Get("dtr"), query.Get("rts")
	if err := checkLine(l.Baud, l.Format); err != nil {
		return Link{}, fmt.Errorf("link %.120q: %w", text, err)
	}
	switch u.Scheme {
	case TCP, RTUOverTCP:
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		if u.Hostname() == "" || err != nil || port == 0 || u.Path != "" {
			return Link{}, fmt.Errorf("link %.120q: write %s://host:port", text, u.Scheme)
		}
	case Serial:
		if u.Host != "" || u.Path == "" {
			return Link{}, fmt.Errorf("link %.120q: write rtu:///dev/serial/by-id/…?baud=9600&format=8N1", text)
		}
		l.Address = u.Path
	default:
		return Link{}, fmt.Errorf("link %.120q: begins with none of tcp://, rtu://, rtu-over-tcp://", text)
	}
	if l.serial() {
		if err := l.port().Check(); err != nil {
			return Link{}, fmt.Errorf("link %.120q: %w", text, err)
		}
	}
	return l, nil
}

// port is the serial line that is opened.
func (l Link) port() serial.Config {
	c := serial.Config{Port: l.Address, Baud: l.Baud, Format: l.Format, DTR: l.DTR, RTS: l.RTS, Poll: time.Second}
	if l.Scheme == RTUOverTCP {
		c.Port = "tcp://" + l.Address
	}
	return c
}

// serial reports whether a serial line is at the far end, on which one late reply can meet another
// request.
func (l Link) serial() bool { return l.Scheme != TCP }

// own reports whether answers are taken by other rules than the library's.
func (l Link) own() bool { return l.AnyTransaction || l.Trailing }

func (l Link) String() string {
	switch l.Scheme {
	case Serial:
		return fmt.Sprintf("%s at %d %s", l.Address, l.Baud, l.Format)
	case RTUOverTCP:
		return l.Address + " (serial line over TCP)"
	}
	return l.Address
}
