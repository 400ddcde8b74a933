// Package journal is the edge's only memory: [Open] it, [Journal.Append] facts, and read them with
// [Journal.After] as entries, numbered, chained and on the disk.
//
// In: facts from meaning, receipts from the cloud.
// Out: the same facts as entries, in order and with their exact bytes, to any number of readers,
// each with a cursor of its own.
//
// It promises that Append returns only when its entries are on the medium, and that no reader sees
// them earlier; that a number is never given twice within a journal id, whatever was lost, damaged
// or put back from a copy; that damage costs the entries it touches, is named, never gives another
// weight and never prevents the start; that what is full refuses and overwrites nothing; and that
// an un-receipted record is never dropped.
//
// It does not judge facts, send anything, know keys, or check a receipt's signature. It trusts the
// medium to keep what it has flushed. It is for one process: a second Open fails.
//
// At the start it reads the headers of all segments and the frames of the last one only; the
// others are checked whenever they are read.
package journal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"steelyard/internal/chain"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// Options say where a journal lies and how large it may become.
type Options struct {
	Dir          string
	Site         string
	Stream       wire.Stream
	SegmentBytes int64 // size of one segment; 0: 8 MiB
	// Budget is what all journals in Dir may take, in bytes; 0: no bound. Beyond it Append returns
	// ErrFull.
	Budget int64
	Log    *slog.Logger // nil: silence
	// NoSync leaves out every fsync. It exists for the negative control of the power-cut test and
	// loses entries: never set it at a site.
	NoSync bool
}

// Errors that callers branch on.
var (
	ErrFull   = errors.New("the journal has used up its budget: nothing was recorded; raise the budget or wait for the cloud's receipts and prune")
	ErrClosed = errors.New("the journal is closed")
)

const defaultSegment = 8 << 20

// Journal is an open journal. Its methods may be called from any goroutine. Of its
// locks writing is taken before wait and mu, saving before mu; mu and wait never together.
type Journal struct {
	*generation
	opt     Options
	site    string
	unlock  func() error
	older   []*generation // never changes in length; pruned generations are marked by having no segments
	reason  string        // why this journal was begun; empty when it was continued
	writing sync.Mutex
	active  file   // under writing; nil: the next Append begins a segment
	next    uint64 // under writing: number of the next segment
	before  header // under writing: where the entries before the next segment end

	wait     sync.Mutex
	appended chan struct{} // under wait; closed when entries were appended
	failed   error         // under wait: what the last Append came to
	closed   bool          // under wait
	oldest   cachedTime    // under wait
}

// cachedTime is a remembered answer: the time of an entry.
type cachedTime struct {
	of record.Ref
	at time.Time
}

// Open locks the directory, finds the newest journal in it and its newest entry, and begins a new
// journal where there is none or where its numbers can't be continued safely. It changes no file of
// an existing journal; the first Append begins a segment of its own.
//
//	mkdir, fsync parent    what is missing of Dir
//	flock    lock          a second agent gets an error at once
//	read     all headers
//	fsync    last segment  an entry that a killed process left whole becomes durable before it shows
//	fadvise, read          all its frames, from the medium
func Open(opt Options) (*Journal, error) { return open(system{opt.NoSync}, opt) }

