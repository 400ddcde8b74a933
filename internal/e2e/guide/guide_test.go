// Package guide runs the commands of the documentation as they stand there, so that whoever follows
// a page meets nothing that we have not met.
package guide_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"steelyard/internal/port"
)

const root = "../../.."

// blocks returns the text of a page's sh blocks under the headings from..to, counted from 0; 0 is what
// stands before the first heading.
func blocks(t *testing.T, page string, from, to int) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	heading, inside := 0, false
	for line := range strings.Lines(string(text)) {
		switch {
		case !inside && strings.HasPrefix(line, "## "):
			heading++
		case !inside && line == "```sh\n":
			inside = true
		case line == "```\n":
			inside = false
		case inside && heading >= from && heading <= to:
			out.WriteString(line)
		}
	}
	if out.Len() == 0 {
		t.Fatalf("%s has no commands under headings %d to %d", page, from, to)
	}
	return out.String()
}

// reader is somebody who types what he reads. Ports and the terminal's name are his own, for others
// may be reading on the same machine.
type reader struct {
	home  string
	ports *strings.Replacer
	city  string // address of the city's pages
}

func newReader(t *testing.T) *reader {
	t.Helper()
	r := &reader{home: t.TempDir()}
	pairs := []string{"/tmp/steelyard-scale", filepath.Join(r.home, "scale")}
	for _, documented := range []string{"8080", "8081", "8883"} {
		p, err := port.Reserve()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
		own := fmt.Sprint(p.Number())
		if documented == "8080" {
			r.city = "http://127.0.0.1:" + own
		}
		for _, host := range []string{"127.0.0.1:", "localhost:", "listener "} {
			pairs = append(pairs, host+documented, host+own)
		}
	}
	r.ports = strings.NewReplacer(pairs...)
	return r
}

// types runs commands in one shell. What it leaves running ends with the test.
func (r *reader) types(t *testing.T, commands string) {
	t.Helper()
	ground, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	script := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", r.ports.Replace(commands))
	script.Dir = ground
	script.Env = append(os.Environ(), "HOME="+r.home, "GOPATH="+goEnv(t, "GOPATH"), "GOCACHE="+goEnv(t, "GOCACHE"), "GOMODCACHE="+goEnv(t, "GOMODCACHE"))
	script.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	log, err := os.Create(filepath.Join(r.home, "script.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	script.Stdout, script.Stderr = log, log
	script.Cancel = func() error { return syscall.Kill(-script.Process.Pid, syscall.SIGKILL) }
	if err := script.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Kill(-script.Process.Pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			t.Error(err)
		}
		if t.Failed() {
			for _, name := range []string{"script.log", "steelyard/city/cloud.log", "steelyard/site/edge.log", "steelyard/city/mosquitto.log", "steelyard/site/scale.log"} {
				text, err := os.ReadFile(filepath.Join(r.home, name))
				if err == nil {
					fmt.Fprintf(&out, "== %s\n%s\n", name, text)
				}
			}
			t.Log(out.String())
		}
	})
	if err := script.Wait(); err != nil {
		t.Fatalf("the commands ended with %v", err)
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// counted waits until the city has an entry of the site.
func (r *reader) counted(t *testing.T) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		res, err := client.Get(r.city + "/api/sites")
		if err != nil {
			continue
		}
		var body bytes.Buffer
		_, err = body.ReadFrom(res.Body)
		res.Body.Close()
		if err == nil && strings.Contains(body.String(), `"online":true`) && !strings.Contains(body.String(), `"committed":0`) {
			return
		}
	}
	t.Fatal("the city has nothing from the site")
}

func TestOneCityOneSite(t *testing.T) {
	r := newReader(t)
	r.types(t, blocks(t, "first-city.md", 0, 6))
	r.counted(t)
}

func TestMosquitto(t *testing.T) {
	r := newReader(t)
	r.types(t, blocks(t, "first-city.md", 0, 3)+
		// The test may be root, and mosquitto then becomes another user who could not read the files.
		strings.Replace(blocks(t, "mosquitto.md", 1, 4), "persistence true\n", "persistence true\nuser root\n", 1)+
		blocks(t, "first-city.md", 5, 6))
	r.counted(t)
}
