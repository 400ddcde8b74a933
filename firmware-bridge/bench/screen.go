package bench

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Terminal control of ECMA-48, which every terminal since the VT100 knows.
const (
	home       = "\x1b[H"
	clearLine  = "\x1b[K"
	clearBelow = "\x1b[J"
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	bold       = "\x1b[1m"
	plain      = "\x1b[0m"
)

// leastRedraw keeps a busy line from flooding a slow terminal.
const leastRedraw = 100 * time.Millisecond

// screen draws a picture over the one before. It belongs to one goroutine.
type screen struct {
	out   *output
	fd    int
	drawn time.Time // of the latest picture; zero: none yet
}

// due says whether a picture may be drawn.
func (s *screen) due(now time.Time) bool { return now.Sub(s.drawn) >= leastRedraw }

// draw shows the lines, cut to the terminal's size as it is now.
func (s *screen) draw(now time.Time, lines []string) {
	width, height := sizeOf(s.fd)
	var b strings.Builder
	if s.drawn.IsZero() {
		b.WriteString(hideCursor + "\x1b[2J")
	}
	s.drawn = now
	b.WriteString(home)
	for i, line := range lines[:min(len(lines), height-1)] {
		strong := strings.HasPrefix(line, bold)
		cut := []rune(strings.TrimPrefix(line, bold))
		if cut = cut[:min(len(cut), width)]; strong {
			fmt.Fprintf(&b, "%s%s%s", bold, string(cut), plain)
		} else {
			b.WriteString(string(cut))
		}
		b.WriteString(clearLine)
		if i < height-2 {
			b.WriteString("\r\n")
		}
	}
	b.WriteString(clearBelow)
	s.out.printf("%s", b.String())
}

// sizeOf is a terminal's size as it is now.
func sizeOf(fd int) (width, height int) {
	if size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil && size.Col > 0 && size.Row > 0 {
		return int(size.Col), int(size.Row)
	}
	return 80, 24
}

// leave gives the terminal back with the last picture on it.
func (s *screen) leave() {
	if !s.drawn.IsZero() {
		s.out.printf("%s\r\n", showCursor)
	}
}

// rate counts events in the second that is over.
type rate struct {
	since  time.Time
	before uint64
	tenths uint64 // in ten seconds
}

// update takes the total so far.
func (r *rate) update(now time.Time, total uint64) {
	switch passed := now.Sub(r.since); {
	case r.since.IsZero():
		r.since, r.before = now, total
	case passed >= time.Second:
		r.tenths = (total - r.before) * uint64(10*time.Second/time.Millisecond) / uint64(passed.Milliseconds())
		r.since, r.before = now, total
	}
}

func (r rate) String() string { return fmt.Sprintf("%d.%d/s", r.tenths/10, r.tenths%10) }

// recent keeps the last few lines.
type recent struct {
	lines []string
	most  int
}

func (r *recent) add(line string) {
	if r.lines = append(r.lines, line); len(r.lines) > r.most {
		r.lines = append(r.lines[:0], r.lines[1:]...)
	}
}

// folded gives the lines in pieces that fit a screen of 80 characters.
func (r *recent) folded() []string {
	const width, indent = 78, "              "
	var all []string
	for _, line := range r.lines {
		for len(line) > width {
			cut := strings.LastIndexByte(line[:width], ' ')
			if cut <= len(indent) {
				break // one word is that long
			}
			all = append(all, line[:cut])
			line = indent + line[cut+1:]
		}
		all = append(all, line)
	}
	return all
}
