package rollup

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"steelyard/cloud/ledger"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// correction takes in a void or an amendment. Its target may come later: another journal of the
// same site travels at its own pace.
func (s *sheet) correction(e ledger.Entry, c *record.Correction) error {
	by := record.Ref{Journal: e.Journal, N: e.N}
	if c.Target.Journal == by.Journal && c.Target.N >= by.N {
		return s.leaveOut(e, fmt.Sprintf("entry %d can't correct entry %d, which was written after it", by.N, c.Target.N))
	}
	holds, err := s.holding(e.Site, c.Target)
	if err != nil {
		return err
	}
	if holds != (record.Ref{}) {
		return s.leaveOut(e, fmt.Sprintf("entry %d is already corrected by entry %d of journal %s: correct that one", c.Target.N, holds.N, holds.Journal))
	}
	target, there, err := s.find.Find(s.ctx, e.Site, c.Target.Journal, c.Target.N)
	if err != nil {
		return err
	}
	if !there || target.Seq > e.Seq {
		s.pending[identity{e.Site, c.Target}] = by
		return s.hold(e.Site, c.Target, by, true)
	}
	return s.apply(e, c, target)
}

// correctLate applies a correction that was there before its target.
func (s *sheet) correctLate(target ledger.Entry, by record.Ref) error {
	at := identityOf(target.Entry)
	delete(s.pending, at)
	e, there, err := s.find.Find(s.ctx, target.Site, by.Journal, by.N)
	if err != nil || !there {
		return errors.Join(err, fmt.Errorf("rollup: correction %d of journal %s is not in the ledger", by.N, by.Journal))
	}
	var c record.Correction
	if err := json.Unmarshal(e.Body, &c); err != nil {
		return fmt.Errorf("rollup: entry %d of site %s: %w", e.N, e.Site, err)
	}
	_, err = s.tx.ExecContext(s.ctx, `delete from corrections where site = $1 and target_journal = $2 and target_n = $3`,
		at.site, at.Journal, int64(at.N))
	if err != nil {
		return named("corrections", err)
	}
	return s.apply(e, &c, target)
}

// apply takes back what the target has brought and posts what replaces it. An amendment that can't
// be counted leaves the original as it is.
func (s *sheet) apply(e ledger.Entry, c *record.Correction, target ledger.Entry) error {
	by := record.Ref{Journal: e.Journal, N: e.N}
	if why, err := s.refuses(target); err != nil || why != "" {
		return errors.Join(err, s.leaveOut(e, why))
	}
	original, err := s.postingsOf(target.Site, c.Target)
	if err != nil {
		return err
	}
	postings := Reversal(original, by)
	root, instead := target, []Posting(nil)
	if c.Action != record.Void {
		root, instead, err = s.replacement(e, c, target)
		if notCounted := (*leftOut)(nil); errors.As(err, &notCounted) {
			return s.leaveOut(e, notCounted.why)
		}
		if err != nil {
			return err
		}
	}
	for _, p := range instead {
		p.Part = len(postings)
		postings = append(postings, p)
	}
	if err := s.hold(e.Site, c.Target, by, false); err != nil {
		return err
	}
	// What could not be counted is settled now; both entries stay in the ledger.
	_, err = s.tx.ExecContext(s.ctx, `delete from uncounted where site = $1 and journal = $2 and n = $3`,
		target.Site, target.Journal, int64(target.N))
	if err != nil {
		return named("uncounted", err)
	}
	if c.Action != record.Amend {
		if err := s.settle(target.Site, identityOf(root.Entry).Ref); err != nil {
			return err
		}
	}
	return s.post(postings)
}

// refuses says why an entry can't be corrected: a correction can be only while it holds, or tonnes
// would stand twice, and a void has nothing left to take back.
func (s *sheet) refuses(target ledger.Entry) (why string, err error) {
	if target.Kind != record.KindCorrection || !target.Valid {
		return "", nil
	}
	var c record.Correction
	if err := json.Unmarshal(target.Body, &c); err != nil {
		return "", fmt.Errorf("rollup: entry %d of site %s: %w", target.N, target.Site, err)
	}
	holds, err := s.holding(target.Site, c.Target)
	_, waits := s.pending[identity{target.Site, c.Target}]
	switch {
	case err != nil:
		return "", err
	case waits || holds != identityOf(target.Entry).Ref:
		return fmt.Sprintf("entry %d is a correction that is not in force", target.N), nil
	case c.Action == record.Void:
		return fmt.Sprintf("entry %d is a void, which can't be taken back: record the ticket again", target.N), nil
	}
	return "", nil
}

