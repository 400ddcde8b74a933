package journal

// fresh holds the newest durable entries as they were written, so that who sends them at once need
// not read them back, check them and take them apart again.
type fresh struct {
	entries []Stored
	bytes   int
}

// freshBytes bounds what is held.
const freshBytes = 256 << 10

// add takes entries that are durable now. The caller holds the generation's mu.
func (f *fresh) add(written []Written) {
	for _, w := range written {
		f.entries = append(f.entries, Stored(w))
		f.bytes += len(w.Line)
	}
	drop := 0
	for ; f.bytes > freshBytes && drop < len(f.entries); drop++ {
		f.bytes -= len(f.entries[drop].Line)
		f.entries[drop] = Stored{} // readers hold copies
	}
	f.entries = f.entries[drop:]
}

// Fresh returns some of the entries with numbers larger than n, without a gap, if the first of them was
// written a moment ago; none otherwise, and then After has them.
func (j *Journal) Fresh(n uint64, most int) []Stored {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.fresh.entries) == 0 || n+1 < j.fresh.entries[0].Entry.N || n >= j.last.N {
		return nil
	}
	run := j.fresh.entries[n+1-j.fresh.entries[0].Entry.N:]
	return append([]Stored(nil), run[:min(len(run), most)]...)
}
