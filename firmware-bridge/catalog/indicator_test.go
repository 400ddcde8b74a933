package catalog_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/sim"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/config/configtest"
)

// Load has run every frame already. Here the frames go over a terminal to the Reader that an edge
// uses, which must read from it what the file says, and nothing from the damaged ones between.
func TestEveryShippedIndicatorOverALine(t *testing.T) {
	all := shipped(t).Indicators()
	if len(all) < 30 {
		t.Errorf("only %d indicators are shipped", len(all))
	}
	for _, i := range all {
		t.Run(i.Name, func(t *testing.T) {
			t.Parallel()
			if i.Notes == "" || i.Status != "manual" {
				t.Errorf("notes %q, status %s: say how it is set, and nothing was seen on a table yet", i.Notes, i.Status)
			}
			overALine(t, i)
		})
	}
}

func overALine(t *testing.T, i *catalog.Indicator) {
	line, err := sim.OpenPty(sim.PtyConfig{Link: filepath.Join(t.TempDir(), "indicator")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	want := map[string]catalog.Frame{}
	var frames [][]byte
	for _, f := range i.Tests {
		b, err := f.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, b)
		if !f.Refused() {
			want[hex.EncodeToString(b)] = f
		}
	}
	s := &collected{t: t, want: want, missing: len(want), done: cancel, seen: map[string]bool{}}
	d, o := i.Speaks()
	r := weighbridge.Reader{Sink: s,
		Indicators: []weighbridge.Indicator{{Device: "weighbridge-1", Dialect: d, Options: o}},
		Line:       serial.Config{Port: line.Path(), Baud: i.Line.Baud, Format: i.Line.Format},
		Timeout:    10 * time.Second} // of an answer, on a machine that is busy with other tests
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() { recite(ctx, t, line, d, o, frames) })
	<-ctx.Done()
	if err := line.Close(); err != nil {
		t.Error(err)
	}
	running.Wait()
	for frame := range want {
		if !s.seen[frame] {
			t.Errorf("% s was never read", frame)
		}
	}
}

// recite sends the frames again and again: by itself, or one for each request.
func recite(ctx context.Context, t *testing.T, line sim.Line, d weighbridge.Dialect, o weighbridge.Options, frames [][]byte) {
	var request []byte
	if d.Poll != "" {
		var err error
		if request, err = d.Encode(d.Poll, o); err != nil {
			t.Error(err)
			return
		}
	}
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	heard := make([]byte, 256)
	for n := 0; ctx.Err() == nil; n++ {
		for got := ""; len(request) > 0 && !strings.Contains(got, string(request)); {
			k, err := line.Read(heard)
			if err != nil {
				return // closed
			}
			got += string(heard[:k])
		}
		if len(request) == 0 {
			select {
			case <-pause.C:
			case <-ctx.Done():
				return
			}
		}
		_, _ = line.Write(frames[n%len(frames)]) // nobody listens yet or any more
	}
}

// collected compares what a Reader brings with the frames of a file.
type collected struct {
	t    *testing.T
	want map[string]catalog.Frame
	done func()

	mu      sync.Mutex // guards what follows
	missing int
	seen    map[string]bool
}

func (c *collected) Weight(w device.Weight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	raw := hex.EncodeToString(w.Raw)
	f, known := c.want[raw]
	if !known {
		c.t.Errorf("% x was read as a weight and is none of the file's frames", w.Raw)
		return
	}
	for _, wrong := range f.Compare(w) {
		c.t.Errorf("% x: %s", w.Raw, wrong)
	}
	if !c.seen[raw] {
		c.seen[raw] = true
		if c.missing--; c.missing == 0 {
			c.done()
		}
	}
}

func (c *collected) Scan(device.Scan)     {}
func (c *collected) Health(device.Health) {}

