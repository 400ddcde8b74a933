package bench

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// longestLine is more than any line of a capture; a recording's longest has 8 KiB.
const longestLine = 64 << 10

var (
	// errNoMoreLines reports that the input is at its end.
	errNoMoreLines = errors.New("no more lines")
	// errLongLine reports that one line is not to be had; those behind it are.
	errLongLine = fmt.Errorf("too long: longer than %d characters; break it into lines of one frame each", longestLine)
)

// textLine is a line of a text without its end.
type textLine struct {
	text  string
	long  bool // longer than longestLine; there is no text then
	ended bool // by a line end, and not by the end of the text
}

// lineReader cuts a text into lines and keeps no more of one than longestLine.
type lineReader struct{ r *bufio.Reader }

// next returns a line, or io.EOF, or why there is none.
func (l lineReader) next() (line textLine, _ error) {
	var text []byte
	for came := false; ; came = true {
		piece, err := l.r.ReadSlice('\n')
		if line.ended = err == nil; line.ended {
			piece = piece[:len(piece)-1]
		}
		if text = append(text, piece...); len(text) > longestLine {
			line.long, text = true, text[:0]
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && !(errors.Is(err, io.EOF) && (came || len(piece) > 0)):
			return textLine{}, err
		case !line.long:
			line.text = strings.TrimSuffix(string(text), "\r")
		}
		return line, nil
	}
}

// lines are read from r by a goroutine of their own, because a read of a terminal or a pipe cannot
// be interrupted: when the command ends before its input does, that goroutine ends with the input
// or with the process.
type lines struct {
	next chan textLine
	err  error // of the input; set before next is closed
}

func readLines(ctx context.Context, r io.Reader) *lines {
	l := &lines{next: make(chan textLine)}
	if r == nil {
		close(l.next)
		return l
	}
	go func() {
		defer close(l.next)
		for in := (lineReader{bufio.NewReader(r)}); ; {
			line, err := in.next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					l.err = err
				}
				return
			}
			select {
			case l.next <- line:
			case <-ctx.Done():
				return
			}
		}
	}()
	return l
}

// line returns the next line, errNoMoreLines, errLongLine for one that is passed over, or why there
// is none.
func (l *lines) line(ctx context.Context) (string, error) {
	select {
	case line, ok := <-l.next:
		switch {
		case ok && line.long:
			return "", errLongLine
		case ok:
			return line.text, nil
		case l.err != nil:
			return "", fmt.Errorf("input: %w", l.err)
		}
		return "", errNoMoreLines
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// openInput opens a capture for reading.
func openInput(name string) (*os.File, error) {
	info, err := os.Stat(name)
	if err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s: is a directory; name a file in it", name)
	}
	var file *os.File
	if err == nil {
		file, err = os.Open(name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w; check the path", name, pathless(err))
	}
	return file, nil
}

// parseHex reads bytes of two hexadecimal digits each; blanks and colons between them are free, and
// '#' begins a comment. Digits are never joined over a blank: "2 2B 30" is not 22 B3.
func parseHex(text string) ([]byte, error) {
	const byTwo = "write each byte as two digits, like 02 2B 30"
	text, _, _ = strings.Cut(strings.TrimPrefix(text, byteOrderMark), "#")
	var all []byte
	for group := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(" \t:\r", r) }) {
		b, err := hex.DecodeString(group)
		switch wrong := strings.TrimLeft(group, "0123456789abcdefABCDEF"); {
		case wrong != "":
			r, _ := utf8.DecodeRuneInString(wrong)
			return nil, fmt.Errorf("%.40q is not hexadecimal: %q is no digit of it; %s", group, r, byTwo)
		case err != nil:
			return nil, fmt.Errorf("%.40q is not hexadecimal: its number of digits is odd; %s", group, byTwo)
		}
		all = append(all, b...)
	}
	return all, nil
}

// byteOrderMark begins the files of some editors and is seen by nobody.
const byteOrderMark = "\uFEFF"
