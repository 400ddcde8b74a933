package weighbridge

import (
	"errors"
	"fmt"
)

// Indicator is one indicator on a line.
type Indicator struct {
	Device  string // id in the site's configuration
	Dialect Dialect
	Options Options // Options.Device is set from Device

	// Listen stops the Reader from asking, for a polled indicator that is set to send by itself.
	Listen bool

	// Ask brings requests beside the poll, such as Store. May be nil. A request is sent once,
	// in the indicator's next turn, and never again; one that is unknown, or that waited while the
	// line was down, is logged and dropped: the load that it was meant for may have gone.
	Ask <-chan Request
}

func (i Indicator) polls() bool { return i.Dialect.Poll != "" && !i.Listen }

// sends reports whether the indicator sends by itself.
func (i Indicator) sends() bool { return i.Listen || len(i.Dialect.requests) == 0 }

func (i Indicator) check() error {
	var wrong []error
	if i.Device == "" {
		wrong = append(wrong, errors.New("no device id"))
	}
	wrong = append(wrong, i.Dialect.Check(i.Options))
	if err := errors.Join(wrong...); err != nil {
		return fmt.Errorf("indicator %q: %w", i.Device, err)
	}
	return nil
}

// checkShared reports what keeps indicators from sharing a line: each must be silent until it is
// asked, and each answer must say whose it is.
func checkShared(all []Indicator) []error {
	if len(all) < 2 {
		return nil
	}
	var wrong []error
	devices, addresses := map[string]bool{}, map[int]string{}
	for _, i := range all {
		complain := func(format string, args ...any) {
			wrong = append(wrong, fmt.Errorf("indicator %q: "+format, append([]any{i.Device}, args...)...))
		}
		if devices[i.Device] {
			complain("is on this line twice: remove one")
		}
		devices[i.Device] = true
		if i.sends() {
			complain("sends by itself and would talk into the answers of the others: give it a line of its own or set it to command mode")
			continue
		}
		if i.Dialect.address == nil {
			complain("dialect %s knows no address, so its answers could be those of any other: give it a line of its own", i.Dialect.Name)
			continue
		}
		address := i.Dialect.address(i.Options)
		switch other, taken := addresses[address]; {
		case address == 0:
			complain("has no address, so its answers could be those of any other: set one on the indicator and in option address")
		case taken:
			complain("address %d is that of %q: set another on one of the two", address, other)
		}
		addresses[address] = i.Device
	}
	return wrong
}
