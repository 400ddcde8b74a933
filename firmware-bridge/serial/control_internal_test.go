package serial

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wires is a tty that writes down what is done to its control lines. A pty has none, so what
// reaches a driver can only be seen here.
type wires struct {
	done []string
	err  error
}

func (w *wires) note(name string, on bool) error {
	w.done = append(w.done, name+map[bool]string{true: " on", false: " off"}[on])
	return w.err
}

func (w *wires) SetDTR(on bool) error { return w.note("dtr", on) }
func (w *wires) SetRTS(on bool) error { return w.note("rts", on) }

func TestControlLines(t *testing.T) {
	for _, test := range []struct {
		dtr, rts string
		want     []string
	}{
		{"", "", nil}, // as the driver has them: not touched
		{"on", "off", []string{"dtr on", "rts off"}},
		{"off", "on", []string{"dtr off", "rts on"}},
		{"", "off", []string{"rts off"}},
		{"off", "", []string{"dtr off"}},
	} {
		var w wires
		err := Config{DTR: test.dtr, RTS: test.rts}.control(&w)
		if diff := cmp.Diff(test.want, w.done); diff != "" || err != nil {
			t.Errorf("dtr %q, rts %q: %v, -want +got\n%s", test.dtr, test.rts, err, diff)
		}
	}
}

// A device without control lines is told from one that is lost.
func TestControlLinesThatAreNotThere(t *testing.T) {
	for _, test := range []struct {
		err  error
		none bool
	}{{syscall.ENOTTY, true}, {syscall.EINVAL, true}, {syscall.EIO, false}, {syscall.ENODEV, false}} {
		w := wires{err: test.err}
		err := Config{DTR: "on", RTS: "on"}.control(&w)
		if errors.Is(err, ErrNoControl) != test.none || !errors.Is(err, test.err) || !strings.HasPrefix(err.Error(), "dtr: ") || len(w.done) != 1 {
			t.Errorf("%v: %v after %q", test.err, err, w.done)
		}
	}
}
