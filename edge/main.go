// Command edge runs on one sorting centre: it reads the machines, keeps the journal and brings
// every fact to the city.
package main

import (
	"steelyard/edge/agent"
	"steelyard/internal/program"
)

func main() { program.Main("edge", agent.Run) }
