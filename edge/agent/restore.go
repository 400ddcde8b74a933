package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"steelyard/edge/journal"
	"steelyard/edge/meaning"
	"steelyard/internal/chain"
	"steelyard/internal/durable"
	"steelyard/internal/record"
)

// checkpoint is the site's memory up to an entry. It saves reading the whole journal at a start and
// may be lost at any time: the journal makes it again. The file is one line with the SHA-256 of
// what follows, and the JSON: a byte that the disk has changed must not become another weight.
type checkpoint struct {
	Journal string
	N       uint64
	Hash    chain.Hash // of entry N: a checkpoint of another history is not taken
	State   meaning.State
}

// Limits and form of the file.
const (
	checkpointFirst = "steelyard checkpoint 2 " // before the hash
	checkpointMost  = 64 << 20
)

func (c checkpoint) encode() ([]byte, error) {
	data, err := json.Marshal(c)
	return slices.Concat([]byte(checkpointFirst+chain.Of(data).String()+"\n"), data), err
}

func decodeCheckpoint(file []byte) (c checkpoint, err error) {
	head, data, _ := bytes.Cut(file, []byte("\n"))
	if string(head) != checkpointFirst+chain.Of(data).String() {
		return c, errors.New("its digest is wrong")
	}
	return c, json.Unmarshal(data, &c)
}

func (a *agent) readCheckpoint() (c checkpoint, err error) {
	f, err := os.Open(a.checkpointPath())
	if err != nil {
		return c, err
	}
	defer f.Close()
	file, err := io.ReadAll(io.LimitReader(f, checkpointMost))
	if err != nil {
		return c, err
	}
	return decodeCheckpoint(file)
}

func (a *agent) checkpointPath() string { return filepath.Join(a.config.Data, "checkpoint.json") }

// saveCheckpoint is a convenience, so its failure is only logged.
func (a *agent) saveCheckpoint(site *meaning.Site) {
	last := a.records.Last()
	data, err := checkpoint{last.Journal, last.N, last.Hash, site.State()}.encode()
	if err == nil {
		err = durable.WriteFile(a.checkpointPath(), data, 0o600)
	}
	if err != nil {
		a.log.Warn("cannot save checkpoint, the next start replays more", "err", err)
	}
}

// restore brings back what the site knew: the checkpoint, then every entry after it. A fresh journal
// continues the memory of the one before.
func (a *agent) restore(site *meaning.Site) error {
	begin := time.Now()
	from, entries := a.restoreCheckpoint(site), 0
	logs := a.records.History()
	started := from.Journal == ""
	for _, log := range logs {
		after := uint64(0)
		if !started {
			if log.ID() != from.Journal {
				continue
			}
			started, after = true, from.N
		}
		n, err := replay(site, log, after)
		if err != nil {
			return err
		}
		entries += n
	}
	a.log.Info("journal replayed", "entries", entries, "ms", time.Since(begin).Milliseconds())
	return nil
}

// restoreCheckpoint takes the checkpoint if it belongs to a journal that is here.
func (a *agent) restoreCheckpoint(site *meaning.Site) checkpoint {
	c, err := a.readCheckpoint()
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			a.log.Warn("cannot read checkpoint, replaying the whole journal", "err", err)
		}
		return checkpoint{}
	}
	for _, log := range a.records.History() {
		if log.ID() != c.Journal || c.N == 0 {
			continue
		}
		for stored, err := range log.After(c.N - 1) {
			if err == nil && stored.Entry.N == c.N && chain.Of(stored.Line) == c.Hash {
				site.Restore(c.State)
				return c
			}
			break
		}
	}
	a.log.Warn("checkpoint belongs to another journal, ignored")
	return checkpoint{}
}

// replay applies the entries of one journal. Damaged ones are missing from the site's memory as
// they are from the journal, which has named them already.
func replay(site *meaning.Site, log *journal.Reader, after uint64) (int, error) {
	entries := 0
	for stored, err := range log.After(after) {
		if err != nil {
			if _, damaged := errors.AsType[*journal.DamageError](err); damaged {
				continue
			}
			return entries, err
		}
		e := stored.Entry
		body, err := e.Decode()
		if err != nil {
			continue // of a newer version: it says nothing to this one
		}
		site.Apply(meaning.Entry{Ref: record.Ref{Journal: e.Journal, N: e.N}, Hash: chain.Of(stored.Line).String(), At: e.At, Device: e.Device, Body: body})
		entries++
	}
	return entries, nil
}
