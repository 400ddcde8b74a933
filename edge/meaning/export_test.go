package meaning

import "time"

// NextNumber is the number that a ticket of a time would get.
func (s *Site) NextNumber(at time.Time, journal string) string { return s.nextNumber(at, journal) }
