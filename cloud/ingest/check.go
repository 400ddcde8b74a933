package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"steelyard/cloud/ledger"
	"steelyard/internal/wire"
)

// Reasons for which bytes are refused, in the order of the checks. The ledger adds its own.
const (
	ReasonUnknownSite = "unknown-site" // the topic names a site that is not enrolled
	ReasonSize        = "size"         // larger than any batch
	ReasonVersion     = "version"      // written by newer software
	ReasonMalformed   = "malformed"    // no batch, or one that contradicts itself
	ReasonSite        = "site"         // another site's batch on this site's topic
	ReasonStream      = "stream"       // records on the topic of samples, or the other way round
	ReasonSignature   = "signature"    // not signed with the site's key
	ReasonStopped     = "stopped"      // the ledger takes nothing from this journal
)

// checked is a message after its checks: a batch, or why it is refused.
type checked struct {
	item
	batch   *wire.Batch
	refusal ledger.Refusal // Reason is empty when batch is set
}

// checkAll checks messages side by side and keeps their order.
func (i *Ingest) checkAll(items []item, stream wire.Stream) []checked {
	all := make([]checked, len(items))
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), len(items))
	for w := range workers {
		wg.Go(func() {
			for k := w; k < len(items); k += workers {
				all[k] = i.check(items[k], stream)
			}
		})
	}
	wg.Wait()
	return all
}

// check trusts nothing but a signature: not the topic, not who the broker says has sent it.
func (i *Ingest) check(it item, stream wire.Stream) checked {
	c := checked{item: it}
	refuse := func(reason string, err error) checked {
		evidence := bytes.Clone(it.payload[:min(len(it.payload), ledger.MaxEvidence)])
		c.refusal = ledger.Refusal{Site: it.site, Reason: reason, Why: err.Error(), Alarm: reason == ReasonSignature, Size: it.size, Evidence: evidence}
		if c.batch != nil {
			c.refusal.Journal, c.refusal.N = c.batch.Journal, c.batch.First
			c.batch = nil
		}
		return c
	}
	key, enrolled := i.config.Sites[it.site]
	if !enrolled {
		return refuse(ReasonUnknownSite, fmt.Errorf("topic %.80q names no enrolled site", it.topic))
	}
	if it.size > wire.MaxBatch {
		return refuse(ReasonSize, fmt.Errorf("message of %d bytes: more than %d", it.size, wire.MaxBatch))
	}
	b, err := wire.DecodeBatch(it.payload)
	switch {
	case errors.Is(err, wire.ErrNewer):
		return refuse(ReasonVersion, err)
	case err != nil:
		return refuse(ReasonMalformed, err)
	}
	c.batch = b
	switch {
	case b.Site != it.site:
		return refuse(ReasonSite, fmt.Errorf("batch of site %s on the topic of site %s", b.Site, it.site))
	case b.Stream != stream:
		return refuse(ReasonStream, fmt.Errorf("batch of %s on the topic of %s", b.Stream, stream))
	case !b.Signed(key):
		return refuse(ReasonSignature, fmt.Errorf("batch is not signed with the key of site %s, %s", it.site, key))
	}
	return c
}
