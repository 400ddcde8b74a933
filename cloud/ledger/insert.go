package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

// entryInserter collects entries, so that one statement writes many: a statement costs more than a row.
type entryInserter struct {
	chunk *sql.Stmt // inserts chunkRows
	args  []any
}

const (
	columns   = 12
	chunkRows = 8 // SQLite looks a $n up among all before it: more rows cost more than they save
)

func (r *entryInserter) add(seq, journal int64, e *wire.Entry, hash chain.Hash, received int64, why string, line []byte) {
	r.args = append(r.args, seq, journal, int64(e.N), hash.String(), e.At.UnixMicro(), string(e.Clock), string(e.Kind),
		e.Device, received, boolInt(why == ""), why, string(line))
}

func (r *entryInserter) full() bool { return len(r.args) == columns*chunkRows }

func (r *entryInserter) flush(ctx context.Context, tx *sql.Tx) error {
	if len(r.args) == 0 {
		return nil
	}
	var err error
	if r.full() {
		_, err = tx.StmtContext(ctx, r.chunk).ExecContext(ctx, r.args...)
	} else {
		_, err = tx.ExecContext(ctx, insertEntries(len(r.args)/columns), r.args...)
	}
	clear(r.args)
	r.args = r.args[:0]
	if err != nil {
		return fmt.Errorf("ledger: entries: %w", err)
	}
	return nil
}

// insertEntries writes the statement for so many rows.
func insertEntries(rows int) string {
	var b strings.Builder
	b.WriteString(`insert into entries
		(seq, journal_id, n, hash, at_us, clock, kind, device, received_us, valid, why, line) values `)
	for i := range rows * columns {
		switch {
		case i == 0:
			b.WriteByte('(')
		case i%columns == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(i + 1))
	}
	b.WriteByte(')')
	return b.String()
}
