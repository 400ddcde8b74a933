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
func (a *agent) serve(ctx context.Context) error {
	pages := hmi.New(hmi.Agent{Site: a.config.Site, Name: a.config.Name, Names: a.names(), Hosts: a.config.Hosts, View: a.loop.view, Do: a.do,
		Journal: a.journalState, Materials: a.materials, Log: a.log})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return pages.Run(ctx) })
	g.Go(func() error { return program.Serve(ctx, a.listener, pages, a.log) })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("operator's page: %w", err)
	}
	return nil
}

func (a *agent) journalState() hmi.JournalState {
	s := a.records.State()
	version, _ := program.Version()
	out := hmi.JournalState{Site: a.config.Site, Name: a.config.Name, English: a.config.English, Journal: a.records.ID(), Last: s.Last, Receipted: s.Receipted, Backlog: s.Waiting,
		UnansweredMS: a.uplinks[0].Unanswered().Milliseconds(), Bytes: s.Bytes, Budget: s.Budget, SampleEveryMS: a.sampler.every().Milliseconds(), Link: a.link.word(), Clock: string(a.clock.state()), Version: version}
	if a.config.Clock == hostClock {
		out.Clock = hostClock
	}
	if !s.Oldest.IsZero() {
		out.OldestMS = s.Oldest.UnixMilli()
	}
	if err := a.loop.failing(); err != nil {
		out.Problem, out.ProblemCode = err.Error(), string(journal.CauseOf(err))
	} else if refused := a.uplinks[0].Refused(); refused != "" {
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

// do is the way of a person's acts into the journal. While the city refuses the journal nothing is
// confirmed that may never arrive; what the machines do is recorded as ever.
func (a *agent) do(ctx context.Context, act func(*meaning.Site) ([]record.Fact, error)) ([]meaning.Entry, error) {
	return a.loop.do(ctx, func(s *meaning.Site) ([]record.Fact, error) {
		facts, err := act(s)
		if why := a.uplinks[0].Refused(); err == nil && len(facts) > 0 && why != "" {
			return nil, &meaning.Refusal{Code: "city-refuses", Text: "the city refuses this site's journal (" + why + "): nothing is confirmed until it takes it; call the administrator of the city's platform"}
		}
		return facts, err
	})
}

// names are those of the machines, by device.
func (a *agent) names() map[string]hmi.Name {
	all := map[string]hmi.Name{}
	for _, n := range a.machineNames() {
		all[n.Device] = hmi.Name{ZH: n.Name, EN: n.English}
	}
	return all
}

func (a *agent) materials() []hmi.Material {
	var all []hmi.Material
	for _, m := range a.config.catalogue.Materials(time.Now()) {
		all = append(all, hmi.Material{Code: m.Code, ZH: m.Zh, EN: m.En})
	}
	return all
}
