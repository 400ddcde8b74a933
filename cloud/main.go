// Command cloud keeps the city's ledger of tonnes. "cloud demo" runs a whole simulated town.
package main

import (
	"context"

	"steelyard/cloud/demo"
	"steelyard/cloud/service"
	"steelyard/internal/program"
)

func main() { program.Main("cloud", run) }

func run(ctx context.Context, env program.Env) error {
	if len(env.Args) > 0 && env.Args[0] == "demo" {
		return demo.Run(ctx, env, env.Args[1:])
	}
	return service.Run(ctx, env)
}
