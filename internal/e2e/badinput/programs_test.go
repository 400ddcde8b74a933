// Package badinput gives the two programs, as real processes, what operators and attackers give
// them: command lines, files and messages that are wrong. Whatever it is, a program says what is
// wrong in one line for each mistake and ends with the right status, or refuses the one message and
// works on.
package badinput

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	_ "steelyard/cloud/demo"
)

// patience bounds every wait. What is waited for takes a hundredth of it.
const patience = time.Minute

// binaries are where TestMain has built the programs.
const binaries = "STEELYARD_BADINPUT_BIN"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "steelyard-badinput-")
	if err == nil {
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv(binaries, dir)
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// build makes the programs as anybody would. The test cache does not see the files that a compiler
// reads; importing the programs' packages makes it.
func build(dir string) error {
	for _, name := range []string{"edge", "cloud"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), "./"+name)
		cmd.Dir = filepath.Join("..", "..", "..")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", name, err, out)
		}
	}
	return nil
}

func program(name string) string { return filepath.Join(os.Getenv(binaries), name) }

// call runs a program to its end.
func call(t *testing.T, dir, name string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(name), args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case ctx.Err() != nil:
		t.Fatalf("%s %q did not end: %.2000s", name, args, errs.String())
	case err != nil && !failed:
		t.Fatal(err)
	}
	if failed {
		code = exit.ExitCode()
	}
	for _, bad := range []string{"panic", "goroutine ", "fatal error", "SIGSEGV", "%!"} {
		if strings.Contains(errs.String(), bad) {
			t.Errorf("%s %q says %q: %.2000s", name, args, bad, errs.String())
		}
	}
	return code, out.String(), errs.String()
}

func TestCommandLines(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		program string
		args    []string
		code    int
		first   string // what the first line says
	}{
		{"edge", []string{"-x"}, 2, "edge: flag provided but not defined: -x"},
		{"edge", []string{"-config"}, 2, "edge: flag needs an argument: -config"},
		{"edge", []string{"-check=perhaps"}, 2, "edge: invalid boolean value"},
		{"edge", []string{"run"}, 2, `edge: unexpected "run"`},
		{"edge", []string{"-config", "edge.yaml", "-check", "more"}, 2, `edge: unexpected "more"`},
		{"edge", nil, 1, "edge: edge.yaml: no such file or directory; check the path"},
		{"edge", []string{"-config", ""}, 1, "edge: no file is named; give its path"},
		{"edge", []string{"-h"}, 0, ""},
		{"cloud", []string{"--nonsense=1"}, 2, "cloud: flag provided but not defined: -nonsense"},
		{"cloud", []string{"serve"}, 2, `cloud: unexpected "serve"`},
		{"cloud", []string{"\x00"[:0]}, 2, `cloud: unexpected ""`},
		{"cloud", nil, 1, "cloud: cloud.yaml: no such file or directory; check the path"},
		{"cloud", []string{"-h"}, 0, ""},
		{"cloud", []string{"demo", "-speed", "fast"}, 2, "cloud: invalid value \"fast\" for flag -speed"},
		{"cloud", []string{"demo", "-speed", "1000"}, 2, "cloud: speed 1000: use 0.1 to 50"},
		{"cloud", []string{"demo", "-for", "3"}, 2, "cloud: invalid value \"3\" for flag -for"},
		{"cloud", []string{"demo", "-influx", "nowhere"}, 2, "cloud: influx: "},
		{"cloud", []string{"demo", "more"}, 2, `cloud: unexpected "more"`},
		{"cloud", []string{"demo", "edge", "-config", "none.yaml"}, 1, "cloud: none.yaml: no such file"},
	} {
		t.Run(strings.Join(append([]string{tc.program}, tc.args...), " "), func(t *testing.T) {
			code, out, errs := call(t, dir, tc.program, tc.args...)
			first, _, _ := strings.Cut(errs, "\n")
			if code != tc.code || !strings.HasPrefix(first, tc.first) || tc.code == 1 && strings.Count(errs, "\n") != 1 {
				t.Errorf("got exit %d, %q, want exit %d and %q", code, errs, tc.code, tc.first)
			}
			if tc.code == 0 && (!strings.HasPrefix(out, "usage: ") || errs != "") || tc.code != 0 && out != "" {
				t.Errorf("got %q on stdout, %q on stderr", out, errs)
			}
		})
	}
}

