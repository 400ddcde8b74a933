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
func (s *rollupTx) correction(e ledger.Entry, c *record.Correction) error {
	by := record.Ref{Journal: e.Journal, N: e.N}
	if c.Target.Journal == by.Journal && c.Target.N >= by.N {
		return s.recordUnposted(e, fmt.Sprintf("entry %d can't correct entry %d, which was written after it", by.N, c.Target.N))
	}
	inForce, err := s.correctionOf(e.Site, c.Target)
	if err != nil {
		return err
	}
	if inForce != (record.Ref{}) {
		return s.recordUnposted(e, fmt.Sprintf("entry %d is already corrected by entry %d of journal %s: correct that one", c.Target.N, inForce.N, inForce.Journal))
	}
	target, there, err := s.find.Find(s.ctx, e.Site, c.Target.Journal, c.Target.N)
	if err != nil {
		return err
	}
	if !there || target.Seq > e.Seq {
		s.pending[entryID{e.Site, c.Target}] = by
		return s.setCorrection(e.Site, c.Target, by, true)
	}
	return s.apply(e, c, target)
}

// applyPending applies a correction that was there before its target.
func (s *rollupTx) applyPending(target ledger.Entry, by record.Ref) error {
	at := entryIDOf(target.Entry)
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
		return wrap("corrections", err)
	}
	return s.apply(e, &c, target)
}

// apply takes back what the target has brought and posts what replaces it. An amendment that can't
// be posted leaves the original as it is.
func (s *rollupTx) apply(e ledger.Entry, c *record.Correction, target ledger.Entry) error {
	by := record.Ref{Journal: e.Journal, N: e.N}
	if why, err := s.notCorrectable(target); err != nil || why != "" {
		return errors.Join(err, s.recordUnposted(e, why))
	}
	original, err := s.postingsOf(target.Site, c.Target)
	if err != nil {
		return err
	}
	postings := Reversal(original, by)
	root, instead := target, []Posting(nil)
	if c.Action != record.Void {
		root, instead, err = s.replacement(e, c, target)
		if unposted := (*notPostable)(nil); errors.As(err, &unposted) {
			return s.recordUnposted(e, unposted.why)
		}
		if err != nil {
			return err
		}
	}
	for _, p := range instead {
		p.Part = len(postings)
		postings = append(postings, p)
	}
	if err := s.setCorrection(e.Site, c.Target, by, false); err != nil {
		return err
	}
	// What could not be posted is settled now; both entries stay in the ledger.
	_, err = s.tx.ExecContext(s.ctx, `delete from unposted where site = $1 and journal = $2 and n = $3`,
		target.Site, target.Journal, int64(target.N))
	if err != nil {
		return wrap("unposted", err)
	}
	if c.Action != record.Amend {
		if err := s.markDated(target.Site, entryIDOf(root.Entry).Ref); err != nil {
			return err
		}
	}
	return s.post(postings)
}

// notCorrectable returns why an entry can't be corrected: a correction can be only while it is in force, or tonnes
// would stand twice, and a void has nothing left to take back.
func (s *rollupTx) notCorrectable(target ledger.Entry) (why string, err error) {
	if target.Kind != record.KindCorrection || !target.Valid {
		return "", nil
	}
	var c record.Correction
	if err := json.Unmarshal(target.Body, &c); err != nil {
		return "", fmt.Errorf("rollup: entry %d of site %s: %w", target.N, target.Site, err)
	}
	inForce, err := s.correctionOf(target.Site, c.Target)
	_, waits := s.pending[entryID{target.Site, c.Target}]
	switch {
	case err != nil:
		return "", err
	case waits || inForce != entryIDOf(target.Entry).Ref:
		return fmt.Sprintf("entry %d is a correction that is not in force", target.N), nil
	case c.Action == record.Void:
		return fmt.Sprintf("entry %d is a void, which can't be taken back: record the ticket again", target.N), nil
	}
	return "", nil
}

// notPostable is why an amendment can't be posted.
type notPostable struct{ why string }

func (n *notPostable) Error() string { return n.why }

// maxChain bounds how often a ticket is amended upon amendment.
const maxChain = 16

