package ledger

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"steelyard/internal/chain"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// Reader reads a ledger. Each call sees one moment of it.
type Reader struct{ db *sql.DB }

// OpenReader opens the ledger that another process writes. It never writes, and its reads do not
// hold up the writer.
func OpenReader(ctx context.Context, dsn string) (*Reader, error) {
	path, err := pathOf(dsn)
	if err != nil {
		return nil, err
	}
	db, err := openFile(ctx, path, external)
	if err != nil {
		return nil, err
	}
	version, err := schemaVersion(ctx, db, "ledger")
	if err == nil && version != schemaKnown {
		err = fmt.Errorf("schema version %d, this program reads %d: run the programs in one version", version, schemaKnown)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ledger %s: %w", path, err), db.Close())
	}
	return &Reader{db: db}, nil
}

// schemaKnown is the number of the newest file in schema.
const schemaKnown = 1

// Close closes the files.
func (r *Reader) Close() error { return r.db.Close() }

// Derived returns the pool for the tables that others keep beside the ledger's; it can't write.
func (r *Reader) Derived() *sql.DB { return r.db }

// Entry is an entry as it stands in the ledger.
type Entry struct {
	wire.Entry
	Seq      int64 // order of commit, from 1 without holes
	Hash     chain.Hash
	Line     []byte // the evidence
	Received time.Time
	Valid    bool   // false: kept as evidence, for its body is of no known form or contradicts itself
	Why      string // it is invalid
}

const maxPage = 100_000 // entries of one answer

const selectEntries = `select e.seq, e.hash, e.received_us, e.valid, e.why, e.line from entries e `

// Head is the seq of the newest entry; 0 while the ledger is empty.
func (r *Reader) Head(ctx context.Context) (seq int64, err error) {
	err = r.db.QueryRowContext(ctx, `select seq from head where id = 1`).Scan(&seq)
	return seq, wrap("head", err)
}

// Entries returns up to limit entries after the given seq.
func (r *Reader) Entries(ctx context.Context, after int64, limit int) ([]Entry, error) {
	return r.entries(ctx, selectEntries+`where e.seq > $1 order by e.seq limit $2`, after, min(limit, maxPage))
}

// EntriesOf returns the entries of some kinds with after < seq ≤ upTo, valid or not. A reader that
// follows the ledger by kind moves its cursor to upTo, which must not exceed [Reader.Head].
func (r *Reader) EntriesOf(ctx context.Context, after, upTo int64, kinds ...record.Kind) ([]Entry, error) {
	args := []any{after, upTo}
	var among strings.Builder
	for i, kind := range kinds {
		if i > 0 {
			among.WriteString(", ")
		}
		args = append(args, string(kind))
		fmt.Fprintf(&among, "$%d", len(args))
	}
	return r.entries(ctx, selectEntries+`where e.seq > $1 and e.seq <= $2 and e.kind in (`+among.String()+`) order by e.seq`, args...)
}

// Invalid returns the newest entries that were kept although they are not valid.
func (r *Reader) Invalid(ctx context.Context, limit int) ([]Entry, error) {
	return r.entries(ctx, selectEntries+`where e.valid = 0 order by e.seq desc limit $1`, min(limit, maxPage))
}

// Find returns one entry; ok is false when the ledger does not hold it.
func (r *Reader) Find(ctx context.Context, site, journal string, n uint64) (p Entry, ok bool, err error) {
	found, err := r.entries(ctx, selectEntries+`join journals s on s.id = e.journal_id
		where s.site = $1 and s.journal = $2 and e.n = $3`, site, journal, int64(n))
	if err != nil || len(found) == 0 {
		return Entry{}, false, err
	}
	return found[0], true, nil
}

func (r *Reader) entries(ctx context.Context, query string, args ...any) ([]Entry, error) {
	return collect(ctx, r.db, "entries", func(rows *sql.Rows) (p Entry, err error) {
		var hash, line string
		var received, valid int64
		if err := rows.Scan(&p.Seq, &hash, &received, &valid, &p.Why, &line); err != nil {
			return p, err
		}
		p.Line, p.Received, p.Valid = []byte(line), timeOf(received), valid != 0
		if p.Entry, err = wire.ParseEntry(p.Line); err != nil {
			return p, fmt.Errorf("seq %d: %w: the database was changed by other hands", p.Seq, err)
		}
		p.Hash, err = chain.ParseHash(hash)
		return p, err
	}, query, args...)
}

