package ledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"steelyard/internal/wire"
)

// Limits of the quarantine. At the limit the oldest pieces of the site that has most of them make
// room, alarms last: who floods it pushes out his own.
const (
	MaxQuarantine = 10_000   // pieces of evidence
	MaxEvidence   = 64 << 10 // bytes of one, before base64
	maxWhy        = 500      // bytes of an explanation
	makeRoom      = 100      // pieces removed at a time
	maxJournalID  = 2 * 32   // bytes of a journal id in quarantine, which may be no journal id
)

// Reasons of the ledger's own refusals.
const (
	ReasonConflict = "conflict" // a number, or what it follows, is known otherwise
	ReasonLate     = "late"     // its number was stated to be gone, and a gap stands there
)

// Refusal is something that was received and not taken in.
type Refusal struct {
	Site     string // empty: not an enrolled site
	Journal  string // as far as it is known
	N        uint64 // 0: not known
	Reason   string // one word, counted by it
	Why      string
	Alarm    bool
	Size     int    // bytes received
	Evidence []byte // the same bytes, or their beginning
}

// Quarantined is a refusal as it is kept.
type Quarantined struct {
	Refusal
	ID    int64
	Seen  time.Time
	Last  time.Time // the same again
	Times int64
}

// Quarantine keeps refused bytes as evidence, and counts them. The same bytes again are counted
// only.
func (l *Ledger) Quarantine(ctx context.Context, at time.Time, refusals []Refusal) error {
	if len(refusals) == 0 {
		return nil
	}
	return l.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		q := quarantineWriter{ctx: ctx, tx: tx}
		for _, r := range refusals {
			if _, err := q.add(r, at.UnixMicro()); err != nil {
				return err
			}
		}
		return nil
	})
}

// Alarm keeps, with the tables' own transaction, what a reader of the ledger has to say of an entry
// that is in it. It stands beside the refused, as what a person must look at, and does not count as a refusal.
func (t *Tables) Alarm(ctx context.Context, tx *sql.Tx, at time.Time, r Refusal) error {
	r.Alarm = true
	q := quarantineWriter{ctx: ctx, tx: tx}
	_, err := q.keep(r, at.UnixMicro())
	return err
}

// quarantineWriter is the quarantine during a transaction.
type quarantineWriter struct {
	ctx    context.Context
	tx     *sql.Tx
	pieces int // in quarantine; counted at the first new one
	next   int64

	count, touch, insert *sql.Stmt
}

// add counts one refusal and keeps it.
func (q *quarantineWriter) add(r Refusal, at int64) (bool, error) {
	if err := q.prepare(); err != nil {
		return false, fmt.Errorf("ledger: quarantine: %w", err)
	}
	if _, err := q.count.ExecContext(q.ctx, r.Site, r.Reason, at); err != nil {
		return false, fmt.Errorf("ledger: count refusals: %w", err)
	}
	return q.keep(r, at)
}

// keep keeps one piece and reports whether it is a new one.
func (q *quarantineWriter) keep(r Refusal, at int64) (bool, error) {
	r.Size = max(r.Size, len(r.Evidence))
	r.Evidence = r.Evidence[:min(len(r.Evidence), MaxEvidence)]
	r.Why = truncate(r.Why)
	r.Journal = r.Journal[:min(len(r.Journal), maxJournalID)]
	if err := q.prepare(); err != nil {
		return false, fmt.Errorf("ledger: quarantine: %w", err)
	}
	digest := digestOf(r)
	known, err := q.touch.ExecContext(q.ctx, at, digest)
	if err != nil {
		return false, fmt.Errorf("ledger: quarantine: %w", err)
	}
	if n, err := known.RowsAffected(); err != nil || n > 0 {
		return false, err
	}
	if err := q.evict(); err != nil {
		return false, err
	}
	_, err = q.insert.ExecContext(q.ctx, q.next, digest, at, r.Site, r.Journal, int64(r.N), r.Reason, r.Why, boolInt(r.Alarm), r.Size,
		base64.StdEncoding.EncodeToString(r.Evidence))
	if err != nil {
		return false, fmt.Errorf("ledger: quarantine: %w", err)
	}
	q.next++
	q.pieces++
	return true, nil
}

