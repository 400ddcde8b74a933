// Package sim holds machines that do not exist: weighbridges, belts, balers and whole sites of
// them, on real pseudo-terminals and real sockets.
//
// In: a SiteConfig with a seed and a speed, the address of an edge's operator page, and faults on
// command. Out: indicator frames, Modbus replies, an operator who drives the edge over HTTP as a
// person's page would, and a truth file of what really happened.
//
// It promises that the truth is written down by the machines themselves and never from what an
// edge made of them; that the bytes are encoded here, independently of the decoders under test;
// that the physics of one seed is the same every time; and that Close ends every goroutine.
// It does not decode anything that a machine sent, and nothing in it is ever wired into a real
// site.
//
// # Time
//
// Speed scales arrivals, unloading, belts and balers. A lorry at rest stays on the deck until its
// operator is done, frames come at the indicator's own rate, driving on and off is at most four
// times faster than in life, and a bale never takes less than MinBaleCycle, so that a poll a
// second cannot miss one. All times in the truth are those of the real wall clock.
//
// # The baler
//
// A baler serves the SSC baler tag contract v1: 62 holding registers from address 0, high word
// first; magic 5342h at 0, contract version 1 at 1. The block of the last bale (12 to 23) is
// written before its sequence (10–11), register by register, as a PLC does over several cycles.
//
// # The belt scale
//
// A belt scale serves the profile generic-belt: 16 holding registers from address 0, high word
// first.
//
//	 0     U16  magic 4253h ("BS")
//	 1     U16  map version, 1
//	 2     U16  heartbeat, +1 each second, wraps
//	 3     U16  run state: 0 unknown, 1 stopped, 2 starting, 3 running, 4 stopping, 5 fault
//	 4     U16  alarm word
//	 5     U16  material or recipe
//	 6–7   U32  rate, 0.01 t/h
//	 8–9   U32  belt load, g/m
//	10     U16  belt speed, mm/s
//	11     U16  spare, 0
//	12–13  U32  totaliser, counts; wraps at its modulus
//	14     U16  step, kg per count
//	15     U16  spare, 0
package sim
