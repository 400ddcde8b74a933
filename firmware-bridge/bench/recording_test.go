package bench_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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

// What is due already is not waited for, and an ended context is never passed over for it.
func TestWaitForWhatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		for _, d := range []time.Duration{0, -time.Second} {
			if err := bench.Wait(ctx, d); err != nil {
				t.Errorf("%s: %v", d, err)
			}
		}
		cancel(errBroken)
		for range 100 { // a timer that is due would be chosen every other time
			if err := bench.Wait(ctx, 0); !errors.Is(err, errBroken) {
				t.Fatalf("ended: %v", err)
			}
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
		"5 03\n4 02\n":              "line 2: timestamps go backwards",
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

// pieces is a line that brings some and is lost then.
type pieces [][]byte

func (p *pieces) Read(b []byte) (int, error) {
	if len(*p) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(b, (*p)[0])
	*p = (*p)[1:]
	return n, nil
}

// disk is a file on a disk that has no more room than this.
type disk struct {
	bytes.Buffer
	room int
}

func (d *disk) Write(b []byte) (int, error) {
	if fits := d.room - d.Len(); fits < len(b) {
		n, _ := d.Buffer.Write(b[:max(fits, 0)])
		return n, syscall.ENOSPC
	}
	return d.Buffer.Write(b)
}

func (d *disk) Truncate(size int64) error { d.Buffer.Truncate(int(size)); return nil }

// A disk that is full, with room for any number of bytes: what is kept can be replayed, is what came
// first, and is as much as record says; the error comes once and says what to do.
func TestRecordOnAFullDisk(t *testing.T) {
	line := func() (all pieces) {
		for i := range 400 {
			all = append(all, fmt.Appendf(nil, "\x02+%06d015\x03", i))
		}
		return all
	}
	var whole []byte
	for _, p := range line() {
		whole = append(whole, p...)
	}
	for room := 0; room < 11_000; room += 97 {
		came, file := line(), &disk{room: room}
		kept, n, err := bench.Keep(t.Context(), &came, file)
		if !errors.Is(err, syscall.ENOSPC) || strings.Count(err.Error(), "no space left") != 1 || !strings.Contains(err.Error(), "make room") {
			t.Fatalf("room for %d bytes: %v", room, err)
		}
		chunks, err := bench.ReadRecording(&file.Buffer)
		if kept == 0 && len(chunks) == 0 {
			continue
		}
		var got []byte
		for _, c := range chunks {
			got = append(got, c.Bytes...)
		}
		if err != nil || len(chunks) != kept || int64(len(got)) != n || !bytes.HasPrefix(whole, got) || room > 9000 && kept == 0 {
			t.Fatalf("room for %d bytes: %d of %d pieces can be read, %d of %d bytes: %v", room, len(chunks), kept, len(got), n, err)
		}
	}
}

// A power cut leaves the last line torn, wherever it was cut: what came before it can be replayed.
func TestReadRecordingAfterAPowerCut(t *testing.T) {
	const whole = "# steelyard recording 1\n0 022b\n1041 0304\n7000001 0506\n"
	first := strings.Index(whole, "\n1041") + 1
	for cut := first; cut <= len(whole); cut++ {
		got, err := bench.ReadRecording(strings.NewReader(whole[:cut]))
		if err != nil || len(got) < 1 || !bytes.Equal(got[0].Bytes, []byte{2, 0x2B}) || len(got) > 1 && got[1].At != 1041*time.Microsecond {
			t.Errorf("cut behind %q: %v, %v", whole[:cut], got, err)
		}
	}
	// The same line with its end is no torn one, but a mistake.
	if _, err := bench.ReadRecording(strings.NewReader("0 022b\n1041 030\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a line that is wrong is passed over: %v", err)
	}
}

// A line that is silent leaves no file behind, which would only be in the way of the next attempt,
// and a script is told by the exit code.
func TestRecordOfSilence(t *testing.T) {
	t.Parallel()
	silent, file := terminalOf(t), filepath.Join(t.TempDir(), "recording.txt")
	for range 2 {
		stdout, stderr, code := run(t, "", "record", "-port", silent.Path(), "-for", "50ms", file)
		if code != program.ExitError || stdout != "" || !strings.Contains(stderr, "nothing came in 50ms") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("code %d: %s%s", code, stdout, stderr)
		}
	}
	stdout, _, code := run(t, "", "record", "-port", silent.Path(), "-for", "50ms", "-json", file)
	if got := objects(t, stdout); code != program.ExitError || len(got) != 1 || got[0]["pieces"] != 0.0 {
		t.Errorf("code %d: %s", code, stdout)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a recording of nothing is left behind")
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
	if stdout, stderr, code := run(t, "", "record", captured, "-port", machine.at(), "-for", "1s"); code != program.ExitOK || stdout != "" || !strings.Contains(stderr, "bytes in") {
		t.Fatalf("record: code %d: %s%s", code, stdout, stderr)
	}
	if _, stderr, code := run(t, "", "record", captured, "-port", machine.at()); code != program.ExitError || !strings.Contains(stderr, "never overwritten") {
		t.Errorf("record over a recording: code %d: %s", code, stderr)
	}

	missing := filepath.Join(dir, "missing.txt")
	if _, stderr, code := run(t, "", "record", missing, "-port", filepath.Join(dir, "nobody")); code != program.ExitError || !strings.Contains(stderr, "plugged in") {
		t.Errorf("record of no line: code %d: %s", code, stderr)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("a recording of nothing is left behind")
	}

	other := filepath.Join(dir, "other")
	replaying := start(t, "replay", captured, "-pty", other, "-after", "2s", "-speed", "2")
	waitFor(t, other)
	recording := start(t, "record", "-port", other, again)
	if code := replaying.wait(); code != program.ExitOK { // hangs up at the end
		t.Errorf("replay: code %d: %s", code, &replaying.err)
	}
	if code := recording.wait(); code != program.ExitError || !strings.Contains(recording.err.String(), "line lost") {
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
	if code != program.ExitOK || !weights["23960"] || !weights["0"] {
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
	if code != program.ExitOK || len(kept) != 1 || stderr != "" || int(kept[0]["bytes"].(float64)) != len(recorded(t, file)) {
		t.Fatalf("record: code %d: %s%s", code, stdout, stderr)
	}
	stdout, stderr, code = run(t, "", "replay", file, "-listen", "tcp://127.0.0.1:0", "-speed", "100", "-json")
	if sent := objects(t, stdout); code != program.ExitOK || len(sent) != 1 || stderr != "" || sent[0]["bytes"] != kept[0]["bytes"] {
		t.Errorf("replay: code %d: %s%s", code, stdout, stderr)
	}
	stdout, stderr, code = run(t, "", "replay", file, "-listen", "tcp://127.0.0.1:0", "-speed", "100")
	if code != program.ExitOK || stdout != "" || strings.Count(stderr, "\n") != 1 || strings.Contains(stderr, "\x1b") {
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
