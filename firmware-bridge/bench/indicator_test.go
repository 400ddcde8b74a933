package bench_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"steelyard/internal/program"
)

// What simulate sends by an indicator's name, show reads by the same name: one that sends by
// itself, one that is asked, and one that no dialect knows.
func TestSimulateAndShowAnIndicator(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		simulate []string
		count    string
		want     []string
	}{
		"mettler-toledo-continuous-plain": {nil, "10", []string{"12340"}},
		"toledo-8217":                     {[]string{"-weight", "4.139"}, "3", []string{"4.139"}},
		"generic-frame":                   {[]string{"-hold", "100ms"}, "80", []string{"-60", "1560", "20.00", "23960"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := link(t)
			start(t, append([]string{"simulate", "-indicator", name, "-pty", path, "-rate", "50"}, test.simulate...)...).at()
			stdout, stderr, code := run(t, "", "show", "-port", path, "-indicator", devices+name+".yaml", "-json", "-count", test.count)
			if code != program.ExitOK {
				t.Fatalf("code %d: %s%s", code, stdout, stderr)
			}
			got := map[string]bool{}
			for _, o := range objects(t, stdout) {
				if value, ok := o["value"].(string); ok {
					got[value] = true
				}
			}
			if values := slices.Sorted(maps.Keys(got)); !slices.Equal(values, test.want) {
				t.Errorf("read %q, want %q", values, test.want)
			}
		})
	}
}

// An indicator of the catalogue takes the flags that its dialect takes: any weight on a deck, its division
// and capacity, and its checksum.
func TestSimulateAnIndicatorWithTheFlagsOfItsDialect(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ flags, show, want string }{
		{"-indicator yaohua-xk3190-a9 -weight 17980 -division 20 -max 60t", "yaohua-xk3190-a9", "17980"},
		{"-indicator mettler-toledo-continuous -weight 8420", "mettler-toledo-continuous", "8420"},
		{"-indicator mettler-toledo-continuous-plain -weight 8420", "mettler-toledo-continuous-plain", "8420"},
		{"-indicator mettler-toledo-continuous -weight 8420 -checksum none", "mettler-toledo-continuous-plain", "8420"},
		{"-indicator testdata/own/acme-w200.yaml -weight 61000 -max 60t", "testdata/own/acme-w200.yaml", "no weight"},
	} {
		t.Run(test.flags, func(t *testing.T) {
			t.Parallel()
			path := link(t)
			start(t, append([]string{"simulate", "-pty", path, "-rate", "20", "-baud", "9600"}, strings.Fields(test.flags)...)...).at()
			stdout, stderr, code := run(t, "", "show", "-port", path, "-baud", "9600", "-indicator", test.show, "-count", "20", "-for", "30s")
			if code != program.ExitOK || !strings.Contains(stdout, test.want) {
				t.Errorf("code %d: %s%s", code, stdout, stderr)
			}
		})
	}
}

func TestDecodeByIndicator(t *testing.T) {
	t.Parallel()
	const plain = "02 2A 30 20 30 31 32 33 34 30 30 30 30 30 30 30 0D\n"
	stdout, stderr, code := run(t, plain, "decode", "-indicator", "mettler-toledo-continuous-plain")
	if code != program.ExitOK || !strings.Contains(stdout, `"value":"12340"`) || strings.Contains(stdout, `"options"`) {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
	// The model with a checksum must not be tried without it.
	stdout, _, _ = run(t, plain, "decode", "-indicator", "mettler-toledo-continuous")
	if strings.Contains(stdout, `"valid":true`) {
		t.Errorf("read without its checksum: %s", stdout)
	}
	stdout, _, code = run(t, "02 2B 30 30 31 35 36 30 30 31 39 03", "decode", "-indicator", "yaohua-xk3190-a9", "-unit", "t")
	if code != program.ExitOK || !strings.Contains(stdout, `"unit":"t"`) {
		t.Errorf("code %d: %s", code, stdout)
	}
	if _, stderr, code = run(t, "", "decode", "-indicator", devices+"laumas-tlb.yaml"); code != program.ExitError || !strings.Contains(stderr, "and no indicator") {
		t.Errorf("code %d: %s", code, stderr)
	}
}
