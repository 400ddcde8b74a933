package meaning

import (
	"slices"
	"time"

	"steelyard/internal/record"
)

// Note is what a belt or a baler has shown and was not counted, for the people of the site.
type Note struct {
	Device string
	Code   string    // what pages translate: one of the codes below
	At     time.Time // when it was first noted
	Shown  int64     // number or counts that the machine showed
	Known  int64     // up to where it was recorded then
	Over   time.Time // when the machine showed again what follows Known; zero: it has not
}

// Codes of a note.
const (
	NoteCounterLower  = "counter-lower"
	NoteCounterHigher = "counter-higher"
	NoteCounterNew    = "counter-new"
	NoteTotalLower    = "total-lower"
	NoteTotalHigher   = "total-higher"
)

const keptNotes = 20

// Notes are the newest, newest first.
func (s *Site) Notes() []Note {
	notes := slices.Clone(s.state.Notes)
	slices.Reverse(notes)
	return notes
}

// addNote keeps a note. One that only goes on is kept once.
func (s *Site) addNote(n Note) {
	if open := s.openNote(n.Device); open != nil && open.Code == n.Code {
		open.Shown, open.Known = n.Shown, n.Known
		return
	}
	s.closeNote(n.Device, n.At)
	s.state.Notes = append(s.state.Notes, n)
	s.state.Notes = s.state.Notes[max(0, len(s.state.Notes)-keptNotes):]
}

// closeNote ends the note of a machine.
func (s *Site) closeNote(device string, at time.Time) {
	if open := s.openNote(device); open != nil {
		open.Over = at
	}
}

func (s *Site) openNote(device string) *Note {
	for i := range s.state.Notes {
		if n := &s.state.Notes[i]; n.Device == device && n.Over.IsZero() {
			return n
		}
	}
	return nil
}

// noteOfTotal is what a belt's record says beside its standing.
func noteOfTotal(e Entry, body *record.Belt, known int64) Note {
	n := Note{Device: e.Device, Code: NoteTotalHigher, At: e.At, Shown: body.Raw, Known: known}
	if body.Event == record.BeltReset {
		n.Code = NoteTotalLower
	}
	return n
}

// noteOfCounter is what a baler's record says beside its bales.
func noteOfCounter(e Entry, shown, known uint64) Note {
	n := Note{Device: e.Device, Code: NoteCounterHigher, At: e.At, Shown: int64(shown), Known: int64(known)}
	if shown < known {
		n.Code = NoteCounterLower
	}
	return n
}
