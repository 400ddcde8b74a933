package agent_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"steelyard/edge/agent"
	"steelyard/internal/chain"
	"steelyard/internal/config/configtest"
	"steelyard/internal/program"
)

func TestShippedConfigurationLoads(t *testing.T) {
	c, err := agent.Read("../../configs/edge.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Weighbridges) != 3 || len(c.Lines()) != 2 || len(c.Buses) != 2 || c.Weighbridges[0].Min != 20*c.Weighbridges[0].Division {
		t.Errorf("got %+v", c)
	}
}

// TestCheckNamesWhatWillNotStart: the shipped file on a machine that has none of its files yet, and a
// file whose machine has all.
func TestCheckNamesWhatWillNotStart(t *testing.T) {
	code, out, errs := run(t, "-config", "../../configs/edge.yaml", "-check")
	if want := ":3: cloud.password_file: secret: /etc/steelyard/xinhua-1.password: no such file"; code != program.ExitError || out != "" || !strings.Contains(errs, want) {
		t.Errorf("-check: got %d %q %q, want %q", code, out, errs, want)
	}
	s := newSite(t)
	if code, out, errs := run(t, "-config", s.file, "-check"); code != program.ExitOK || !strings.HasSuffix(out, ": good\n") {
		t.Errorf("-check: got %d %q %q", code, out, errs)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "ca.pem"), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.file, bytes.Replace(text, []byte("cloud: {"), []byte("cloud: {ca_file: ca.pem, "), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := run(t, "-config", s.file, "-check"); code != program.ExitError || !strings.Contains(errs, "cloud.ca_file: broker's authorities") {
		t.Errorf("-check with an empty authority: got %d %q", code, errs)
	}
}

// TestKeyBeforeTheFirstStart: the key is drawn once and printed though the city's is not known yet.
func TestKeyBeforeTheFirstStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "edge.yaml")
	if err := os.WriteFile(file, []byte("site: xinhua-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, first, errs := run(t, "-config", file, "-key")
	if _, err := chain.ParsePublicKey(strings.TrimSpace(first)); code != program.ExitOK || err != nil || errs != "" {
		t.Fatalf("got %d %q %q: %v", code, first, errs, err)
	}
	if _, again, _ := run(t, "-config", file, "-key"); again != first {
		t.Errorf("got %q the second time and %q the first", again, first)
	}
}

// TestBadConfigurations: every mistake of a file at once, each with its place.
func TestBadConfigurations(t *testing.T) {
	configtest.BadFiles(t, func(file string, _ []byte) (string, error) {
		_, err := agent.Read(file)
		return file, err
	})
}

// run is the program with a command line, in this process.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	env := program.Env{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	code = program.RunMain(ctx, "edge", env, agent.Run)
	if ctx.Err() != nil {
		t.Errorf("the agent started")
	}
	return code, out.String(), errs.String()
}

func TestClockBeforeTheBuild(t *testing.T) {
	err := program.CheckClock(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))
	if err == nil || !strings.Contains(err.Error(), "2020-01-01") || !strings.Contains(err.Error(), "set the clock") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line with the time and the remedy", err)
	}
	if err := program.CheckClock(time.Now()); err != nil {
		t.Error(err)
	}
}

