package uplink

// Prepare is what Subscribe does before it subscribes.
func (s *Stream) Prepare() { s.prepare() }
