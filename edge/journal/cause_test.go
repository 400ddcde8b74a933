package journal_test

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"steelyard/edge/journal"
)

func TestCauseOf(t *testing.T) {
	for _, test := range []struct {
		err  error
		want journal.Cause
	}{
		{syscall.ENOSPC, journal.NoSpace}, {syscall.EDQUOT, journal.NoSpace}, {syscall.EROFS, journal.ReadOnly}, {syscall.EIO, journal.DiskFails},
		{syscall.EACCES, journal.Forbidden}, {os.ErrPermission, journal.Forbidden}, {journal.ErrFull, journal.NoBudget},
		{journal.ErrClosed, journal.Otherwise}, {errors.New("no space left on device"), journal.Otherwise},
	} {
		if got := journal.CauseOf(fmt.Errorf("append: %w", &os.PathError{Op: "write", Path: "/data", Err: test.err})); got != test.want {
			t.Errorf("%v: cause %s, want %s", test.err, got, test.want)
		}
	}
}