// prepare makes the statements at the first refusal; they end with the transaction.
func (q *quarantineWriter) prepare() error {
	if q.insert != nil {
		return nil
	}
	var err, errTouch, errInsert error
	q.count, err = q.tx.PrepareContext(q.ctx, `
		insert into refusals (site, reason, times, last_us) values ($1, $2, 1, $3)
		on conflict (site, reason) do update set times = refusals.times + 1, last_us = excluded.last_us`)
	q.touch, errTouch = q.tx.PrepareContext(q.ctx, `update quarantine set times = times + 1, last_us = $1 where digest = $2`)
	q.insert, errInsert = q.tx.PrepareContext(q.ctx, `
		insert into quarantine (id, digest, seen_us, last_us, times, site, journal, n, reason, why, alarm, size, evidence)
		values ($1, $2, $3, $3, 1, $4, $5, $6, $7, $8, $9, $10, $11)`)
	return errors.Join(err, errTouch, errInsert)
}

// evict makes sure that there is place for one more. What an enrolled key has signed goes last: who
// sends forged batches pushes out no proof of a fork.
func (q *quarantineWriter) evict() error {
	if q.next == 0 {
		err := q.tx.QueryRowContext(q.ctx, `select count(*), coalesce(max(id), 0) + 1 from quarantine`).Scan(&q.pieces, &q.next)
		if err != nil {
			return fmt.Errorf("ledger: quarantine: %w", err)
		}
	}
	if q.pieces < MaxQuarantine {
		return nil
	}
	gone, err := q.tx.ExecContext(q.ctx, `
		delete from quarantine where id in (
			select id from quarantine
			where site = (select site from quarantine group by site order by count(*) desc, site limit 1)
			order by case reason when 'signature' then 0 else alarm end, id limit $1)`, makeRoom)
	if err != nil {
		return fmt.Errorf("ledger: room in the quarantine: %w", err)
	}
	n, err := gone.RowsAffected()
	q.pieces -= int(n)
	return err
}

// truncate bounds an explanation, which may quote what came from outside.
func truncate(why string) string {
	return strings.ToValidUTF8(why[:min(len(why), maxWhy)], "?")
}

func digestOf(r Refusal) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%q\n%d\n", r.Reason, r.Site, r.Journal, r.N)
	h.Write(r.Evidence)
	return hex.EncodeToString(h.Sum(nil))
}

// putConflict keeps the entries of another history, from the first that differs. When the first and
// the last are kept already it is the same batch again, and both are counted.
func (p *postTx) putConflict(b *wire.Batch, from int, why string) error {
	firstIsNew, err := p.putLine(b, from, ReasonConflict, why)
	last := len(b.Entries) - 1
	if err != nil || last == from {
		return err
	}
	lastIsNew, err := p.putLine(b, last, ReasonConflict, why)
	if err != nil || !firstIsNew && !lastIsNew {
		return err
	}
	for k := from + 1; k < last; k++ {
		if _, err := p.putLine(b, k, ReasonConflict, why); err != nil {
			return err
		}
	}
	return nil
}

func (p *postTx) putLate(b *wire.Batch, late []int) (int, error) {
	for _, k := range late {
		if _, err := p.putLine(b, k, ReasonLate, "the edge had stated this number to be gone"); err != nil {
			return 0, err
		}
	}
	return len(late), nil
}

func (p *postTx) putLine(b *wire.Batch, k int, reason, why string) (bool, error) {
	return p.quarantine.add(Refusal{Site: b.Site, Journal: b.Journal, N: b.Entries[k].N, Reason: reason, Why: why,
		Alarm: true, Evidence: b.Lines[k]}, p.received)
}
