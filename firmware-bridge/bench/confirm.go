package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/serial"
	"steelyard/internal/unit"
)

// confirm prints the candidates, lets a person name the weight and prints the lines of edge.yaml.
func (s *search) confirm(ctx context.Context, candidates []candidate) error {
	out := s.output()
	if !s.asJSON {
		printCandidates(out, candidates)
	}
	known := s.weight
	if known == "" && !s.asJSON {
		out.printf("\nWhich weight does the display show? ")
		text, err := readLines(ctx, s.env.Stdin).line(ctx)
		if err != nil && !errors.Is(err, errNoMoreLines) {
			return err
		}
		known = strings.TrimSpace(text)
		out.printf("\n")
	}
	chosen, err := choose(candidates, known)
	if chosen == nil && known != "" {
		s.showLines()
	}
	switch {
	case s.asJSON:
		f := found{Candidates: candidates, Confirmed: chosen}
		if chosen != nil {
			f.YAML = s.yaml(*chosen)
		}
		out.json(f)
	case chosen != nil:
		out.printf("%s reads %s, as on the display.\n%s\nFor edge.yaml:\n\n%s", chosen.Dialect, known, s.lamps(*chosen), s.yaml(*chosen))
	}
	return errors.Join(err, out.failed())
}

// choose finds the one candidate that has shown the known weight.
func choose(candidates []candidate, known string) (*candidate, error) {
	if known == "" {
		return nil, errors.New("not confirmed: run again with -known and the weight on the display")
	}
	n, err := displayed(known)
	if err != nil {
		return nil, err
	}
	right := slices.DeleteFunc(slices.Clone(candidates), func(c candidate) bool { return !c.reads(n) })
	if len(right) == 0 {
		return nil, fmt.Errorf("no candidate reads %s: is the load at rest? run again, and if it stays so, describe the frame with firmware-bridge draft frame", n)
	}
	// The best one is right, unless another that is as credible would read something else on
	// another day. Zero proves nothing: it reads the same from either end.
	for _, other := range right[1:] {
		if other.Checked == right[0].Checked && (n.Coef == 0 || !other.agrees(right[0])) {
			return nil, fmt.Errorf("%s is what %s and %s read: put another load on the scale and run again, or name the indicator's with -dialect", n, right[0].Dialect, other.Dialect)
		}
	}
	return &right[0], nil
}

// lamps asks for what a number can't prove: that the frames say of rest, kind and zero what the display says.
func (s *search) lamps(c candidate) string {
	var b strings.Builder
	b.WriteString("Compare the lamps of the indicator with what the frames say, now and while the load is moved once:\n")
	row := func(lamp, said, otherwise string) { fmt.Fprintf(&b, "  %-5s %s\n", lamp, cmp.Or(said, otherwise)) }
	rest := c.Rest
	if c.Rest == "moving" && len(c.Weights) == 1 {
		rest = fmt.Sprintf("moving, in all %d frames, while the weight stood still. If the display is at rest, this indicator says it the other way round, "+
			"and an edge would weigh the lorry while it rolls: don't use this dialect, describe the frame with firmware-bridge draft frame", c.Frames)
	}
	row("rest", rest, "not said: the edge waits until the weight rests for the time of window")
	kind := c.Kind
	if kind == string(device.Net) {
		kind = "net: an edge weighs nothing then, unless the frame has a tare of zero beside it; clear the tare, or set the indicator to send the gross weight"
	}
	row("kind", kind, "not said: it is the displayed weight, so the indicator must stay in gross")
	row("zero", map[string]string{"yes": "at zero", "no": "not at zero", "both": "both were said"}[c.Zero], "not said")
	fmt.Fprintf(&b, "To watch them: firmware-bridge show -port %s%s\n", s.port, s.asShown(c))
	return b.String()
}

// asShown are the flags with which show reads what was found.
func (s *search) asShown(c candidate) string {
	var b strings.Builder
	if !s.at(c.Baud, c.Format).Network() {
		fmt.Fprintf(&b, " -baud %d -format %s", c.Baud, c.Format)
	}
	for _, control := range [][2]string{{"dtr", c.DTR}, {"rts", c.RTS}} {
		if control[1] != "" {
			fmt.Fprintf(&b, " -%s %s", control[0], control[1])
		}
	}
	switch {
	case len(c.Models) == 1 && s.own != "":
		fmt.Fprintf(&b, " -indicator %s", s.own)
	case len(c.Models) == 1:
		b.WriteString(" -indicator " + c.Models[0])
		if *s.profiles != "" {
			b.WriteString(" -profiles " + *s.profiles)
		}
	default:
		b.WriteString(" -dialect " + c.Dialect)
		for option := range strings.SplitSeq(c.Options, ", ") {
			if key, value, ok := strings.Cut(option, ": "); ok {
				fmt.Fprintf(&b, " -%s=%s", strings.ReplaceAll(key, "_", "-"), value)
			}
		}
	}
	return b.String()
}

