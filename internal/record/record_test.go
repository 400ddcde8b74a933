package record_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

const journal = "00112233445566778899aabbccddeeff"

// kinds reads the declared kinds from the source, so that a new one can't be forgotten here.
func kinds(t testing.TB) (all []record.Kind) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "record.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := spec.Type.(*ast.Ident); !ok || of.Name != "Kind" {
			return true
		}
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, record.Kind(text))
		return true
	})
	if len(all) < 13 {
		t.Fatalf("only %d kinds found in the source: %q", len(all), all)
	}
	return all
}

func TestEveryKindHasItsBody(t *testing.T) {
	bodies := map[reflect.Type]record.Kind{}
	for _, kind := range kinds(t) {
		body := record.New(kind)
		if body == nil {
			t.Errorf("%s: New knows no body", kind)
			continue
		}
		if got := body.Kind(); got != kind {
			t.Errorf("the body of %s says it is %s", kind, got)
		}
		if other, twice := bodies[reflect.TypeOf(body)]; twice {
			t.Errorf("%s and %s have one body", kind, other)
		}
		bodies[reflect.TypeOf(body)] = kind
		if err := wire.CheckSlug("kind", string(kind)); err != nil {
			t.Error(err)
		}
	}
	for _, kind := range []record.Kind{"", "horoscope", "Ticket", "ticket "} {
		if body := record.New(kind); body != nil {
			t.Errorf("kind %q has the body %T", kind, body)
		}
	}
}

// Two calls give two bodies: one entry's fields must not show through in the next one.
func TestNewBodiesAreNotShared(t *testing.T) {
	first := record.New(record.KindTicket).(*record.Ticket)
	first.Number = "1"
	if second := record.New(record.KindTicket).(*record.Ticket); second.Number != "" {
		t.Error("a new body carries another one's fields")
	}
}

// later are texts that were added to a kind of which no cloud refuses an unknown field: left out
// where nothing is said, so that what was written before reads back in its canonical form.
var later = map[string]bool{"Sample.Machine": true, "Sample.Name": true, "Sample.English": true}

// An empty body writes every field: a number that is left out and a number that is 0 must not look
// the same.
func TestNoFieldIsLeftOut(t *testing.T) {
	for _, kind := range kinds(t) {
		encoded, err := json.Marshal(record.New(kind))
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(encoded, &fields); err != nil {
			t.Fatal(err)
		}
		of, want := reflect.TypeOf(record.New(kind)).Elem(), 0
		for field := range of.Fields() {
			if !later[of.Name()+"."+field.Name] {
				want++
			}
		}
		if got := len(fields); got != want {
			t.Errorf("%s: %d fields of %d are written: %s", kind, got, want, encoded)
		}
		checkTags(t, reflect.TypeOf(record.New(kind)).Elem())
	}
}

// checkTags looks at every field of a body and of what it holds: a name of its own, no option that
// leaves it out, no float.
func checkTags(t *testing.T, of reflect.Type) {
	t.Helper()
	switch of.Kind() {
	case reflect.Slice, reflect.Pointer, reflect.Array:
		checkTags(t, of.Elem())
	case reflect.Float32, reflect.Float64, reflect.Map, reflect.Interface:
		t.Errorf("%v has no exact form on the wire", of)
	case reflect.Struct:
		for field := range of.Fields() {
			name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
			if later[of.Name()+"."+field.Name] && field.Type.Kind() == reflect.String && options == "omitempty" {
				options = ""
			}
			if name == "" || name == "-" || name != strings.ToLower(name) || options != "" || field.Anonymous {
				t.Errorf("%v.%s: json tag %q: give a lower-case name and no option", of, field.Name, field.Tag.Get("json"))
			}
			checkTags(t, field.Type)
		}
	}
}

