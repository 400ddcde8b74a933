package bench

import (
	"fmt"
	"slices"
	"strings"

	"steelyard/firmware-bridge/modbus"
)

// foundMachines is what find -modbus prints as JSON.
type foundMachines struct {
	Link     string       `json:"link"`
	Complete bool         `json:"complete"` // false: it was stopped, and others may be there
	Units    []*responder `json:"units"`
	Notes    []string     `json:"notes"`
	YAML     string       `json:"yaml"`
}

// report prints what was found, also when the search was stopped.
func (h *hunt) report(complete bool) error {
	line := h.lines[0]
	if strings.HasPrefix(line.Format, "8N") && line.Scheme == modbus.Serial {
		h.notes = append(h.notes, "A machine that is set to 8N2 may answer at 8N1 too, and one set to 8N1 at 8N2: read the format off its menu.")
	}
	for _, l := range h.responders {
		if l.Examined && !l.proven() {
			h.notes = append(h.notes, "Where no constant holds nothing is proven, however much is answered: let show read the machine beside its display, or find its registers with order.")
			break
		}
	}
	if !complete {
		h.notes = append(h.notes, "The search was stopped: others may be on the line.")
	}
	out := h.output()
	if h.asJSON {
		notes := h.notes
		if notes == nil {
			notes = []string{}
		}
		out.json(foundMachines{linkText(line), complete, h.responders, notes, h.machinesYAML()})
		return out.failed()
	}
	for _, l := range h.responders {
		l.print(out, line)
	}
	if out.printf("\n"); len(h.notes) > 0 {
		out.printf("%s\n\n", strings.Join(h.notes, "\n"))
	}
	out.printf("For edge.yaml:\n\n%s", h.machinesYAML())
	return out.failed()
}

func (l *responder) proven() bool { return len(l.Profiles) > 0 && l.Profiles[0].Proven }

func (l *responder) print(out *output, line modbus.Link) {
	out.printf("unit %d answers at %s", l.Unit, at(line))
	if l.Refused != "" {
		out.printf(" with function %d: %s", l.Function, l.Refused)
	}
	out.printf("\n")
	if !l.Examined {
		out.printf("  its profiles were not looked for to the end\n")
		return
	}
	others := l.Profiles
	for len(others) > 0 && others[0].Proven {
		f := others[0]
		out.printf("  %s fits: %s, %d of %s answered\n    %s\n", f.Profile, plural(f.Constants, "constant holds", "constants hold"), f.Answered, count(f.Blocks, "block"), f.Makes)
		others = others[1:]
	}
	switch {
	case l.proven() && len(others) > 0:
		var names []string
		for _, f := range others {
			names = append(names, f.Profile)
		}
		out.printf("  not contradicted, and proven by nothing: %s\n", strings.Join(names, ", "))
	case len(others) > 0:
		out.printf("  not contradicted, and proven by nothing:\n")
		widest := 17
		for _, f := range others {
			widest = max(widest, len(f.Profile))
		}
		for _, f := range others {
			out.printf("    %-*s %s answered: %s\n", widest, f.Profile, count(f.Answered, "block"), f.Makes)
		}
		out.printf("  compare with its display: firmware-bridge show -link %q -unit %d -profile %s\n", linkText(line), l.Unit, others[0].Profile)
	case !l.proven():
		out.printf("  no profile of the catalogue fits; one is drafted with: firmware-bridge draft -link %q -unit %d -out own/NAME.yaml\n", linkText(line), l.Unit)
	}
	out.printf("  excluded: %s, each by a read that is refused or not answered, or by a constant that does not hold\n", count(l.Excluded, "profile"))
}

// choice are the profiles that a person may choose from: those that are proven, or without any all
// that nothing contradicts.
func (l *responder) choice() []fit {
	if n := slices.IndexFunc(l.Profiles, func(f fit) bool { return !f.Proven }); n > 0 {
		return l.Profiles[:n]
	}
	return l.Profiles
}

// machinesYAML writes the bus as edge.yaml has it. A profile is named only where constants prove one
// and only one; else those that could be stand there as comments, and the edge refuses the lines
// until a person has chosen.
func (h *hunt) machinesYAML() string {
	var b strings.Builder
	if *h.invocation.profiles != "" {
		fmt.Fprintf(&b, "profiles: %s\n", *h.invocation.profiles) // the edge looks for files of its own there
	}
	fmt.Fprintf(&b, "buses:\n  - link: %q\n    machines:\n", linkText(h.lines[0]))
	for _, l := range h.responders {
		fmt.Fprintf(&b, "      - device: machine-%d\n", l.Unit)
		switch all := l.choice(); {
		case !l.Examined:
			b.WriteString("        # profile: not looked for to the end\n")
		case len(all) == 0:
			b.WriteString("        # profile: none of the catalogue; write one from the machine's manual\n")
		case len(all) == 1 && l.proven():
			fmt.Fprintf(&b, "        profile: %s\n", all[0].Profile)
		default:
			b.WriteString("        # name the one whose values are those of the machine's display:\n")
			for _, f := range all {
				fmt.Fprintf(&b, "        # profile: %s\n", f.Profile)
			}
		}
		fmt.Fprintf(&b, "        unit: %d\n", l.Unit)
	}
	return b.String()
}