func open(disk filesystem, opt Options) (*Journal, error) {
	if opt.SegmentBytes == 0 {
		opt.SegmentBytes = defaultSegment
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if err := wire.CheckSlug("site", opt.Site); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if opt.Stream != wire.Records && opt.Stream != wire.Samples {
		return nil, fmt.Errorf("open journal: stream %q is neither records nor samples", opt.Stream)
	}
	if opt.SegmentBytes < 1<<10 || opt.Budget < 0 || opt.Budget > 0 && opt.Budget < 2*opt.SegmentBytes {
		return nil, fmt.Errorf("open journal: segments of %d bytes in a budget of %d: the budget must hold two segments, a segment 1 KiB", opt.SegmentBytes, opt.Budget)
	}
	if err := disk.MkdirAll(opt.Dir); err != nil {
		return nil, fmt.Errorf("open journal: %w", remedy(err, opt.Dir))
	}
	unlock, err := disk.Lock(filepath.Join(opt.Dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", remedy(err, opt.Dir))
	}
	j := &Journal{opt: opt, site: opt.Site, unlock: unlock, appended: make(chan struct{})}
	if err := j.load(disk); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal: %w", remedy(err, opt.Dir)), unlock())
	}
	return j, nil
}

// load finds the newest generation and continues it or begins another one.
func (j *Journal) load(disk filesystem) error {
	generations, err := loadAll(disk, j.opt.Log, j.opt.Dir)
	if err != nil {
		return err
	}
	if len(generations) == 0 {
		return j.beginNext(disk, nil, "the first journal in this directory")
	}
	newest := generations[len(generations)-1]
	reason, err := j.continuable(newest)
	if err != nil {
		return err
	}
	if reason == "" {
		j.generation, j.older = newest, generations[:len(generations)-1]
		return j.resume()
	}
	j.opt.Log.Error("journal: a new journal begins", "after", newest.id, "last", newest.last.N, "err", reason)
	return j.beginNext(disk, generations, reason)
}

// BeginNext begins a new journal after this one, whose numbers may have been given already to entries
// that this disk does not hold. It is for the start: only the caller may use the journal meanwhile.
func (j *Journal) BeginNext(reason string) error {
	j.writing.Lock()
	defer j.writing.Unlock()
	j.opt.Log.Warn("journal: a new journal begins", "after", j.id, "last", j.last.N, "why", reason)
	if j.active != nil {
		j.active.Close() // all of it is durable
		j.active = nil
	}
	if err := j.beginNext(j.disk, append(j.older, j.generation), reason); err != nil {
		return fmt.Errorf("begin a new journal: %w", remedy(err, j.opt.Dir))
	}
	return nil
}

// beginNext begins a new generation after those before.
func (j *Journal) beginNext(disk filesystem, before []*generation, reason string) error {
	number := uint64(1)
	if len(before) > 0 {
		number = before[len(before)-1].number + 1
	}
	next, err := newGeneration(disk, j.opt, number)
	if err != nil {
		return err
	}
	j.generation, j.older, j.reason, j.next, j.before = next, before, reason, 0, header{}
	if err := j.begin(); err != nil {
		return errors.Join(err, disk.Remove(j.dir))
	}
	return nil
}

// Begun reports whether this process has begun the journal: no other can have given its numbers.
func (j *Journal) Begun() bool { return j.reason != "" }

// continuable returns why a generation's numbers can't be continued; empty: they can.
func (j *Journal) continuable(g *generation) (reason string, err error) {
	for _, s := range g.segments {
		if s.known && (s.head.site != j.site || s.head.stream != j.opt.Stream) {
			return "", fmt.Errorf("%s holds the %s of site %s: choose another directory for the %s of %s",
				j.opt.Dir, s.head.stream, s.head.site, j.opt.Stream, j.site)
		}
	}
	switch {
	case g.ending != "":
		return g.ending, nil
	case g.receipts.Fork != 0:
		return (&ForkError{g.id, g.receipts.Fork}).Error(), nil
	case g.receipts.High > g.last.N:
		return (&AheadError{g.id, g.receipts.High, g.last.N}).Error(), nil
	case g.receipts.lost && g.truncated:
		return fmt.Sprintf("journal %s ends in an unfinished write and its receipt can't be read: what was receipted after entry %d is not known", g.id, g.last.N), nil
	}
	return "", nil
}

// resume prepares a continued generation for the first Append.
func (j *Journal) resume() error {
	if j.receipts.lost {
		j.log.Warn("journal: the receipt file is damaged: everything that is left will be sent again", "journal", j.id)
	}
	j.next = j.segments[len(j.segments)-1].n + 1
	j.before = header{segment: j.newest.n, beforeBytes: j.newest.end}
	j.stream = j.opt.Stream
	return nil
}

// loadAll loads all generations of a directory, the newest last. A generation without any readable header is
// taken for the newest: a damaged header is more likely in a young journal of one segment.
func loadAll(disk filesystem, log *slog.Logger, dir string) ([]*generation, error) {
	names, err := disk.List(dir)
	if err != nil {
		return nil, err
	}
	var generations []*generation
	for _, name := range names {
		if !wire.IsJournal(name) {
			continue
		}
		g, err := loadGeneration(disk, log, filepath.Join(dir, name), name, true)
		if err != nil {
			return nil, fmt.Errorf("journal %s: %w", name, err)
		}
		if g != nil {
			generations = append(generations, g)
		}
	}
	sortGenerations(generations)
	return generations, nil
}

// newGeneration draws an id and makes its directory.
func newGeneration(disk filesystem, opt Options, number uint64) (*generation, error) {
	var raw [16]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return nil, err
	}
	id := hex.EncodeToString(raw[:])
	g := &generation{disk: disk, log: opt.Log, dir: filepath.Join(opt.Dir, id), id: id, stream: opt.Stream,
		number: number, last: chain.Link{Journal: id}}
	return g, disk.MkdirAll(g.dir)
}