// sound gives a body of a kind that Check accepts, made anew for each call.
func sound(kind record.Kind) record.Body {
	ref := record.Ref{Journal: journal, N: 3}
	switch kind {
	case record.KindOpened:
		return &record.Opened{Version: "v1.0.0", Key: "k", Reason: "start"}
	case record.KindWeighing:
		return &record.Weighing{Mass: 23_960_000, Text: "23960", Unit: unit.KG, Division: 20_000, Max: 60_000_000,
			Stability: record.Stability{By: "flag", WindowMS: 500, Frames: 3}}
	case record.KindTicket:
		return &record.Ticket{Number: "20261123-0011-0001", Direction: record.Outbound, Destination: record.ToReuse, Mode: record.TwoPass,
			Vehicle: "豫D12345", Gross: 30_000_000, Tare: 12_000_000, Net: 18_000_000,
			Parts: []record.Part{{Material: "steel/heavy-melt", Mass: 17_000_000}, {Material: "copper", Mass: 1_000_000}}}
	case record.KindBale:
		return &record.Bale{Number: 412, Material: "paper/occ", Mass: 405_300, Weighed: true}
	case record.KindBelt:
		return &record.Belt{Raw: 7, Step: 1000, Modulus: 1_000_000, Standing: 7000, Material: "plastics/pet", Event: record.BeltTick}
	case record.KindTare:
		return &record.Tare{Vehicle: "豫D12345", Mass: 12_000_000, Weighing: ref}
	case record.KindStock:
		return &record.Stock{Material: "steel", Mass: 5_000_000}
	case record.KindCorrection:
		return &record.Correction{Target: ref, Action: "void", Reason: "wrong plate", Operator: "op-1", Second: "op-2"}
	case record.KindDevice:
		return &record.Device{State: "silent"}
	case record.KindOperator:
		return &record.Operator{Operator: "op-1", Action: record.ActWeighIn, Weighing: ref}
	case record.KindClock:
		return &record.Clock{StepMS: -3_600_000, State: "synced"}
	case record.KindGap:
		return &record.Gap{Journal: journal, From: 3, To: 9, Reason: "thinned"}
	case record.KindThinning:
		return &record.Thinning{EveryMS: 5000, LeftOut: 12, Daily: 1 << 30}
	case record.KindSample:
		return &record.Sample{Values: []record.SampleValue{{Tag: "rate", Value: "12.34", Unit: "t/h", OK: true}, {Tag: "state", Text: "running", OK: true}, {Tag: "speed"}}}
	}
	return nil
}

// with gives a sound body with one thing changed.
func with[B record.Body](kind record.Kind, change func(B)) record.Body {
	body := sound(kind)
	change(body.(B))
	return body
}

type (
	ticket     = record.Ticket
	weighing   = record.Weighing
	correction = record.Correction
)