// place is how a mistake in a file begins.
var place = regexp.MustCompile(`^\w+: (.+?):([1-9][0-9]*):([1-9][0-9]*): \S`)

// TestFiles: the same corpus for both programs.
func TestFiles(t *testing.T) {
	write := func(text string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	var bomb strings.Builder
	bomb.WriteString("a: &a [x,x,x,x,x,x,x,x,x]\n")
	for c := 'b'; c < 'j'; c++ {
		bomb.WriteString(fmt.Sprintf("%c: &%c [%s*%c]\n", c, c, strings.Repeat(fmt.Sprintf("*%c,", c-1), 8), c-1))
	}
	for _, tc := range []struct {
		name   string
		make   func(t *testing.T, path string)
		placed bool   // every line names file, line and column
		say    string // something that is said
	}{
		{"empty", write(""), true, "is empty"},
		{"only a comment", write("# later\n"), true, "is empty"},
		{"not UTF-8", write("name: \xff\xfe\n"), true, "is not UTF-8"},
		{"GBK", write("name: \xd0\xc2\xbb\xaa\n"), true, "is not UTF-8"},
		{"UTF-16", write("\xff\xfen\x00a\x00"), true, "UTF-16"},
		{"byte order mark", write("\xef\xbb\xbfname: x\n"), true, "byte order mark"},
		{"NUL", write("name: a\x00b\n"), true, "control character"},
		{"escape sequences", write("name: \x1b[31mred\n"), true, "control character"},
		{"CRLF", write("name: x\r\nnmae: y\r\n"), true, ":2:1: nmae: unknown key"},
		{"tab", write("cloud:\n\tname: x\n"), true, "a tab indents this line"},
		{"anchor bomb", write(bomb.String()), true, "anchors (&name) are not supported"},
		{"a hundred thousand brackets", write(strings.Repeat("[", 100_000)), true, "this is not a configuration"},
		{"a thousand brackets", write(strings.Repeat("[", 1000)), true, "nested deeper than"},
		{"deep mapping", write(strings.Repeat("{a: ", 5000)), true, "deep"},
		{"unknown key", write("nmae: x\n"), true, ":1:1: nmae: unknown key"},
		{"doubled key", write("name: x\nname: y\n"), true, ":2:1:"},
		{"boolean of YAML 1.1", write("name: no\nlisten: on\n"), true, ":1:1:"},
		{"octal", write("data: data\njournal: {records_mib: 0100}\nbroker: {max_clients: 0100}\n"), true, "begins with a zero"},
		{"wrong types", write("name: [x]\ndata: {a: b}\nlisten: 1.5\n"), true, ":1:1: name: needs a text"},
		{"value of nothing", write("name:\ndata: ~\n"), true, "has no value"},
		{"port 0x1F90", write("listen: 0x1F90\n"), true, "is not host:port"},
		{"two documents", write("name: x\n---\nname: y\n"), true, "a second document"},
		{"a tag", write("name: !!binary aGVsbG8=\n"), true, "tags (!name) are not supported"},
		{"not YAML", write("name: [x\n"), true, ":1:"},
		{"HTML", write("<!DOCTYPE html><html><body>404</body></html>\n"), true, ":1:1:"},
		{"ELF", write("\x7fELF\x02\x01\x01\x00\x00\x00"), true, ":1:1:"},
		{"hundred wrong keys at once", write(strings.Repeat("x: 1\n", 5000)), true, "and"},
		{"long line", write("name: " + strings.Repeat("x", 900_000) + "\nnmae: 1\n"), true, ":2:1: nmae"},
		{"a gigabyte", func(t *testing.T, path string) {
			write("name: x\n")(t, path)
			if err := os.Truncate(path, 1<<30); err != nil {
				t.Fatal(err)
			}
		}, false, "larger than"},
		{"missing", func(*testing.T, string) {}, false, "no such file"},
		{"folder", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, false, "is a directory"},
		{"pipe", func(t *testing.T, path string) {
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}, false, "is a pipe"},
		{"device", func(t *testing.T, path string) {
			if err := os.Symlink("/dev/zero", path); err != nil {
				t.Fatal(err)
			}
		}, false, "is a device"},
		{"link to itself", func(t *testing.T, path string) {
			if err := os.Symlink(path, path); err != nil {
				t.Fatal(err)
			}
		}, false, "too many levels"},
		{"link to nowhere", func(t *testing.T, path string) {
			if err := os.Symlink("/nowhere/at/all", path); err != nil {
				t.Fatal(err)
			}
		}, false, "no such file"},
	} {
		for _, name := range []string{"edge", "cloud"} {
			t.Run(tc.name+"/"+name, func(t *testing.T) {
				dir := t.TempDir()
				file := name + ".yaml"
				tc.make(t, filepath.Join(dir, file))
				code, out, errs := call(t, dir, name, "-config", file)
				if code != 1 || out != "" || !strings.Contains(errs, tc.say) || len(errs) > 100_000 {
					t.Errorf("got exit %d, %q, %.3000q, want exit 1 and %q", code, out, errs, tc.say)
				}
				lines := strings.Split(strings.TrimSuffix(errs, "\n"), "\n")
				for _, line := range lines {
					at := place.FindStringSubmatch(line)
					rest := strings.HasPrefix(line, name+": "+file+": and ") // and so many more mistakes
					if tc.placed && !rest && (at == nil || at[1] != file) || !strings.HasPrefix(line, name+": ") {
						t.Errorf("got the line %.300q, want it to begin with %s: %s:line:column:", line, name, file)
					}
				}
				if !tc.placed && len(lines) != 1 {
					t.Errorf("got %d lines: %.2000q, want 1", len(lines), errs)
				}
				// Nothing was begun: the folder holds what it held before.
				left, err := os.ReadDir(dir)
				if err != nil || len(left) > 1 {
					t.Errorf("it left %v (%v)", left, err)
				}
			})
		}
	}
}

// TestOneLineForEachMistake: a file with many has as many lines, in the order of the file.
func TestOneLineForEachMistake(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"edge": `site: Xinhua 1
nmae: x
listen: nowhere
cloud: {broker: "ftp://x", key: "short"}
journal: {records_mib: 1, keep: 5}
weighbridges:
  - {device: w, line: {port: /dev/ttyS1}, dialect: none, unit: kg, division: 20 kg, max: 60 t}
  - {device: w, line: {port: /dev/ttyS1}, dialect: mt-cont, unit: stone, division: 20 kg, max: 60 t}
`,
		"cloud": `listen: nowhere
broker: {listen: "127.0.0.1:1883", url: "tcp://x:1"}
influx: {url: "ftp://x"}
sites:
  - {id: "X 1", key: "short"}
  - {id: a, key: "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="}
  - {id: a, key: "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=", colour: x}
`,
	} {
		file := name + ".yaml"
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, errs := call(t, dir, name, "-config", file)
		last, lines := 0, strings.Split(strings.TrimSuffix(errs, "\n"), "\n")
		for _, line := range lines {
			at := place.FindStringSubmatch(line)
			if at == nil {
				t.Errorf("%s: no place in %q", name, line)
				continue
			}
			n := 0
			if _, err := fmt.Sscan(at[2], &n); err != nil || n < last {
				t.Errorf("%s: line %d is told after line %d", name, n, last)
			}
			last = n
		}
		if want := map[string]int{"edge": 11, "cloud": 9}[name]; code != 1 || len(lines) != want {
			t.Errorf("%s: got exit %d and %d lines, want %d:\n%s", name, code, len(lines), want, errs)
		}
	}
}
