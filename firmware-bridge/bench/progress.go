package bench

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// progress is one line at the foot of a terminal about work that takes long, drawn over itself.
// Where standard error is no terminal, and where JSON is wanted, nothing is drawn.
type progress struct {
	w     io.Writer // nil: nothing is drawn
	fd    int
	drawn time.Time // zero: nothing stands there
}

func (c invocation) progress(asJSON bool) *progress {
	if fd, ok := terminal(c.env.Stderr); ok && !asJSON {
		return &progress{w: c.env.Stderr, fd: fd}
	}
	return &progress{}
}

// show draws how much of all is done, at most ten times a second. With no end in sight all is
// zero, and the time that has passed stands there.
func (p *progress) show(done, all time.Duration, what string) {
	now := time.Now()
	if p.w == nil || now.Sub(p.drawn) < leastRedraw {
		return
	}
	p.drawn = now
	line := fmt.Sprintf("%s  %s", minutes(done), what)
	if all > 0 {
		line = bar(done, all) + "  " + what
	}
	width, _ := sizeOf(p.fd)
	cut := []rune(line)
	fmt.Fprintf(p.w, "\r%s%s", string(cut[:min(len(cut), width-1)]), clearLine)
}

// clear leaves an empty line for what is printed next.
func (p *progress) clear() {
	if !p.drawn.IsZero() {
		fmt.Fprint(p.w, "\r"+clearLine)
		p.drawn = time.Time{}
	}
}

// bar is the share that is done, as a picture and a number, with the time that is left.
func bar(done, all time.Duration) string {
	const cells = 24
	done = min(done, all)
	full := int(cells * done / all)
	return fmt.Sprintf("[%s%s] %3d %%  %s left", strings.Repeat("#", full), strings.Repeat("-", cells-full), 100*done/all, minutes(all-done+time.Second-1))
}

// minutes writes a time as "1:05".
func minutes(d time.Duration) string {
	s := int(d / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
