package meaning

import "time"

// NextNumber is the number that a ticket of a time would get.
func (s *Site) NextNumber(at time.Time) string { return s.nextNumber(at) }