// replacement returns the postings of an amended body, or of the same body at another time, in the name
// of the correction; and the entry that was recorded first, whose time an amendment keeps.
func (s *rollupTx) replacement(e ledger.Entry, c *record.Correction, target ledger.Entry) (root ledger.Entry, postings []Posting, err error) {
	var chain []record.Correction // from the newest to the oldest
	for root = target; root.Kind == record.KindCorrection; {
		if len(chain) == maxChain {
			return root, nil, &notPostable{fmt.Sprintf("amendment upon more than %d amendments", maxChain)}
		}
		var inner record.Correction
		if err := json.Unmarshal(root.Body, &inner); err != nil {
			return root, nil, &notPostable{fmt.Sprintf("amendment of entry %d: %v", root.N, err)}
		}
		chain = append(chain, inner)
		next, there, err := s.find.Find(s.ctx, e.Site, inner.Target.Journal, inner.Target.N)
		if err != nil {
			return root, nil, err
		}
		if !there {
			return root, nil, &notPostable{fmt.Sprintf("amendment of entry %d, whose own target is not in the ledger", root.N)}
		}
		root = next
	}
	now := wire.Entry{Site: e.Site, Journal: e.Journal, N: e.N, Kind: root.Kind, Body: root.Body}
	if now.At, err = s.countedAt(root); err != nil {
		return root, nil, err
	}
	for _, step := range slices.Backward(append([]record.Correction{*c}, chain...)) {
		switch step.Action {
		case record.Amend:
			now.Body = []byte(step.Replacement)
		case record.Date:
			if now.At, err = wire.ParseTime(step.Replacement); err != nil {
				return root, nil, &notPostable{fmt.Sprintf("date: %v", err)}
			}
		}
	}
	if now.At.After(e.Received.Add(slack)) {
		return root, nil, &notPostable{fmt.Sprintf("it is dated %s, which was yet to come", stamp(now.At))}
	}
	body, err := now.Decode()
	if err == nil {
		postings, err = Postings(now, body, s.category)
	}
	if err != nil {
		return root, nil, &notPostable{fmt.Sprintf("amendment: %v", err)}
	}
	return root, postings, nil
}

// correctionOf returns the correction in force for an entry; zero without one.
func (s *rollupTx) correctionOf(site string, target record.Ref) (by record.Ref, err error) {
	err = s.tx.QueryRowContext(s.ctx, `
		select journal, n from corrections where site = $1 and target_journal = $2 and target_n = $3`,
		site, target.Journal, int64(target.N)).Scan(&by.Journal, &by.N)
	if errors.Is(err, sql.ErrNoRows) {
		return record.Ref{}, nil
	}
	return by, wrap("corrections", err)
}

func (s *rollupTx) setCorrection(site string, target, by record.Ref, pending bool) error {
	waits := 0
	if pending {
		waits = 1
	}
	_, err := s.tx.ExecContext(s.ctx, `
		insert into corrections (site, target_journal, target_n, journal, n, pending) values ($1, $2, $3, $4, $5, $6)`,
		site, target.Journal, int64(target.N), by.Journal, int64(by.N), waits)
	return wrap("corrections", err)
}

func (s *rollupTx) loadPending() error {
	s.pending = map[entryID]record.Ref{}
	rows, err := s.tx.QueryContext(s.ctx, `
		select site, target_journal, target_n, journal, n from corrections where pending = 1`)
	if err != nil {
		return wrap("corrections", err)
	}
	defer rows.Close()
	for rows.Next() {
		var at entryID
		var by record.Ref
		if err := rows.Scan(&at.site, &at.Journal, &at.N, &by.Journal, &by.N); err != nil {
			return wrap("corrections", err)
		}
		s.pending[at] = by
	}
	return wrap("corrections", rows.Err())
}

func (s *rollupTx) postingsOf(site string, ref record.Ref) ([]Posting, error) {
	rows, err := s.tx.QueryContext(s.ctx, selectPostings+`where site = $1 and journal = $2 and n = $3 order by part`,
		site, ref.Journal, int64(ref.N))
	if err != nil {
		return nil, wrap("postings", err)
	}
	return scanPostings(rows)
}
