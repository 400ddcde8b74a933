package ledger

import (
	"fmt"

	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

// hashOf returns the hash of the k-th entry. DecodeBatch has checked that each entry states the hash of
// the one before it, so that nothing is hashed twice.
func hashOf(b *wire.Batch, k int) chain.Hash {
	if k == len(b.Entries)-1 {
		return b.Head
	}
	return b.Entries[k+1].Prev
}

// classification is how a batch stands to a position.
type classification struct {
	result  Result
	overlap int // so many of its entries are at or below the position
	why     string
}

// classify decides by numbers and hashes alone what a batch means at a position.
func classify(at Position, b *wire.Batch) classification {
	next := at.N + 1
	switch {
	case b.Last < next:
		return classification{result: Skipped, overlap: len(b.Entries)}
	case b.First < next:
		return classification{result: Accepted, overlap: int(next - b.First)}
	case b.First > next && b.Gap != 0 && b.Gap <= next:
		// The edge has signed that all numbers from Gap on are gone, so those from next on are.
		return classification{result: Accepted}
	case b.First > next:
		return classification{result: Hole}
	case b.Prev != at.Hash:
		return classification{result: Conflict, why: fmt.Sprintf("entry %d was written after another entry %d", b.First, at.N)}
	}
	return classification{result: Accepted}
}