// ID is the journal's 128 random bits in hexadecimal digits.
func (j *Journal) ID() string { return j.id }

// Origin tells what the first entry of this run has to say about the journal's beginning: the last
// entry of the journal before it and why it was begun. Both are empty unless the journal is new.
func (j *Journal) Origin() (previous record.Ref, reason string) {
	if j.Last().N > 0 {
		return record.Ref{}, ""
	}
	for _, g := range slices.Backward(j.older) {
		if last := g.link(); last.N > 0 {
			previous = record.Ref{Journal: last.Journal, N: last.N}
			break
		}
	}
	if reason = j.reason; reason == "" {
		reason = "a journal without entries was found" // its first Append was cut off
	}
	return previous, reason
}

// Last is the newest durable entry; number 0 before the first.
func (j *Journal) Last() chain.Link { return j.link() }

func (g *generation) link() chain.Link {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// After returns the durable entries with numbers larger than n, up to the newest one at the time of
// the call. Entries that are gone are yielded as one *DamageError for each run of numbers, those
// that Prune dropped with the reason Thinned, and reading goes on after it. Any other error is the medium's and ends the traversal.
func (j *Journal) After(n uint64) iter.Seq2[Stored, error] { return j.after(n) }

// Wait returns when there is an entry with a number larger than n, when ctx ends, or with ErrClosed.
func (j *Journal) Wait(ctx context.Context, n uint64) error {
	for {
		j.wait.Lock()
		appended, closed := j.appended, j.closed
		j.wait.Unlock()
		switch {
		case j.Last().N > n:
			return nil
		case closed:
			return ErrClosed
		}
		select {
		case <-appended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Receipt is the newest receipt of this journal; false: there is none yet.
func (j *Journal) Receipt() (wire.Receipt, bool) { return j.receipt() }

// SetReceipt saves a receipt of this journal or of an older one. The caller has checked its
// signature, and that it is not late: one that covers less than the one before is taken with a
// warning. Which of two came later no wall clock is asked. It returns a *ForkError for a receipt of
// another entry, and an *AheadError, after saving it, for one that covers more than the journal holds.
func (j *Journal) SetReceipt(r wire.Receipt) error {
	return j.ofGeneration(r, (*generation).setReceipt)
}

// Compare looks whether the journal holds the entry that a receipt names, and saves nothing else: it
// returns a *ForkError for another entry under the same number.
func (j *Journal) Compare(r wire.Receipt) error {
	return j.ofGeneration(r, (*generation).compare)
}

func (j *Journal) ofGeneration(r wire.Receipt, do func(*generation, wire.Receipt) error) error {
	if r.Site != j.site || r.Stream != j.opt.Stream {
		return fmt.Errorf("receipt for the %s of site %.40q: this is the journal of the %s of %s", r.Stream, r.Site, j.opt.Stream, j.site)
	}
	if r.Journal == j.id {
		return do(j.generation, r)
	}
	for _, g := range j.older {
		if g.id == r.Journal {
			return do(g, r)
		}
	}
	return fmt.Errorf("receipt for journal %.40q, which is not in %s", r.Journal, j.opt.Dir)
}

// Broken reports whether an error tells of a journal that must not be continued: the cloud holds more than
// the disk, or another history.
func Broken(err error) bool {
	_, ahead := errors.AsType[*AheadError](err)
	_, fork := errors.AsType[*ForkError](err)
	return ahead || fork
}

// Close ends the journal. What was appended is on the disk already. Readers may finish.
func (j *Journal) Close() error {
	j.writing.Lock()
	defer j.writing.Unlock()
	j.wait.Lock()
	defer j.wait.Unlock()
	if j.closed {
		return nil
	}
	j.closed = true
	close(j.appended)
	var err error
	if j.active != nil {
		err = j.active.Close()
		j.active = nil
	}
	return errors.Join(err, j.unlock())
}

// notExist is the one error of a disk that has a meaning of its own here.
func notExist(err error) bool { return errors.Is(err, os.ErrNotExist) }
