package uplink

// Prepare is what Subscribe does before it subscribes.
func (s *Sender) Prepare() { s.prepare() }
