package journal

import (
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"

	"steelyard/internal/wire"
)

// History gives every journal of the directory that still has entries, the oldest first, this one
// last.
func (j *Journal) History() []*Reader { return append(j.Older(), &Reader{j.book}) }

// Readers gives the journals of a directory to a program that does not own it, the oldest first. It
// takes no lock and changes nothing; a journal that is being written is seen as far as it was when
// Readers was called.
func Readers(dir string) ([]*Reader, error) {
	disk := system{}
	names, err := disk.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var books []*book
	for _, name := range names {
		if !wire.IsJournal(name) {
			continue
		}
		b, err := loadBook(disk, slog.New(slog.DiscardHandler), filepath.Join(dir, name), name, false)
		if err != nil {
			return nil, err
		}
		if b != nil {
			books = append(books, b)
		}
	}
	sortBooks(books)
	readers := make([]*Reader, 0, len(books))
	for _, b := range books {
		readers = append(readers, &Reader{b})
	}
	return readers, nil
}
