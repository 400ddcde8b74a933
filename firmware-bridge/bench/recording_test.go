package bench_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/bench"
	"steelyard/internal/program"
)

// timed is a wire that notes when each piece came.
type timed struct {
	start  time.Time
	pieces []bench.Chunk
	most   int // then it breaks; 0: never
}

var errBroken = errors.New("broken")

func (w *timed) Write(b []byte) (int, error) {
	if w.most > 0 && len(w.pieces) == w.most {
		return 0, errBroken
	}
	w.pieces = append(w.pieces, bench.Chunk{At: time.Since(w.start), Bytes: bytes.Clone(b)})
	return len(b), nil
}

func capture() []bench.Chunk {
	us := time.Microsecond
	return []bench.Chunk{{At: 0, Bytes: []byte{2, 0x2B}}, {At: 1041 * us, Bytes: []byte{3}}, {At: 1041 * us, Bytes: []byte{4}}, {At: 7_000_001 * us, Bytes: []byte{5}}}
}

// In a bubble, where time passes only in waits, each piece leaves at its microsecond.
func TestReplayKeepsTheTimes(t *testing.T) {
	for _, test := range []struct {
		after time.Duration
		speed float64
	}{{0, 1}, {3 * time.Second, 1}, {0, 10}, {time.Second, 0.5}} {
		synctest.Test(t, func(t *testing.T) {
			w := &timed{start: time.Now()}
			if err := bench.Send(t.Context(), w, capture(), test.after, test.speed, false); err != nil {
				t.Fatal(err)
			}
			want := capture()
			for i := range want {
				want[i].At = test.after + time.Duration(float64(want[i].At)/test.speed)
			}
			if diff := cmp.Diff(want, w.pieces); diff != "" {
				t.Errorf("after %s, %g times: -want +got\n%s", test.after, test.speed, diff)
			}
		})
	}
}

func TestReplayEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w := &timed{start: time.Now()}
		if err := bench.Send(ctx, w, capture(), 0, 1, true); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a loop ends with %v", err)
		}
		if len(w.pieces) < 4*5 || len(w.pieces) > 4*9 {
			t.Errorf("%d pieces of seven seconds' captures in a minute", len(w.pieces))
		}
		w = &timed{start: time.Now(), most: 2}
		if err := bench.Send(t.Context(), w, capture(), 0, 1, true); !errors.Is(err, errBroken) {
			t.Errorf("a broken wire gives %v", err)
		}
	})
}

