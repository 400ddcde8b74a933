// Command firmware-bridge is the commissioning bench: it finds a machine on a line, shows what it
// says, proves a profile, keeps captures and simulates machines.
package main

import (
	"steelyard/firmware-bridge/bench"
	"steelyard/internal/program"
)

func main() { program.Main("firmware-bridge", bench.Run) }
