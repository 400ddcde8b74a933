package uplink

import (
	"time"

	"steelyard/internal/wire"
)

// pace fits what is in flight to what the way and the cloud take, as TCP fits it to a line: a thousand
// sites that catch up together, each with a full window, would fill every queue on the way, and what
// overflows is sent twice.
type pace struct {
	window   int           // batches that may be in flight now
	entries  int           // most of a batch
	bytes    int           // most of a batch
	patience time.Duration // without progress for so long, all is sent again
	limit    Config
}

// A receipt that comes within quick lets the window grow; one that comes later than slow halves it.
const (
	quick       = time.Second
	slow        = 3 * time.Second
	mostPatient = 3 // times the shortest patience
)

func newPace(c Config) pace {
	return pace{window: 1, entries: c.Batch, bytes: wire.MaxBatch, patience: c.Stall, limit: c}
}

// receipted takes a receipt for so many batches in flight, the newest of them sent so long ago. Each
// lets another one go, so the window doubles with each round while the cloud is quick. again: whether
// the batch was sent before, too: which sending is receipted is not known, and so not how long it took.
func (p *pace) receipted(batches int, after time.Duration, again bool) {
	p.entries, p.bytes = min(2*p.entries, p.limit.Batch), min(2*p.bytes, wire.MaxBatch)
	if !again {
		p.patience = min(max(p.limit.Stall, 3*after), mostPatient*p.limit.Stall)
	}
	switch {
	case after <= quick:
		p.window = min(p.window+batches, p.limit.Window)
	case after > slow:
		p.window = max(p.window/2, 1)
	}
}

// stalled sends a single batch of half the size, down to one entry: a broker or a line that swallows
// large messages may let small ones pass. Its receipt is waited for longer: it may be on its way.
func (p *pace) stalled() {
	p.window, p.entries, p.bytes = 1, max(p.entries/2, 1), max(p.bytes/2, wire.MaxHeader)
	p.patience = min(2*p.patience, mostPatient*p.limit.Stall)
}

// heard takes a receipt of nothing new: the cloud is there, so waiting longer is for nothing.
func (p *pace) heard() { p.patience = p.limit.Stall }