func TestSoundFactsPass(t *testing.T) {
	for _, kind := range kinds(t) {
		if err := sound(kind).Check(); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for name, body := range map[string]record.Body{
		"the heaviest mass":    with(record.KindStock, func(s *record.Stock) { s.Mass = record.MaxMass }),
		"a mass of nothing":    with(record.KindStock, func(s *record.Stock) { s.Mass = 0 }),
		"an empty deck":        with(record.KindWeighing, func(w *weighing) { w.Mass, w.Text = 0, "0" }),
		"digits of tonnes":     with(record.KindWeighing, func(w *weighing) { w.Text, w.Unit = "23.96", unit.T }),
		"inferred rest":        with(record.KindWeighing, func(w *weighing) { w.Stability.By = "inferred" }),
		"inbound":              with(record.KindTicket, func(x *ticket) { x.Direction, x.Destination = record.Inbound, "" }),
		"outbound to disposal": with(record.KindTicket, func(x *ticket) { x.Destination = record.ToDisposal }),
		"outbound to a centre": with(record.KindTicket, func(x *ticket) { x.Destination = record.ToCentre }),
		"stored tare":          with(record.KindTicket, func(x *ticket) { x.Mode = record.StoredTare }),
		"by hand":              with(record.KindTicket, func(x *ticket) { x.Mode = record.ByHand }),
		"a bale not weighed":   with(record.KindBale, func(b *record.Bale) { b.Mass, b.Weighed = 0, false }),
		"a belt that wraps":    with(record.KindBelt, func(b *record.Belt) { b.Event = record.BeltWrap }),
		"a belt set back":      with(record.KindBelt, func(b *record.Belt) { b.Event = record.BeltReset }),
		"a belt that jumps":    with(record.KindBelt, func(b *record.Belt) { b.Event = record.BeltJump }),
		"an amendment":         with(record.KindCorrection, func(c *correction) { c.Action, c.Replacement = "amend", "{}" }),
		"a machine back":       with(record.KindDevice, func(d *record.Device) { d.State = "online" }),
		"a machine at fault":   with(record.KindDevice, func(d *record.Device) { d.State = "fault" }),
		"a counter":            with(record.KindDevice, func(d *record.Device) { d.State, d.Counter = "counter", 411 }),
		"one damaged number":   with(record.KindGap, func(g *record.Gap) { g.To, g.Reason = g.From, "damaged" }),
		"a sample of nothing":  with(record.KindSample, func(s *record.Sample) { s.Values = nil }),
		"a negative sample":    with(record.KindSample, func(s *record.Sample) { s.Values[0].Value = "-0.50" }),
	} {
		t.Run(name, func(t *testing.T) {
			if err := body.Check(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// Each rule has a fact that breaks it and nothing else, or as little else as can be; want is what
// the error must say.
func TestEachRuleIsHeld(t *testing.T) {
	const tooMuch = record.MaxMass + 1
	for name, broken := range map[string]struct {
		body record.Body
		want string
	}{
		"opened without key": {with(record.KindOpened, func(o *record.Opened) { o.Key = "" }), "key is missing"},

		"weighing below nothing":      {with(record.KindWeighing, func(w *weighing) { w.Mass, w.Text = -20_000, "-20" }), "weighing of -20000 g is not between"},
		"weighing of a mountain":      {with(record.KindWeighing, func(w *weighing) { w.Mass, w.Text = tooMuch, "10000000.001" }), "weighing of 10000000001 g is not between"},
		"weighing without digits":     {with(record.KindWeighing, func(w *weighing) { w.Text = "" }), "no digits"},
		"weighing of words":           {with(record.KindWeighing, func(w *weighing) { w.Text = "OL" }), `unexpected 'O'`},
		"weighing of an exponent":     {with(record.KindWeighing, func(w *weighing) { w.Text = "2396e1" }), `unexpected 'e'`},
		"weighing of other digits":    {with(record.KindWeighing, func(w *weighing) { w.Text = "23940" }), "does not say 23960000 g"},
		"weighing of other unit":      {with(record.KindWeighing, func(w *weighing) { w.Unit = unit.T }), "does not say 23960000 g"},
		"weighing without unit":       {with(record.KindWeighing, func(w *weighing) { w.Unit = unit.Unknown }), "a mass needs the unit"},
		"weighing in pounds":          {with(record.KindWeighing, func(w *weighing) { w.Unit = unit.LB }), "a mass needs the unit"},
		"weighing of part of a gram":  {with(record.KindWeighing, func(w *weighing) { w.Text = "23960.0001" }), "not a whole number of grams"},
		"weighing that nobody judged": {with(record.KindWeighing, func(w *weighing) { w.Stability.By = "" }), `stability "" is not one of`},
		"weighing judged by feeling":  {with(record.KindWeighing, func(w *weighing) { w.Stability.By = "feeling" }), `stability "feeling" is not one of`},

		"net is not gross less tare": {with(record.KindTicket, func(x *ticket) { x.Gross += 1 }), "net 18000000 g is not gross 30000001 g − tare 12000000 g"},
		"parts too light":            {with(record.KindTicket, func(x *ticket) { x.Parts[1].Mass -= 1 }), "parts of 17999999 g do not make the net of 18000000 g"},
		"parts too heavy":            {with(record.KindTicket, func(x *ticket) { x.Parts[1].Mass += 1 }), "parts of 18000001 g do not make the net of 18000000 g"},
		"no parts":                   {with(record.KindTicket, func(x *ticket) { x.Parts = nil }), "parts of 0 g do not make the net"},
		"a part below nothing": {with(record.KindTicket, func(x *ticket) { x.Parts[0].Mass, x.Parts[1].Mass = 18_000_001, -1 }),
			"part of -1 g is not between"},
		"a part that is a mountain": {with(record.KindTicket, func(x *ticket) { x.Parts[0].Mass = tooMuch }), "part of 10000000001 g is not between"},
		"a part of nothing known":   {with(record.KindTicket, func(x *ticket) { x.Parts[0].Material = "" }), "material is missing"},
		"net below nothing": {with(record.KindTicket, func(x *ticket) { x.Gross, x.Tare, x.Net, x.Parts = 1, 2, -1, nil }),
			"net of -1 g is not between"},
		"gross below nothing": {with(record.KindTicket, func(x *ticket) { x.Gross, x.Tare = -1, -18_000_001 }), "gross of -1 g is not between"},
		"gross of a mountain": {with(record.KindTicket, func(x *ticket) { x.Gross, x.Tare = tooMuch, tooMuch-18_000_000 }), "gross of 10000000001 g is not between"},
		"tare below nothing":  {with(record.KindTicket, func(x *ticket) { x.Gross, x.Tare = 17_999_999, -1 }), "tare of -1 g is not between"},
		"ticket unnumbered":   {with(record.KindTicket, func(x *ticket) { x.Number = "" }), "number is missing"},
		"ticket of no lorry":  {with(record.KindTicket, func(x *ticket) { x.Vehicle = "" }), "vehicle is missing"},
		"sideways":            {with(record.KindTicket, func(x *ticket) { x.Direction = "sideways" }), `direction "sideways" is not one of`},
		"direction unsaid":    {with(record.KindTicket, func(x *ticket) { x.Direction = "" }), `direction "" is not one of`},
		"mode unknown":        {with(record.KindTicket, func(x *ticket) { x.Mode = "guessed" }), `mode "guessed" is not one of`},
		"outbound to nowhere": {with(record.KindTicket, func(x *ticket) { x.Destination = "" }), `destination "" is not one of`},
		"outbound to the sea": {with(record.KindTicket, func(x *ticket) { x.Destination = "sea" }), `destination "sea" is not one of`},
		"inbound with a destination": {with(record.KindTicket, func(x *ticket) { x.Direction = record.Inbound }),
			`destination "reuse" is not one of`},

		"bale below nothing":  {with(record.KindBale, func(b *record.Bale) { b.Mass = -1 }), "bale of -1 g is not between"},
		"bale of a mountain":  {with(record.KindBale, func(b *record.Bale) { b.Mass = tooMuch }), "bale of 10000000001 g is not between"},
		"bale of what":        {with(record.KindBale, func(b *record.Bale) { b.Material = "" }), "material is missing"},
		"belt of no step":     {with(record.KindBelt, func(b *record.Belt) { b.Step = 0 }), "belt standing 7000 g with step 0 g"},
		"belt that runs back": {with(record.KindBelt, func(b *record.Belt) { b.Step = -1000 }), "with step -1000 g"},
		"belt below nothing":  {with(record.KindBelt, func(b *record.Belt) { b.Standing = -1000 }), "belt standing -1000 g"},
		"belt event unknown":  {with(record.KindBelt, func(b *record.Belt) { b.Event = "hiccup" }), `event "hiccup" is not one of`},

		"tare of nothing":       {with(record.KindTare, func(x *record.Tare) { x.Mass = 0 }), "tare of 0 g is not between"},
		"tare of a mountain":    {with(record.KindTare, func(x *record.Tare) { x.Mass = tooMuch }), "tare of 10000000001 g is not between"},
		"tare of no lorry":      {with(record.KindTare, func(x *record.Tare) { x.Vehicle = "" }), "vehicle is missing"},
		"stock below nothing":   {with(record.KindStock, func(s *record.Stock) { s.Mass = -1 }), "stock of -1 g is not between"},
		"stock of a mountain":   {with(record.KindStock, func(s *record.Stock) { s.Mass = tooMuch }), "stock of 10000000001 g is not between"},
		"stock of what":         {with(record.KindStock, func(s *record.Stock) { s.Material = "" }), "material is missing"},
		"correction of air":     {with(record.KindCorrection, func(c *correction) { c.Target = record.Ref{} }), "target is missing"},
		"correction by erasing": {with(record.KindCorrection, func(c *correction) { c.Action = "erase" }), `action "erase" is not one of`},
		"correction unreasoned": {with(record.KindCorrection, func(c *correction) { c.Reason = "" }), "reason is missing"},
		"correction by nobody":  {with(record.KindCorrection, func(c *correction) { c.Operator = "" }), "operator is missing"},
		"correction by one":     {with(record.KindCorrection, func(c *correction) { c.Second = "" }), "second person is missing"},
		"correction by one twice": {with(record.KindCorrection, func(c *correction) { c.Second = c.Operator }),
			"the second person is the first"},

		"machine in no state":    {with(record.KindDevice, func(d *record.Device) { d.State = "" }), `state "" is not one of`},
		"machine in love":        {with(record.KindDevice, func(d *record.Device) { d.State = "love" }), `state "love" is not one of`},
		"an act of nothing":      {with(record.KindOperator, func(o *record.Operator) { o.Action = "" }), "action is missing"},
		"gap from number 0":      {with(record.KindGap, func(g *record.Gap) { g.From = 0 }), "gap from 0 to 9"},
		"gap that ends early":    {with(record.KindGap, func(g *record.Gap) { g.To = 2 }), "gap from 3 to 2"},
		"gap for no reason":      {with(record.KindGap, func(g *record.Gap) { g.Reason = "" }), `reason "" is not one of`},
		"gap for a bad reason":   {with(record.KindGap, func(g *record.Gap) { g.Reason = "tidied" }), `reason "tidied" is not one of`},
		"thinned before time":    {with(record.KindThinning, func(t *record.Thinning) { t.EveryMS = -1 }), "thinning to one in -1 ms"},
		"a sample of words":      {with(record.KindSample, func(s *record.Sample) { s.Values[0].Value = "fast" }), `tag "rate": number "fast"`},
		"a sample of a float":    {with(record.KindSample, func(s *record.Sample) { s.Values[0].Value = "1.2e3" }), `tag "rate": number "1.2e3"`},
		"the last sample is bad": {with(record.KindSample, func(s *record.Sample) { s.Values[2].Value = "NaN" }), `tag "speed": number "NaN"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := broken.body.Check()
			if err == nil {
				t.Errorf("%s: passed", name)
			} else if !strings.Contains(err.Error(), broken.want) {
				t.Errorf("%s: got %q, want %q", name, err, broken.want)
			}
		})
	}
}

// A ticket with many faults names all of them: the operator at the desk mends them in one go.
func TestTicketNamesAllItsFaults(t *testing.T) {
	err := new(record.Ticket).Check()
	if err == nil {
		t.Fatal("an empty ticket passed")
	}
	for _, want := range []string{"number is missing", "vehicle is missing", "direction", "mode", "destination"} {
		if !slices.ContainsFunc(strings.Split(err.Error(), "\n"), func(line string) bool { return strings.HasPrefix(line, want) }) {
			t.Errorf("%q does not name %q", err, want)
		}
	}
}

// What an error quotes comes from outside and stays short.
func TestErrorsAreBounded(t *testing.T) {
	long := strings.Repeat("x", 60_000)
	for _, body := range []record.Body{
		&record.Device{State: long}, &record.Ticket{Direction: long, Destination: long, Mode: long},
		&record.Sample{Values: []record.SampleValue{{Tag: long, Value: long}}}, &record.Gap{From: 1, To: 1, Reason: long},
	} {
		if err := body.Check(); err == nil || len(err.Error()) > 1000 {
			t.Errorf("%s: error of %d bytes", body.Kind(), len(err.Error()))
		}
	}
}