// JournalState is a journal's position with what is known of it.
type JournalState struct {
	Position
	Entries int64 // taken in; less than N after a gap
	Invalid int64
	First   time.Time // received
	Last    time.Time // received
}

const selectPositions = `select site, journal, stream, n, hash, entries, invalid, first_us, last_us from journals `

// Positions returns all journals, in the order in which they were begun.
func (r *Reader) Positions(ctx context.Context) ([]JournalState, error) {
	return r.positions(ctx, selectPositions+`order by id`)
}

// Newest returns of each site and stream the journal that was begun last.
func (r *Reader) Newest(ctx context.Context) ([]JournalState, error) {
	return r.positions(ctx, selectPositions+`where id in (select max(id) from journals group by site, stream) order by id`)
}

func (r *Reader) positions(ctx context.Context, query string, args ...any) ([]JournalState, error) {
	return collect(ctx, r.db, "positions", func(rows *sql.Rows) (s JournalState, err error) {
		var stream, hash string
		var first, last int64
		if err := rows.Scan(&s.Site, &s.Journal, &stream, &s.N, &hash, &s.Entries, &s.Invalid, &first, &last); err != nil {
			return s, err
		}
		s.Stream, s.First, s.Last = wire.Stream(stream), timeOf(first), timeOf(last)
		s.Hash, err = chain.ParseHash(hash)
		return s, err
	}, query, args...)
}

// Classify returns what [Ledger.Advance] would say of the batches now, without taking anything in.
func (r *Reader) Classify(ctx context.Context, batches []*wire.Batch) ([]Result, error) {
	at := map[journalKey]Position{}
	results := make([]Result, len(batches))
	for i, b := range batches {
		key := journalKey{b.Site, b.Journal}
		if _, known := at[key]; !known {
			found, err := r.positions(ctx, selectPositions+`where site = $1 and journal = $2`, b.Site, b.Journal)
			if err != nil {
				return nil, err
			}
			at[key] = Position{}
			if len(found) > 0 {
				at[key] = found[0].Position
			}
		}
		results[i] = classify(at[key], b).result
		if results[i] == Accepted {
			at[key] = Position{Site: b.Site, Journal: b.Journal, Stream: b.Stream, N: b.Last, Hash: b.Head}
		}
	}
	return results, nil
}

// Gap is a run of numbers that an edge has stated to be gone.
type Gap struct {
	Site    string
	Journal string
	Stream  wire.Stream
	From    uint64
	To      uint64
	Reason  string
	Seen    time.Time
	Alarm   bool // records, not samples
}

// Gaps returns all gaps, the newest first.
func (r *Reader) Gaps(ctx context.Context, limit int) ([]Gap, error) {
	return collect(ctx, r.db, "gaps", func(rows *sql.Rows) (g Gap, err error) {
		var seen int64
		err = rows.Scan(&g.Site, &g.Journal, &g.Stream, &g.From, &g.To, &g.Reason, &seen, &g.Alarm)
		g.Seen = timeOf(seen)
		return g, err
	}, `select s.site, s.journal, s.stream, g.from_n, g.to_n, g.reason, g.seen_us, g.alarm
		from gaps g join journals s on s.id = g.journal_id order by g.seen_us desc, s.id, g.from_n desc limit $1`, min(limit, maxPage))
}

// BatchHeaders returns the signed header lines of a journal's batches after the given number, in order.
func (r *Reader) BatchHeaders(ctx context.Context, site, journal string, after uint64, limit int) ([][]byte, error) {
	return collect(ctx, r.db, "batch headers", func(rows *sql.Rows) (header []byte, err error) {
		return header, rows.Scan(&header)
	}, `select b.header from batch_headers b join journals s on s.id = b.journal_id
		where s.site = $1 and s.journal = $2 and b.n > $3 order by b.n limit $4`, site, journal, int64(after), min(limit, maxPage))
}

// Quarantined returns the newest pieces of evidence.
func (r *Reader) Quarantined(ctx context.Context, limit int) ([]Quarantined, error) {
	return collect(ctx, r.db, "quarantine", func(rows *sql.Rows) (q Quarantined, err error) {
		var seen, last int64
		var evidence string
		err = rows.Scan(&q.ID, &seen, &last, &q.Times, &q.Site, &q.Journal, &q.N, &q.Reason, &q.Why, &q.Alarm, &q.Size, &evidence)
		if err != nil {
			return q, err
		}
		q.Seen, q.Last = timeOf(seen), timeOf(last)
		q.Evidence, err = base64.StdEncoding.DecodeString(evidence)
		return q, err
	}, `select id, seen_us, last_us, times, site, journal, n, reason, why, alarm, size, evidence
		from quarantine order by id desc limit $1`, min(limit, MaxQuarantine))
}