// TestStartFailures: one line with thing, cause and remedy, exit status 1, and nothing has started.
func TestStartFailures(t *testing.T) {
	write := func(t *testing.T, path, text string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name    string
		prepare func(t *testing.T, s *site)
		want    []string // what the one line says
	}{
		{"key that others can read", func(t *testing.T, s *site) {
			write(t, filepath.Join(s.dir, "data", "edge.key"), "x", 0o644)
		}, []string{"edge.key", "others may read it (mode 0644)", "chmod 600"}},
		{"key that is garbage", func(t *testing.T, s *site) {
			write(t, filepath.Join(s.dir, "data", "edge.key"), "rubbish and more rubbish", 0o600)
		}, []string{"edge.key", "put the right file back"}},
		{"empty key", func(t *testing.T, s *site) {
			write(t, filepath.Join(s.dir, "data", "edge.key"), "", 0o600)
		}, []string{"edge.key", "is empty"}},
		{"key is a folder", func(t *testing.T, s *site) {
			if err := os.MkdirAll(filepath.Join(s.dir, "data", "edge.key"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, []string{"edge.key", "is a directory"}},
		{"port in use", func(t *testing.T, s *site) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			s.configure(fmt.Sprintf("listen: %q\n", l.Addr()))
		}, []string{"operator's page", "address already in use", "choose another listen"}},
		{"a file in the data folder's place", func(t *testing.T, s *site) {
			write(t, filepath.Join(s.dir, "data"), "x", 0o600)
		}, []string{"data folder", "not a directory", "name another as data"}},
		{"a file in the journal's place", func(t *testing.T, s *site) {
			write(t, filepath.Join(s.dir, "data", "records"), "x", 0o600)
		}, []string{"open journal", "records", "not a directory"}},
		{"read-only disk", func(t *testing.T, s *site) {
			dir := disk(t, "1m")
			if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			s.configure(fmt.Sprintf("data: %q\n", dir))
		}, []string{"read-only file system", "must be writable"}},
		{"full disk", func(t *testing.T, s *site) {
			dir := disk(t, "256k")
			fill(t, dir)
			s.configure(fmt.Sprintf("data: %q\n", dir))
		}, []string{"no space left", "have room"}},
		{"full disk, known key", func(t *testing.T, s *site) {
			dir := disk(t, "256k")
			write(t, filepath.Join(dir, "edge.key"), s.cloud.Text(), 0o600)
			for _, d := range []string{"records", "samples"} {
				if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			fill(t, dir)
			s.configure(fmt.Sprintf("data: %q\n", dir))
		}, []string{"journal", "no space left", "free space on the disk"}},
		{"password that others can read", func(t *testing.T, s *site) {
			write(t, filepath.Join(s.dir, "password"), "secret-word", 0o644)
			text, err := os.ReadFile(s.file)
			if err != nil {
				t.Fatal(err)
			}
			write(t, s.file, strings.Replace(string(text), "cloud: {", "cloud: {username: xinhua-1, password_file: password, ", 1), 0o600)
		}, []string{"password", "others may read it", "chmod 600"}},
		{"another agent on the same data", func(t *testing.T, s *site) {
			s.start()
		}, []string{"open journal", "records", "another process holds it", "choose another directory"}},
		{"another site's journal", func(t *testing.T, s *site) {
			s.start().end()
			text, err := os.ReadFile(s.file)
			if err != nil {
				t.Fatal(err)
			}
			write(t, s.file, strings.Replace(string(text), "site: xinhua-1", "site: ruzhou-1", 1), 0o600)
		}, []string{"holds the records of site xinhua-1", "choose another directory"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite(t)
			tc.prepare(t, s)
			code, out, errs := run(t, "-config", s.file)
			if code != program.ExitError || out != "" || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "edge: ") {
				t.Errorf("got exit %d, %q, %q, want exit 1 and one line", code, out, errs)
			}
			for _, want := range tc.want {
				if !strings.Contains(errs, want) {
					t.Errorf("got %q, want it to say %q", errs, want)
				}
			}
			if strings.Contains(errs, "secret-word") || strings.Contains(errs, "rubbish") {
				t.Errorf("the message tells a secret: %q", errs)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-nonsense"}, {"now"}, {"-config"}} {
		code, out, errs := run(t, args...)
		if code != program.ExitUsage || out != "" || errs == "" {
			t.Errorf("%q: got %d %q %q, want exit 2 and a reason", args, code, out, errs)
		}
	}
	if code, out, _ := run(t, "-h"); code != 0 || !strings.Contains(out, "-config") {
		t.Errorf("-h: got %d %q", code, out)
	}
}

func TestFileThatIsNone(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe.yaml")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"missing": filepath.Join(dir, "none.yaml"), "folder": dir, "pipe": pipe, "device": "/dev/zero"} {
		t.Run(name, func(t *testing.T) {
			code, _, errs := run(t, "-config", path)
			if code != program.ExitError || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, path) {
				t.Errorf("%s: got %d %q", name, code, errs)
			}
		})
	}
}
