package agent

import (
	"context"
	"fmt"
	"time"

	"steelyard/edge/hmi"
	"steelyard/edge/journal"
	"steelyard/internal/program"
)

// serve runs the operator's page until ctx ends.
func (p *parts) serve(ctx context.Context) error {
	pages := hmi.Handler(hmi.Desk{Site: p.config.Site, Name: p.config.Name, Hosts: p.config.Hosts, Look: p.desk.look, Act: p.desk.act,
		Journal: p.journalState, Materials: p.materials, Log: p.log})
	if err := program.Serve(ctx, p.listener, pages, p.log); err != nil {
		return fmt.Errorf("operator's page: %w", err)
	}
	return nil
}

func (p *parts) journalState() hmi.JournalState {
	s := p.records.State()
	version, _ := program.Version()
	out := hmi.JournalState{Site: p.config.Site, Name: p.config.Name, Journal: p.records.ID(), Last: s.Last, Receipted: s.Receipted, Backlog: s.Waiting,
		Bytes: s.Bytes, Budget: s.Budget, Link: p.link.word(), Clock: string(p.clock.state()), Version: version}
	if p.config.Clock == hostClock {
		out.Clock = hostClock
	}
	if !s.Oldest.IsZero() {
		out.OldestMS = s.Oldest.UnixMilli()
	}
	if err := p.desk.failing(); err != nil {
		out.Problem, out.ProblemCode = err.Error(), string(journal.CauseOf(err))
	} else if refused := p.uplinks[0].Refused(); refused != "" {
		out.Problem, out.ProblemCode = refused, "cloud"
	}
	return out
}

func (p *parts) materials() []hmi.Material {
	var all []hmi.Material
	for _, m := range p.config.menu.Materials(time.Now()) {
		all = append(all, hmi.Material{Code: m.Code, ZH: m.Zh, EN: m.En})
	}
	return all
}