func TestReadRecording(t *testing.T) {
	got, err := bench.ReadRecording(strings.NewReader("# steelyard recording 1\n\n0 022b\n1041 03 # the end\n1041 04\n7000001 05\n"))
	if diff := cmp.Diff(capture(), got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for text, want := range map[string]string{
		"":                          "holds no bytes",
		"# nothing\n":               "holds no bytes",
		"5 03\n4 02\n":              "line 2: the time runs backwards",
		"02 2B 30 32\nx\n":          "line 2",
		"-1 03\n":                   "microseconds",
		"1 0\n":                     "hexadecimal",
		"1\n":                       "no bytes behind",
		"99999999999999999999 00\n": "microseconds",
		"0 " + strings.Repeat("00", 40_000) + "\n": "too long",
	} {
		if _, err := bench.ReadRecording(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: %v, want %q", text, err, want)
		}
	}
}

func FuzzReadRecording(f *testing.F) {
	f.Add("0 022b\n1041 03 # the end\n")
	f.Fuzz(func(t *testing.T, text string) {
		chunks, err := bench.ReadRecording(strings.NewReader(text))
		for i, c := range chunks {
			if err != nil || len(c.Bytes) == 0 || c.At < 0 || i > 0 && c.At < chunks[i-1].At {
				t.Errorf("chunk %d: %+v, %v", i, c, err)
			}
		}
	})
}

// A capture of an indicator is replayed onto another line, recorded there, and decoded: the same
// bytes come through both.
func TestRecordAndReplay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	captured, again := filepath.Join(dir, "captured.txt"), filepath.Join(dir, "again.txt")
	machine := start(t, "simulate", "-dialect", "yaohua-tf0", "-pty", filepath.Join(dir, "machine"), "-weight", "23960", "-weight", "0", "-hold", "300ms")
	if stdout, stderr, code := run(t, "", "record", captured, "-port", machine.at(), "-for", "1s"); code != program.Done || stdout != "" || !strings.Contains(stderr, "bytes in") {
		t.Fatalf("record: code %d: %s%s", code, stdout, stderr)
	}
	if _, stderr, code := run(t, "", "record", captured, "-port", machine.at()); code != program.Failed || !strings.Contains(stderr, "never overwritten") {
		t.Errorf("record over a recording: code %d: %s", code, stderr)
	}

	missing := filepath.Join(dir, "missing.txt")
	if _, stderr, code := run(t, "", "record", missing, "-port", filepath.Join(dir, "nobody")); code != program.Failed || !strings.Contains(stderr, "plugged in") {
		t.Errorf("record of no line: code %d: %s", code, stderr)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("a recording of nothing is left behind")
	}

	other := filepath.Join(dir, "other")
	replaying := start(t, "replay", captured, "-pty", other, "-after", "2s", "-speed", "2")
	waitFor(t, other)
	recording := start(t, "record", "-port", other, again)
	if code := replaying.wait(); code != program.Done { // hangs up at the end
		t.Errorf("replay: code %d: %s", code, &replaying.err)
	}
	if code := recording.wait(); code != program.Failed || !strings.Contains(recording.err.String(), "line lost") {
		t.Errorf("record of a line that was hung up: code %d: %s", code, &recording.err)
	}
	if want, got := recorded(t, captured), recorded(t, again); !bytes.Equal(want, got) || len(want) < 60 {
		t.Errorf("captured %d bytes\n% x\nreplayed %d\n% x", len(want), want, len(got), got)
	}

	stdout, stderr, code := run(t, "", "decode", "-recording", "-dialect", "yaohua-tf0", again)
	weights := map[any]bool{}
	for _, o := range objects(t, stdout) {
		weights[o["value"]] = true
	}
	if code != program.Done || !weights["23960"] || !weights["0"] {
		t.Errorf("decode: code %d, %v: %s", code, weights, stderr)
	}
}

// In a script record and replay print one object at the end, and nothing beside it.
func TestRecordAndReplayInScripts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, "simulate", "-dialect", "yaohua-tf0", "-pty", filepath.Join(dir, "machine"), "-weight", "23960").at()
	file := filepath.Join(dir, "recording.txt")
	stdout, stderr, code := run(t, "", "record", file, "-port", filepath.Join(dir, "machine"), "-for", "500ms", "-json")
	kept := objects(t, stdout)
	if code != program.Done || len(kept) != 1 || stderr != "" || int(kept[0]["bytes"].(float64)) != len(recorded(t, file)) {
		t.Fatalf("record: code %d: %s%s", code, stdout, stderr)
	}
	stdout, stderr, code = run(t, "", "replay", file, "-listen", "tcp://127.0.0.1:0", "-speed", "100", "-json")
	if sent := objects(t, stdout); code != program.Done || len(sent) != 1 || stderr != "" || sent[0]["bytes"] != kept[0]["bytes"] {
		t.Errorf("replay: code %d: %s%s", code, stdout, stderr)
	}
	stdout, stderr, code = run(t, "", "replay", file, "-listen", "tcp://127.0.0.1:0", "-speed", "100")
	if code != program.Done || stdout != "" || strings.Count(stderr, "\n") != 1 || strings.Contains(stderr, "\x1b") {
		t.Errorf("replay in a pipe: code %d: %q %q", code, stdout, stderr)
	}
}

func waitFor(t *testing.T, path string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
	}
	t.Fatalf("%s does not appear", path)
}

func recorded(t *testing.T, path string) (all []byte) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	chunks, err := bench.ReadRecording(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range chunks {
		all = append(all, c.Bytes...)
	}
	return all
}
