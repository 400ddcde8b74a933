package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"steelyard/edge/hmi"
	"steelyard/edge/journal"
	"steelyard/edge/meaning"
	"steelyard/internal/program"
	"steelyard/internal/record"
)

// serve runs the operator's page until ctx ends.
func (p *parts) serve(ctx context.Context) error {
	pages := hmi.New(hmi.Desk{Site: p.config.Site, Name: p.config.Name, Names: p.names(), Hosts: p.config.Hosts, Look: p.desk.look, Act: p.act,
		Journal: p.journalState, Materials: p.materials, Log: p.log})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return pages.Run(ctx) })
	g.Go(func() error { return program.Serve(ctx, p.listener, pages, p.log) })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("operator's page: %w", err)
	}
	return nil
}

func (p *parts) journalState() hmi.JournalState {
	s := p.records.State()
	version, _ := program.Version()
	out := hmi.JournalState{Site: p.config.Site, Name: p.config.Name, English: p.config.English, Journal: p.records.ID(), Last: s.Last, Receipted: s.Receipted, Backlog: s.Waiting,
		UnansweredMS: p.uplinks[0].Unanswered().Milliseconds(), Bytes: s.Bytes, Budget: s.Budget, SampleEveryMS: p.sampler.every().Milliseconds(), Link: p.link.word(), Clock: string(p.clock.state()), Version: version}
	if p.config.Clock == hostClock {
		out.Clock = hostClock
	}
	if !s.Oldest.IsZero() {
		out.OldestMS = s.Oldest.UnixMilli()
	}
	if err := p.desk.failing(); err != nil {
		out.Problem, out.ProblemCode = err.Error(), string(journal.CauseOf(err))
	} else if refused := p.uplinks[0].Refused(); refused != "" {
		out.Problem, out.ProblemCode = refused, refusedBy(refused)
	}
	return out
}

// refusedBy is the page's word for why the city refuses: what stands before the colon, where the
// page has words of its own for it.
func refusedBy(why string) string {
	if reason, _, ok := strings.Cut(why, ": "); ok && slices.Contains([]string{"conflict", "signature", "version", "stopped"}, reason) {
		return "cloud-" + reason
	}
	return "cloud"
}

// act is the way of a person's acts into the journal. While the city refuses the journal nothing is
// confirmed that may never arrive; what the machines do is recorded as ever.
func (p *parts) act(ctx context.Context, act func(*meaning.Site) ([]record.Fact, error)) ([]meaning.Entry, error) {
	return p.desk.act(ctx, func(s *meaning.Site) ([]record.Fact, error) {
		facts, err := act(s)
		if why := p.uplinks[0].Refused(); err == nil && len(facts) > 0 && why != "" {
			return nil, &meaning.Refusal{Code: "city-refuses", Text: "the city refuses this site's journal (" + why + "): nothing is confirmed until it takes it; call the administrator of the city's platform"}
		}
		return facts, err
	})
}

// names are those of the machines, by device.
func (p *parts) names() map[string]hmi.Name {
	all := map[string]hmi.Name{}
	for _, n := range p.machineNames() {
		all[n.Device] = hmi.Name{ZH: n.Name, EN: n.English}
	}
	return all
}

func (p *parts) materials() []hmi.Material {
	var all []hmi.Material
	for _, m := range p.config.menu.Materials(time.Now()) {
		all = append(all, hmi.Material{Code: m.Code, ZH: m.Zh, EN: m.En})
	}
	return all
}
