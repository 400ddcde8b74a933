package ledger

import (
	"fmt"

	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

// hashOf is the hash of the k-th entry. DecodeBatch has checked that each entry states the hash of
// the one before it, so that nothing is hashed twice.
func hashOf(b *wire.Batch, k int) chain.Hash {
	if k == len(b.Entries)-1 {
		return b.Head
	}
	return b.Entries[k+1].Prev
}

// courseOf is how a batch stands to a position.
type courseOf struct {
	result Result
	known  int // so many of its entries are at or below the position
	why    string
}

// follow decides by numbers and hashes alone what a batch means at a position.
func follow(at Position, b *wire.Batch) courseOf {
	next := at.N + 1
	switch {
	case b.Last < next:
		return courseOf{result: Skipped, known: len(b.Entries)}
	case b.First < next:
		return courseOf{result: Accepted, known: int(next - b.First)}
	case b.First > next && b.Gap != 0 && b.Gap <= next:
		// The edge has signed that all numbers from Gap on are gone, so those from next on are.
		return courseOf{result: Accepted}
	case b.First > next:
		return courseOf{result: Hole}
	case b.Prev != at.Hash:
		return courseOf{result: Conflict, why: fmt.Sprintf("entry %d was written after another entry %d", b.First, at.N)}
	}
	return courseOf{result: Accepted}
}
