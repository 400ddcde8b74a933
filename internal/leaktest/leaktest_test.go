package leaktest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"steelyard/internal/leaktest"
)

// The test binary runs tests that leave a goroutine behind when this variable is set: "late" one
// that ends after two seconds, which is more than the library itself waits, and "never".
const leaves = "STEELYARD_TEST_LEAVES"

func TestMain(m *testing.M) {
	switch os.Getenv(leaves) {
	case "late":
		leaktest.Main(leaving(2 * time.Second))
	case "never":
		leaktest.Verify(time.Second, leaving(time.Hour))
	default:
		leaktest.Main(m)
	}
}

// leaving are tests that pass and leave a goroutine behind for so long.
type leaving time.Duration

func (l leaving) Run() int {
	go stay(time.Duration(l))
	return 0
}

func stay(d time.Duration) { time.Sleep(d) }

func run(t *testing.T, left string) (said string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), leaves+"="+left)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestAGoroutineThatEndsLateIsNoLeak(t *testing.T) {
	if said, err := run(t, "late"); err != nil {
		t.Errorf("%v: %s", err, said)
	}
}

func TestAGoroutineThatStaysIsFound(t *testing.T) {
	if said, err := run(t, "never"); err == nil || !strings.Contains(said, "leaktest_test.stay") {
		t.Errorf("got %v, want the goroutine named: %s", err, said)
	}
}

func TestLeft(t *testing.T) {
	before := goleak.IgnoreCurrent()
	go stay(2 * time.Second)
	if err := goleak.Find(before); err == nil {
		t.Error("the library waits long enough by itself: this package can go")
	}
	if err := leaktest.Left(before); err != nil {
		t.Error(err)
	}
}