// leftOut is why an amendment can't be counted.
type leftOut struct{ why string }

func (l *leftOut) Error() string { return l.why }

// maxChain bounds how often a ticket is amended upon amendment.
const maxChain = 16

// replacement gives the postings of an amended body, or of the same body at another time, in the name
// of the correction; and the entry that was recorded first, whose time an amendment keeps.
func (s *sheet) replacement(e ledger.Entry, c *record.Correction, target ledger.Entry) (root ledger.Entry, postings []Posting, err error) {
	var chain []record.Correction // from the newest to the oldest
	for root = target; root.Kind == record.KindCorrection; {
		if len(chain) == maxChain {
			return root, nil, &leftOut{fmt.Sprintf("amendment upon more than %d amendments", maxChain)}
		}
		var inner record.Correction
		if err := json.Unmarshal(root.Body, &inner); err != nil {
			return root, nil, &leftOut{fmt.Sprintf("amendment of entry %d: %v", root.N, err)}
		}
		chain = append(chain, inner)
		next, there, err := s.find.Find(s.ctx, e.Site, inner.Target.Journal, inner.Target.N)
		if err != nil {
			return root, nil, err
		}
		if !there {
			return root, nil, &leftOut{fmt.Sprintf("amendment of entry %d, whose own target is not in the ledger", root.N)}
		}
		root = next
	}
	now := wire.Entry{Site: e.Site, Journal: e.Journal, N: e.N, Kind: root.Kind, Body: root.Body}
	if now.At, err = s.counted(root); err != nil {
		return root, nil, err
	}
	for _, step := range slices.Backward(append([]record.Correction{*c}, chain...)) {
		switch step.Action {
		case record.Amend:
			now.Body = []byte(step.Replacement)
		case record.Date:
			if now.At, err = wire.ParseMoment(step.Replacement); err != nil {
				return root, nil, &leftOut{fmt.Sprintf("date: %v", err)}
			}
		}
	}
	if now.At.After(e.Received.Add(slack)) {
		return root, nil, &leftOut{fmt.Sprintf("it is dated %s, which was yet to come", stamp(now.At))}
	}
	body, err := now.Decode()
	if err == nil {
		postings, err = Postings(now, body, s.category)
	}
	if err != nil {
		return root, nil, &leftOut{fmt.Sprintf("amendment: %v", err)}
	}
	return root, postings, nil
}

// holding gives the correction that holds for an entry; zero when there is none.
func (s *sheet) holding(site string, target record.Ref) (by record.Ref, err error) {
	err = s.tx.QueryRowContext(s.ctx, `
		select journal, n from corrections where site = $1 and target_journal = $2 and target_n = $3`,
		site, target.Journal, int64(target.N)).Scan(&by.Journal, &by.N)
	if errors.Is(err, sql.ErrNoRows) {
		return record.Ref{}, nil
	}
	return by, named("corrections", err)
}

func (s *sheet) hold(site string, target, by record.Ref, pending bool) error {
	waits := 0
	if pending {
		waits = 1
	}
	_, err := s.tx.ExecContext(s.ctx, `
		insert into corrections (site, target_journal, target_n, journal, n, pending) values ($1, $2, $3, $4, $5, $6)`,
		site, target.Journal, int64(target.N), by.Journal, int64(by.N), waits)
	return named("corrections", err)
}

func (s *sheet) loadPending() error {
	s.pending = map[identity]record.Ref{}
	rows, err := s.tx.QueryContext(s.ctx, `
		select site, target_journal, target_n, journal, n from corrections where pending = 1`)
	if err != nil {
		return named("corrections", err)
	}
	defer rows.Close()
	for rows.Next() {
		var at identity
		var by record.Ref
		if err := rows.Scan(&at.site, &at.Journal, &at.N, &by.Journal, &by.N); err != nil {
			return named("corrections", err)
		}
		s.pending[at] = by
	}
	return named("corrections", rows.Err())
}

func (s *sheet) postingsOf(site string, ref record.Ref) ([]Posting, error) {
	rows, err := s.tx.QueryContext(s.ctx, selectPostings+`where site = $1 and journal = $2 and n = $3 order by part`,
		site, ref.Journal, int64(ref.N))
	if err != nil {
		return nil, named("postings", err)
	}
	return scanPostings(rows)
}
