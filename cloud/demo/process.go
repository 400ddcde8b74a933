package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is one child that can be killed and started again.
type Process struct {
	name    string
	command func() *exec.Cmd
	ready   string // URL that answers when it works
	log     *os.File

	mu      sync.Mutex // held for the fields below
	cmd     *exec.Cmd
	exited  chan struct{}
	err     error // why it ended; valid when exited is closed
	Restart int   // starts so far
}

func (t *Town) process(name string, role Role, config, ready string) (*Process, error) {
	log, err := os.OpenFile(filepath.Join(t.plan.Dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &Process{name: name, ready: ready, log: log, command: func() *exec.Cmd { return t.plan.Command(role, config) }}, nil
}

// Start starts the process and waits until it works. The child is in a group of its own, so that a
// ctrl-C at the terminal reaches only the town, which stops its processes in order; it dies with
// the town, whatever ends it.
func (p *Process) Start(ctx context.Context) error {
	if err := p.Launch(); err != nil {
		return err
	}
	return p.Ready(ctx)
}

// Launch starts the process and does not wait.
func (p *Process) Launch() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := p.command()
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	exited := make(chan struct{})
	p.cmd, p.exited = cmd, exited
	p.Restart++
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(exited)
	}()
	return nil
}

// startPatience is long because a race detector and two shared cores make everything slow.
const startPatience = 60 * time.Second

// Ready waits until the process answers.
func (p *Process) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.ready, nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer at %s: see %s", p.name, p.ready, p.log.Name())
		case <-p.exited:
			return fmt.Errorf("%s ended at its start: %s", p.name, lastLines(p.log.Name()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lastLines is the end of a log, for a message.
func lastLines(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// Signal sends a signal to the process.
func (p *Process) Signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	return p.cmd.Process.Signal(s)
}

// Kill ends the process as a power cut of its machine would, but for what the kernel still holds,
// and waits for its end.
func (p *Process) Kill() error {
	err := p.Signal(syscall.SIGKILL)
	<-p.exited
	return err
}

// PID of the running process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop asks the process to end and waits.
func (p *Process) Stop() error {
	if p == nil {
		return nil
	}
	defer p.log.Close()
	if p.cmd == nil {
		return nil
	}
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(20 * time.Second):
		return errors.Join(fmt.Errorf("%s did not stop in 20 s and was killed: see %s", p.name, p.log.Name()), p.Kill())
	}
}
