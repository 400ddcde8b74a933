package bench

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"steelyard/firmware-bridge/weighbridge"
)

// questions are the requests that may be sent.
func (s *search) questions() [][]byte {
	var all [][]byte
	ask := func(d weighbridge.Dialect, o weighbridge.Options) {
		if request, ok := harmless(d, o); ok && (s.only == "" || d.Name == s.only) {
			all = append(all, request)
		}
	}
	if s.model != nil {
		ask(s.model.Speaks())
		return all
	}
	for _, d := range weighbridge.Dialects() {
		ask(d, weighbridge.Options{})
	}
	for _, m := range s.models { // those whose own files say with what they are asked
		if d, o := m.Speaks(); len(o.Request) > 0 && !slices.ContainsFunc(all, func(b []byte) bool { return bytes.Equal(b, o.Request) }) {
			ask(d, o)
		}
	}
	return all
}

// askAll asks every dialect that answers, at every setting.
func (s *search) askAll(ctx context.Context) ([]candidate, error) {
	questions := s.questions()
	each := min(answerTime, s.listen)
	s.done, s.all = 0, time.Duration(len(s.formats)*len(s.bauds)*len(questions))*each
	heard := 0
	for _, format := range s.formats {
		for _, baud := range s.bauds {
			line := s.at(baud, format)
			for _, request := range questions {
				pieces, err := s.hear(ctx, line, request)
				if err != nil {
					return nil, err
				}
				for _, p := range pieces {
					heard += len(p)
				}
				s.remember(line, pieces)
				candidates := s.rank(pieces)
				if len(pieces) > 0 {
					s.say("%s: asked with %q: %s, %s", s.settingOf(line), request, count(len(pieces), "piece"), count(len(candidates), "dialect"))
				}
				if s.done += each; len(candidates) > 0 {
					return setting(candidates, line, true), nil
				}
			}
			s.say("%s: asked in %s", s.settingOf(line), count(len(questions), "way"))
		}
	}
	return nil, s.nothing(heard)
}

// harmless returns the request with which an unknown device may be asked. Some obey single letters:
// R, T and Z on an A12+SS, P, T, Z and C on indicators with Toledo's output. A request that holds
// T, Z or C could tare or zero them, even when it means a reading to the one it is for.
func harmless(d weighbridge.Dialect, o weighbridge.Options) ([]byte, bool) {
	if d.Poll == "" {
		return nil, false
	}
	request, err := d.Encode(d.Poll, o)
	if err != nil || strings.ContainsAny(string(request), "TtZzCc") {
		return nil, false
	}
	return request, true
}
