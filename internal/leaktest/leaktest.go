// Package leaktest fails a package's tests when they leave goroutines behind: [Main] in TestMain, [Left]
// in the middle of a test.
//
// In: the tests of a package, or a set of goroutines that may be there. Out: an error with the
// stacks of the others.
// It promises that a goroutine which is on its way out is waited for, however slow the machine is:
// a connection's reader ends after the connection was closed, not with it. It does not find what
// another package's process has left.
package leaktest

import (
	"time"

	"go.uber.org/goleak"
)

// patience bounds the wait for goroutines that end. Only a test that fails takes so long.
const patience = 30 * time.Second

// Main is the body of TestMain: it runs the tests and fails them when goroutines are left.
func Main(m goleak.TestingM, ignore ...goleak.Option) {
	verify(patience, m, ignore...)
}

// Left waits until only the goroutines to ignore are left, and names those that stay in its error.
func Left(ignore ...goleak.Option) error { return left(patience, ignore...) }

func left(within time.Duration, ignore ...goleak.Option) error {
	for deadline := time.Now().Add(within); ; {
		err := goleak.Find(ignore...) // tries for half a second
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func verify(within time.Duration, m goleak.TestingM, ignore ...goleak.Option) {
	goleak.VerifyTestMain(patient{m, within, ignore}, ignore...)
}

// patient waits for the goroutines after the tests, so that the library looks when they have ended.
type patient struct {
	goleak.TestingM
	within time.Duration
	ignore []goleak.Option
}

func (p patient) Run() int {
	code := p.TestingM.Run()
	if code == 0 {
		_ = left(p.within, p.ignore...) // the library looks once more and reports
	}
	return code
}