// Cause is what pieces of evidence have in common: one row however many there are.
type Cause struct {
	Site    string
	Journal string // of what an enrolled key has signed; empty for all else
	Reason  string
	Why     string // of the newest piece
	Alarm   bool
	From    uint64 // numbers of the entries; 0: not known
	To      uint64
	Seen    time.Time
	Last    time.Time
	Times   int64
	Pieces  int64 // of evidence
}

// Causes returns what the pieces in quarantine come down to, alarms first and then the newest.
func (r *Reader) Causes(ctx context.Context, limit int) ([]Cause, error) {
	return collect(ctx, r.db, "causes", func(rows *sql.Rows) (c Cause, err error) {
		var seen, last int64
		err = rows.Scan(&c.Site, &c.Journal, &c.Reason, &c.Why, &c.Alarm, &c.From, &c.To, &seen, &last, &c.Times, &c.Pieces)
		c.Seen, c.Last = timeOf(seen), timeOf(last)
		return c, err
	}, `select q.site, g.journal, q.reason, q.why, g.alarm, g.from_n, g.to_n, g.seen_us, g.last_us, g.times, g.pieces
		from (
			select max(id) as newest, max(alarm) as alarm, min(n) as from_n, max(n) as to_n, min(seen_us) as seen_us, max(last_us) as last_us,
				sum(times) as times, count(*) as pieces, case when alarm = 1 and reason <> 'signature' then journal else '' end as journal
			from quarantine group by site, reason, case when alarm = 1 and reason <> 'signature' then journal else '' end
		) g join quarantine q on q.id = g.newest
		order by g.alarm desc, g.newest desc limit $1`, min(limit, MaxQuarantine))
}

// Alarms counts the causes of alarms, by site.
func (r *Reader) Alarms(ctx context.Context) (map[string]int64, error) {
	counts := map[string]int64{}
	_, err := collect(ctx, r.db, "alarms", func(rows *sql.Rows) (none struct{}, err error) {
		var site string
		var n int64
		err = rows.Scan(&site, &n)
		counts[site] = n
		return none, err
	}, `select site, count(*) from (
			select distinct site, reason, case when reason <> 'signature' then journal else '' end from quarantine where alarm = 1
		) c group by site`)
	return counts, err
}

// Counts is the result of [Reader.Counts].
type Counts struct {
	Entries  int64
	Invalid  int64
	Gaps     int64
	Lost     int64 // numbers within the gaps of records
	Refused  int64 // times
	Evidence int64 // pieces in quarantine
	Alarms   int64 // of these
}

// Counts returns the numbers of the ledger.
func (r *Reader) Counts(ctx context.Context) (c Counts, err error) {
	err = r.db.QueryRowContext(ctx, `
		select (select seq from head where id = 1),
			(select count(*) from entries where valid = 0),
			(select count(*) from gaps),
			(select coalesce(sum(to_n - from_n + 1), 0) from gaps where alarm = 1),
			(select coalesce(sum(times), 0) from refusals),
			(select count(*) from quarantine),
			(select count(*) from quarantine where alarm = 1)`).
		Scan(&c.Entries, &c.Invalid, &c.Gaps, &c.Lost, &c.Refused, &c.Evidence, &c.Alarms)
	return c, wrap("counts", err)
}

// Refusals counts what was refused, by site and reason. Nothing makes it forget.
func (r *Reader) Refusals(ctx context.Context) (map[string]map[string]int64, error) {
	counts := map[string]map[string]int64{}
	_, err := collect(ctx, r.db, "refusals", func(rows *sql.Rows) (none struct{}, err error) {
		var site, reason string
		var times int64
		if err := rows.Scan(&site, &reason, &times); err != nil {
			return none, err
		}
		if counts[site] == nil {
			counts[site] = map[string]int64{}
		}
		counts[site][reason] = times
		return none, nil
	}, `select site, reason, times from refusals`)
	return counts, err
}

// collect runs a query and reads its rows.
func collect[T any](ctx context.Context, db *sql.DB, what string, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, wrap(what, err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, wrap(what, err)
		}
		all = append(all, one)
	}
	return all, wrap(what, rows.Err())
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("ledger: %s: %w", what, err)
}
