// Package demo is a whole town in one command: simulated sorting centres on real terminals and
// sockets, an edge process for each, the cloud's process with broker, ledger and pages, and the
// audit that compares what really happened with what the city knows.
//
// In: how many sites, how fast, for how long. Out: a running town, its audit on the page and at
// the end, and an exit status that is 0 only when nothing was lost, duplicated, altered or invented.
// It promises that the edges and the cloud are the same programs that run at a real site, as
// processes of their own, so that each can be killed; the machines live in the command's own
// process, which is the one that knows the truth.
// It is the wiring of a demonstration: no other package imports it.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"time"

	"steelyard/cloud/service"
	"steelyard/edge/agent"
	"steelyard/internal/program"
)

// ErrNotExact is the result of a demonstration whose audit has a fault.
var ErrNotExact = errors.New("the audit is not exact")

const (
	auditEvery   = 3 * time.Second
	idlePatience = 3 * time.Minute

	leastPast, mostPast = 10 * time.Minute, 48 * time.Hour
)

// Run is "cloud demo".
func Run(ctx context.Context, env program.Env, args []string) error {
	if len(args) > 0 && (args[0] == string(EdgeRole) || args[0] == string(CloudRole)) {
		return child(ctx, env, Role(args[0]), args[1:])
	}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	sites := flags.Int("sites", 2, "number of sorting centres")
	speed := flags.Float64("speed", 1, "how much faster than life lorries, belts and balers work")
	past := flags.Duration("past", 3*time.Hour, "what every site has behind it when it begins, as if it had worked at the speed of life; 0: nothing")
	length := flags.Duration("for", 0, "stop after this time; 0: at ctrl-C")
	dir := flags.String("dir", "", "folder for all data; empty: a temporary one, removed at the end")
	listen := flags.String("listen", "127.0.0.1:8080", "address of the city's pages")
	broker := flags.String("broker", "", "URL of a broker to use instead of the embedded one")
	influx := flags.String("influx", "", "URL of an InfluxDB to use instead of the embedded history, like http://user:password@host:8086/database/policy")
	asJSON := flags.Bool("json", false, "end with one line of JSON")
	rest, err := env.Parse(flags, "cloud demo [flags]", args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return program.Usage("unexpected %q", rest[0])
	}
	if *speed < 0.1 || *speed > 50 {
		return program.Usage("speed %v: use 0.1 to 50", *speed)
	}
	if *past != 0 && (*past < leastPast || *past > mostPast) {
		return program.Usage("past %v: use 0, or %v to %v", *past, leastPast, mostPast)
	}
	plan := Plan{Dir: *dir, Sites: *sites, Speed: *speed, Past: *past, Listen: *listen, Broker: *broker, Log: env.Log}
	if *influx != "" {
		if err := plan.setInflux(*influx); err != nil {
			return program.Usage("influx: %v", err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	plan.Command = func(role Role, config string) *exec.Cmd {
		return exec.Command(self, "demo", string(role), "-config", config)
	}
	if plan.Dir == "" {
		if plan.Dir, err = os.MkdirTemp("", "steelyard-demo-"); err != nil {
			return err
		}
		defer func() {
			if err := os.RemoveAll(plan.Dir); err != nil {
				env.Log.Warn("temporary folder stays", "dir", plan.Dir, "err", err)
			}
		}()
	}
	return play(ctx, env, plan, *length, *asJSON)
}

// child is an edge or the cloud, as a process of the town.
func child(ctx context.Context, env program.Env, role Role, args []string) error {
	env.Args = args
	if role == EdgeRole {
		return agent.Run(ctx, env)
	}
	return service.Run(ctx, env)
}

func play(ctx context.Context, env program.Env, plan Plan, length time.Duration, asJSON bool) (err error) {
	// The town outlives ctx: at ctrl-C it comes to rest first.
	town, err := Build(context.WithoutCancel(ctx), plan)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, town.Close()) }()
	say := env.Stdout
	if asJSON {
		say = env.Stderr
	}
	fmt.Fprintf(say, "Steelyard is running: %s\n", town.URL)
	for _, s := range town.Sites {
		fmt.Fprintf(say, "  %s, operator's page: %s\n", s.Name, s.Page)
	}
	fmt.Fprintf(say, "  data and logs: %s\n  ctrl-C stops it and prints the audit\n", plan.Dir)

	if err := town.watch(ctx, length); err != nil {
		return err
	}
	fmt.Fprintln(say, "stopping: lorries finish, belts and balers come to rest, the ledger takes the last entries …")
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), idlePatience)
	defer cancel()
	audit, err := town.WaitIdle(settling)
	if err != nil {
		return err
	}
	if err := audit.Print(say); err != nil {
		return err
	}
	if asJSON {
		if err := json.NewEncoder(env.Stdout).Encode(audit); err != nil {
			return err
		}
	}
	if !audit.Exact {
		return ErrNotExact
	}
	return nil
}

// watch keeps the audit on the page until ctx or the time ends, or a process does.
func (t *Town) watch(ctx context.Context, length time.Duration) error {
	tick := time.NewTicker(auditEvery)
	defer tick.Stop()
	var end <-chan time.Time
	if length > 0 {
		end = time.After(length)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-end:
			return nil
		case <-t.Cloud.exited:
			return fmt.Errorf("the cloud ended: %s", lastLines(t.Cloud.log.Name()))
		case <-tick.C:
		}
		for _, s := range t.Sites {
			select {
			case <-s.Edge.exited:
				return fmt.Errorf("the edge of %s ended: %s", s.Name, lastLines(s.Edge.log.Name()))
			default:
			}
		}
		a, err := t.Audit(context.WithoutCancel(ctx), false)
		if err != nil {
			return err
		}
		if err := t.Publish(a); err != nil {
			return err
		}
	}
}
