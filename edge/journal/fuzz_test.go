package journal_test

import (
	"slices"
	"testing"
)

// FuzzOpen damages a journal as the fuzzer likes. Each run draws another journal id, so fuzz with
// -fuzzminimizetime 1x: there is nothing to minimise by repetition.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("\xf5sy\xff"), uint32(200), uint8(1))
	f.Add([]byte{0, 0, 0, 0}, uint32(2000), uint8(0))
	f.Add([]byte{}, uint32(100), uint8(2))
	f.Fuzz(func(t *testing.T, with []byte, at uint32, how uint8) {
		s := newSpecimen(t, 3<<10)
		path := s.files[int(how/4)%len(s.files)]
		data := s.disk.names[path].data
		from := int(at) % (len(data) + 1)
		to := min(from+len(with), len(data))
		switch how % 4 {
		case 0: // overwritten
			data = slices.Concat(data[:from], with[:to-from], data[to:])
		case 1: // inserted
			data = slices.Concat(data[:from], with, data[from:])
		case 2: // cut, something behind
			data = slices.Concat(data[:from], with)
		case 3: // all else
			data = with
		}
		touched := map[key]bool{}
		for k := range s.lines {
			touched[k] = true
		}
		s.open(t, "fuzz", s.with(path, data), touched, true)
	})
}
