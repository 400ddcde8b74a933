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

// due reports whether a picture may be drawn.
func (s *screen) due(now time.Time) bool { return now.Sub(s.drawn) >= leastRedraw }

// draw shows the lines, folded to the terminal's size as it is now. Each picture is one write that
// hides the cursor and shows it again, so that the terminal is in order whatever ends or stops the
// program between two of them.
func (s *screen) draw(now time.Time, lines []string) {
	width, height := sizeOf(s.fd)
	var b strings.Builder
	b.WriteString(hideCursor)
	if s.drawn.IsZero() {
		b.WriteString("\x1b[2J")
	}
	s.drawn = now
	b.WriteString(home)
	rows := fitted(lines, width, height-1)
	for i, row := range rows {
		if text, strong := strings.CutPrefix(row, bold); strong {
			row = bold + text + plain
		}
		b.WriteString(row + clearLine)
		if i < len(rows)-1 || len(rows) < height-1 {
			b.WriteString("\r\n")
		}
	}
	b.WriteString(clearBelow + showCursor)
	s.out.printf("%s", b.String())
}

// width of the terminal as it is now.
func (s *screen) width() int {
	width, _ := sizeOf(s.fd)
	return width
}

// fitted folds lines to a width, and says below how many rows a height has no place for: what is
// not seen must not be taken for what is not there.
func fitted(lines []string, width, height int) []string {
	var rows []string
	for _, line := range lines {
		text, strong := strings.CutPrefix(line, bold)
		for _, row := range fold(text, width, 2) {
			if strong {
				row = bold + row
			}
			rows = append(rows, row)
		}
	}
	if len(rows) > height && height > 0 {
		hidden := len(rows) - height + 1
		rows = append(rows[:height-1], fold(fmt.Sprintf("… %s more: make the window larger", count(hidden, "row")), width, 0)[0])
	}
	return rows
}

// fold breaks a line at its blanks into rows of at most width characters; all but the first are
// indented. One word that is longer is broken anywhere.
func fold(line string, width, indent int) (rows []string) {
	rest := []rune(line)
	for len(rest) > width && width > 2*indent {
		first := indent
		if len(rows) == 0 {
			first = len(rest) - len([]rune(strings.TrimLeft(line, " ")))
		}
		at := width
		for at > first && rest[at] != ' ' {
			at--
		}
		if at <= first {
			at = width
		}
		rows = append(rows, strings.TrimRight(string(rest[:at]), " "))
		rest = []rune(strings.Repeat(" ", indent) + strings.TrimLeft(string(rest[at:]), " "))
	}
	return append(rows, string(rest[:min(len(rest), max(width, 0))]))
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
		s.out.printf("\r\n")
	}
}

// rate counts events in the second that is over.
type rate struct {
	since  time.Time
	before uint64
	tenths uint64 // in ten seconds
	known  bool   // a second is over
}

// update takes the total so far.
func (r *rate) update(now time.Time, total uint64) {
	switch passed := now.Sub(r.since); {
	case r.since.IsZero():
		r.since, r.before = now, total
	case passed >= time.Second:
		r.tenths = (total - r.before) * uint64(10*time.Second/time.Millisecond) / uint64(passed.Milliseconds())
		r.since, r.before, r.known = now, total, true
	}
}

func (r rate) String() string {
	if !r.known {
		return "-/s"
	}
	return fmt.Sprintf("%d.%d/s", r.tenths/10, r.tenths%10)
}

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

// folded returns the lines in rows that fit a screen, and are not longer than a person likes to read.
func (r *recent) folded(width int) []string {
	const widest, indent = 78, len("15:04:05.000  ")
	var all []string
	for _, line := range r.lines {
		all = append(all, fold(line, min(width, widest), min(indent, width/4))...)
	}
	return all
}