// An indicator that no dialect knows needs a file and no Go: the template reads with the layout it
// describes what the dialect reads of the same frames, and refuses what that refuses.
func TestGenericFrameIsTheDialectsFrame(t *testing.T) {
	c := shipped(t)
	clone, err := c.FindIndicator("generic-frame")
	if err != nil {
		t.Fatal(err)
	}
	maker, err := c.FindIndicator("yaohua-xk3190-a9")
	if err != nil {
		t.Fatal(err)
	}
	if clone.Dialect != "generic" || maker.Dialect == "generic" {
		t.Fatalf("dialects %s and %s prove nothing", clone.Dialect, maker.Dialect)
	}
	read := func(i *catalog.Indicator, frame []byte) (all []weighbridge.Description) {
		d, o := i.Speaks()
		o.Unit = "kg"
		decoder := weighbridge.NewDecoder(d, o)
		keep := func(w device.Weight) { all = append(all, weighbridge.Describe(w)) }
		decoder.Write(time.Time{}, frame, keep)
		decoder.Flush(keep)
		return all
	}
	for _, f := range append(clone.Tests, maker.Tests...) {
		b, err := f.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(read(maker, b), read(clone, b)); diff != "" {
			t.Errorf("% x: -dialect +layout\n%s", b, diff)
		}
	}
}

func TestFindIndicator(t *testing.T) {
	c := shipped(t)
	for name, want := range map[string]string{"yaohua": "yaohua-xk3190-a9", "laumas-tlb": "is a machine on Modbus"} {
		if _, err := c.FindIndicator(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("FindIndicator(%s) says %v, not %q", name, err, want)
		}
	}
	if _, err := c.Find("yaohua-xk3190-a9"); err == nil || !strings.Contains(err.Error(), "is an indicator on a serial line") {
		t.Errorf("Find of an indicator says %v", err)
	}
}

// Each testdata/*.bad.yaml begins with the lines that it must be answered with.
func TestBadIndicators(t *testing.T) {
	configtest.BadFiles(t, func(file string, data []byte) (string, error) {
		name := strings.TrimSuffix(filepath.Base(file), ".bad.yaml") + ".yaml"
		_, err := catalog.Load(fstest.MapFS{name: {Data: data}})
		return name, err
	})
}

// A wrong digit in any frame of a file or in what it should mean must not load: the control of all
// tests above.
func TestWrongExpectationIsNoticed(t *testing.T) {
	folder := os.DirFS("../../configs/devices")
	for _, i := range shipped(t).Indicators() {
		data, err := fs.ReadFile(folder, i.Name+".yaml")
		if err != nil {
			t.Fatal(err)
		}
		at := strings.Index(string(data), "value: ")
		wrong := string(data[:at]) + "value: 7" + string(data[at+len("value: "):])
		_, err = catalog.Read(i.Name+".yaml", []byte(wrong))
		if err == nil || !strings.Contains(err.Error(), "tests[0].expect: value reads ") {
			t.Errorf("%s: a wrong value of the first frame says %v", i.Name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, i := range []string{"generic-frame", "yaohua-xk3190-a9", "laumas-tlb"} {
		data, err := os.ReadFile("../../configs/devices/" + i + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add("--- # x\n'indicator' : a")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := catalog.Read("a.yaml", []byte(text))
		if (err == nil) != (m.Profile != nil || m.Indicator != nil) {
			t.Errorf("%v, %v", m, err)
		}
	})
}

// Frames of public reports that no file could describe.
func TestFramesFromTheField(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := catalog.Read(file, text); err != nil {
			t.Errorf("%v", err)
		}
	}
	text, err := os.ReadFile("testdata/cases/tscale-asked.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.Read("tscale-asked.yaml", bytes.Replace(text, []byte("52 57 0D 0A"), []byte("5A 0D 0A"), 1)); err == nil {
		t.Error("a file may let an indicator be zeroed")
	}
	m, err := catalog.Read("tscale-asked.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	d, o := m.Indicator.Speaks()
	if request, err := d.Encode(d.Poll, o); err != nil || string(request) != "RW\r\n" {
		t.Errorf("it is asked with %q, %v", request, err)
	}
}
