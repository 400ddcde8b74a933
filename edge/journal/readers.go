package journal

import (
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"

	"steelyard/internal/wire"
)

// History returns every journal of the directory that still has entries, the oldest first, this one
// last.
func (j *Journal) History() []*Reader { return append(j.Older(), &Reader{j.generation}) }

// Readers returns the journals of a directory to a program that does not own it, the oldest first. It
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
	var generations []*generation
	for _, name := range names {
		if !wire.IsJournal(name) {
			continue
		}
		g, err := loadGeneration(disk, slog.New(slog.DiscardHandler), filepath.Join(dir, name), name, false)
		if err != nil {
			return nil, err
		}
		if g != nil {
			generations = append(generations, g)
		}
	}
	sortGenerations(generations)
	readers := make([]*Reader, 0, len(generations))
	for _, g := range generations {
		readers = append(readers, &Reader{g})
	}
	return readers, nil
}
