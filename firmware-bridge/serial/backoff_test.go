package serial_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/serial"
)

func TestBackoff(t *testing.T) {
	var got []time.Duration
	for failures := range 8 {
		got = append(got, serial.Backoff(failures)/time.Second)
	}
	if diff := cmp.Diff([]time.Duration{1, 1, 2, 5, 10, 30, 30, 30}, got); diff != "" {
		t.Errorf("seconds after 0, 1, 2 … failures: -want +got\n%s", diff)
	}
}
