// Package e2e proves the whole: real processes, real ptys and sockets, real brokers and databases,
// and the faults that a sorting centre and a city meet. Every test ends in the audit, which
// compares what the machines did with what the ledger holds.
package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"steelyard/cloud/demo"
	"steelyard/cloud/service"
	"steelyard/edge/agent"
	"steelyard/internal/program"
)

// Roles of the test binary itself: it is the edge and the cloud of these tests, so that a
// protection can be switched off for a negative control without a switch in the product.
const (
	roleVar     = "STEELYARD_TEST_ROLE"
	weaknessVar = "STEELYARD_TEST_WEAKNESS"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case string(demo.EdgeRole):
		program.Main("edge", func(ctx context.Context, env program.Env) error {
			c, err := agent.Read(env.Args[0])
			if err != nil {
				return err
			}
			var w agent.Faults
			if os.Getenv(weaknessVar) == "trust-puback" {
				w.TrustPuback = true
			}
			return agent.Start(ctx, c, w, env.Log)
		})
	case string(demo.CloudRole):
		program.Main("cloud", func(ctx context.Context, env program.Env) error {
			c, err := service.Read(env.Args[0])
			if err != nil {
				return err
			}
			return service.Start(ctx, c, env.Log)
		})
	}
	os.Exit(m.Run())
}

// command starts the test binary in a role.
func command(t testing.TB, weakness string) func(demo.Role, string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return func(role demo.Role, config string) *exec.Cmd {
		cmd := exec.Command(self, config)
		cmd.Env = append(os.Environ(), roleVar+"="+string(role), weaknessVar+"="+weakness)
		return cmd
	}
}

// build starts a town that is torn down with the test. Its logs are shown when the test fails.
func build(t *testing.T, plan demo.Plan) *demo.Town {
	t.Helper()
	plan.Dir = filepath.Join(t.TempDir(), "town")
	if plan.Listen == "" {
		plan.Listen = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	}
	if plan.Command == nil {
		plan.Command = command(t, "")
	}
	town, err := demo.Build(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			town.Logs(t.Output())
			for _, s := range town.Sites {
				show(t, s.Page+"/api/decks")
				show(t, s.Page+"/api/passages")
			}
		}
		if err := town.Close(); err != nil {
			t.Errorf("closing the town: %v", err)
		}
	})
	return town
}

// show prints what a page would say, for a test that failed.
func show(t *testing.T, url string) {
	res, err := http.Get(url)
	if err != nil {
		t.Log(err)
		return
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	t.Logf("%s: %s %v", url, data, err)
}

// exact lets the town come to rest and demands an exact audit that is worth something.
func exact(t *testing.T, town *demo.Town, least int) *demo.Audit {
	t.Helper()
	audit := settle(t, town)
	if err := audit.Print(t.Output()); err != nil {
		t.Fatal(err)
	}
	if !audit.Exact {
		t.Fatalf("the audit is not exact: %v", audit.Faults)
	}
	entries := 0
	for _, s := range audit.Sites {
		for _, k := range s.Kinds {
			entries += k.InLedger
		}
	}
	if entries < least {
		t.Fatalf("only %d entries in the ledger, want %d: the test proves too little", entries, least)
	}
	return audit
}

func settle(t *testing.T, town *demo.Town) *demo.Audit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settlePatience)
	defer cancel()
	audit, err := town.WaitIdle(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return audit
}