func printCandidates(out *output, all []candidate) {
	for i, c := range all {
		options := ""
		if c.Options != "" {
			options = " {" + c.Options + "}"
		}
		kind := "no check in the frames"
		if c.Checked {
			kind = "checked frames"
		}
		asked := ""
		if c.Asked {
			asked = ", when asked"
		}
		setting := ""
		if c.Baud != 0 {
			setting = fmt.Sprintf(" at %d %s", c.Baud, c.Format)
		}
		out.printf("%d. %s%s%s: score %d, %d.%d %% explained, %s (%s)%s\n", i+1, c.Dialect, options, setting,
			c.Score, c.Explained/10, c.Explained%10, count(c.Frames, "frame"), kind, asked)
		out.printf("   %s\n", c.Makes)
		weights := c.Weights[max(0, len(c.Weights)-3):]
		if len(c.Models) > 0 {
			out.printf("   spoken by %s\n", strings.Join(c.Models, ", "))
		}
		if set := raised(serial.Config{DTR: c.DTR, RTS: c.RTS}); set != "" {
			out.printf("   heard with%s\n", set)
		}
		shown := "no weight"
		if len(weights) > 0 {
			shown = strings.TrimRight(strings.Join(weights, ", ")+" "+c.Unit, " ")
		}
		out.printf("   reads %s; %s\n", shown, c.says())
		if len(c.Also) > 0 {
			out.printf("   the same with {%s}\n", strings.Join(c.Also[:min(len(c.Also), 3)], "}, {"))
		}
	}
}

// says is what the frames say beside the weight.
func (c candidate) says() string {
	zero := map[string]string{"yes": "at zero", "no": "not at zero", "both": "at zero and not"}[c.Zero]
	rest := c.Rest
	if rest == "both" {
		rest = "moving and stable"
	}
	return cmp.Or(rest, "rest not said") + ", " + cmp.Or(c.Kind, "kind not said") + ", " + cmp.Or(zero, "zero not said")
}

// yaml writes the weighbridge as edge.yaml has it, and the folder of own models where it needs one. What only the type plate or the display says
// stands there as a comment when it was not given.
func (s *search) yaml(c candidate) string {
	var b strings.Builder
	if folder := s.ownFolder(c); folder != "" {
		fmt.Fprintf(&b, "profiles: %q\n", folder)
	}
	fmt.Fprintf(&b, "weighbridges:\n  - device: %s\n    line: {port: %q", s.device, s.port)
	if c.Baud != 0 {
		fmt.Fprintf(&b, ", baud: %d, format: %s", c.Baud, c.Format)
	}
	for _, control := range [][2]string{{"dtr", c.DTR}, {"rts", c.RTS}} {
		if control[1] != "" {
			fmt.Fprintf(&b, ", %s: %s", control[0], control[1])
		}
	}
	b.WriteString("}\n" + modelYAML(c))
	said := func(key, value, otherwise string) {
		if value == "" {
			fmt.Fprintf(&b, "    # %s: %s\n", key, otherwise)
			return
		}
		fmt.Fprintf(&b, "    %s: %s\n", key, value)
	}
	named := c.Unit
	if named == "" {
		named = s.unit
	}
	otherwise := "kg, t or g, as on the display; the frames do not say it"
	if m := s.theModel(c); m != nil && m.Unit != "" {
		otherwise = string(m.Unit) + ", as the indicator's file says"
	}
	said("unit", named, otherwise)
	said("division", spacedMass(s.division), "e of the type plate, like 20 kg")
	said("max", spacedMass(s.max), "Max of the type plate, like 60 t")
	return b.String()
}

// fewModels are listed as lines of the file; more would push what matters off the screen.
const fewModels = 4

// modelYAML says what the indicator sends: by its model where the catalogue has exactly one that
// fits, else by its dialect with the models that one may name in its place.
func modelYAML(c candidate) string {
	dialect := []string{"dialect: " + c.Dialect}
	if c.Options != "" {
		dialect = append(dialect, "options: {"+c.Options+"}")
	}
	var models []string
	for _, name := range c.Models {
		models = append(models, "indicator: "+name)
	}
	var b strings.Builder
	write := func(lead string, lines []string) {
		for _, line := range lines {
			fmt.Fprintf(&b, "    %s%s\n", lead, line)
		}
	}
	switch {
	case len(models) == 1 && c.layout != "":
		write("", models)
	case len(models) == 1:
		write("", models)
		write("# ", append([]string{"the only model in the catalogue that speaks so; if the plate names another, write in its place:"}, dialect...))
	case len(models) > fewModels:
		write("", dialect)
		write("# ", []string{"or, in place of that, the model on the plate, where it is one of those above, like:", models[0]})
	case len(models) > 1:
		write("", dialect)
		write("# ", append([]string{"or, in place of that, the model on the plate, where it is one of those that speak so:"}, models...))
	default:
		write("", dialect)
	}
	return b.String()
}

// ownFolder is where a model that is printed comes from, when one is not built in.
func (s *search) ownFolder(c candidate) string {
	folder := *s.profiles
	if s.own != "" {
		folder = filepath.Dir(s.own)
	}
	builtIn, err := catalog.Open("")
	if folder == "" || err != nil || !slices.ContainsFunc(c.Models, func(name string) bool {
		_, unknown := builtIn.FindIndicator(name)
		return unknown != nil
	}) {
		return ""
	}
	if whole, err := filepath.Abs(folder); err == nil {
		folder = whole
	}
	return folder
}

// theModel is the one that is printed, nil when there is none or a choice.
func (s *search) theModel(c candidate) *catalog.Indicator {
	for _, m := range s.models {
		if len(c.Models) == 1 && m.Name == c.Models[0] {
			return m
		}
	}
	return nil
}

// spacedMass writes "20kg" as "20 kg".
func spacedMass(text string) string {
	number := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyz")
	if text == "" || unit.Unit(text[len(number):]) == unit.Unknown {
		return text
	}
	return strings.TrimSpace(number) + " " + text[len(number):]
}
