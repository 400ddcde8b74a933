package gateway

import (
	"context"
	"fmt"

	"steelyard/internal/program"
)

// Run is the program "firmware-bridge serve": it reads the flags and the file they name, and
// serves until ctx ends.
func Run(ctx context.Context, env program.Env) error {
	path, check, err := env.ConfigFlags("gateway", "firmware-bridge serve [-config gateway.yaml] [-check]")
	if err != nil {
		return err
	}
	c, err := Read(path)
	if err != nil {
		return err
	}
	if check {
		if _, err := fmt.Fprintf(env.Stdout, "%s: %d lines, %d buses: good\n", path, len(c.Lines), len(c.Buses)); err != nil {
			return fmt.Errorf("print: %w", err)
		}
		return nil
	}
	g, err := New(c, env.Log)
	if err != nil {
		return err
	}
	for listen, address := range g.Addresses() {
		env.Log.Info("listening", "listen", listen, "address", address)
	}
	return g.Run(ctx)
}
