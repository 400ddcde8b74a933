package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/sim"
)

// openPort opens a line, and says of one that is not there what to look at.
func openPort(ctx context.Context, c serial.Config) (*serial.Port, error) {
	port, err := serial.OpenContext(ctx, c)
	dialled, ok := errors.AsType[*net.OpError](err)
	switch {
	case err == nil || ctx.Err() != nil:
		return port, err
	case ok && dialled.Op == "dial":
		return nil, fmt.Errorf("%w; check the address and its port, the terminal server's power and the network", err)
	case errors.Is(err, fs.ErrNotExist):
		if there := portsOf(os.DirFS("/")); len(there) > 0 {
			return nil, fmt.Errorf("%w; plugged in here: %s", err, strings.Join(there, ", "))
		}
	}
	return nil, err
}

// portsOf names the serial adapters of a computer: by their makers' names, which stay when another is plugged
// in; where those don't name each one, by their sockets, which stay as long as nobody moves a plug; and where
// the system gives neither, by their numbers. Two adapters without a serial number share a maker's name, and
// which of them it leads to changes.
func portsOf(root fs.FS) []string {
	devices := globs(root, "dev/ttyUSB*", "dev/ttyACM*")
	for _, names := range [][]string{globs(root, "dev/serial/by-id/*"), globs(root, "dev/serial/by-path/*"), devices} {
		if len(names) > 0 && len(names) >= len(devices) {
			return names[:min(len(names), mostPorts)]
		}
	}
	return nil
}

// globs returns the paths that fit, sorted, each device once: systemd names one socket in two ways.
func globs(root fs.FS, patterns ...string) (all []string) {
	seen := map[string]bool{}
	for _, pattern := range patterns {
		names, err := fs.Glob(root, pattern)
		if err != nil {
			return nil // of a pattern only
		}
		for _, name := range names {
			device := name
			if target, err := fs.ReadLink(root, name); err == nil {
				device = path.Base(target)
			}
			if !seen[device] {
				seen[device] = true
				all = append(all, "/"+name)
			}
		}
	}
	slices.Sort(all)
	return all
}

// mostPorts keeps an error on its line.
const mostPorts = 8

// whichPort ends a message about a port that was not named.
func whichPort() string {
	if there := portsOf(os.DirFS("/")); len(there) > 0 {
		return "; plugged in here: " + strings.Join(there, ", ")
	}
	return ", like -port /dev/serial/by-id/… or -port tcp://host:port; no adapter is plugged in here"
}

// openLine makes a line whose far end somebody else opens.
func openLine(pty, listen string, baud int) (sim.Line, error) {
	if pty != "" {
		return openPty(pty, baud)
	}
	address, ok := strings.CutPrefix(listen, "tcp://")
	if !ok {
		return nil, wrongCall("", "listen %.80q: write tcp://host:port", listen)
	}
	return listening(sim.ListenTCP(address))
}

// listening says of an address at which nobody can listen what to do.
func listening[L any](line L, err error) (L, error) {
	if _, ok := errors.AsType[*net.OpError](err); ok {
		err = fmt.Errorf("%w; write an address of this computer and another port, or port 0 for a free one", err)
	}
	return line, err
}

// openPty makes a pseudo-terminal and its link. A link that leads nowhere is what a killed process
// left; one that leads to a line belongs to somebody, perhaps to a real adapter, and to take it away
// would cut off whoever reads there.
func openPty(link string, baud int) (sim.Line, error) {
	link, err := filepath.Abs(link)
	if err != nil {
		return nil, err
	}
	folder := filepath.Dir(link)
	if _, err := os.Stat(folder); err != nil {
		return nil, fmt.Errorf("pty %s: the folder %s cannot be used: %w; make it, or name another", link, folder, pathless(err))
	}
	if there, err := os.Lstat(link); err == nil && there.Mode()&os.ModeSymlink != 0 {
		if _, err := os.Stat(link); err == nil {
			return nil, fmt.Errorf("pty %s: this link leads to a line already, of another simulate, a replay or a real adapter; choose another name, or remove the link", link)
		}
	}
	return sim.OpenPty(sim.PtyConfig{Link: link, Baud: baud})
}

// pathless strips the path that a message names already.
func pathless(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
