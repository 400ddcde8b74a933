package e2e_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"steelyard/cloud/demo"
)

// settlePatience bounds how long machines may need to rest and edges to send all they hold.
const settlePatience = 5 * time.Minute

// Cycles of the test of killed processes.
const (
	edgeKills   = 200
	cloudKills  = 100
	brokerKills = 10
)

// uptime draws how long a process lives until it is killed: often not long enough to start, now and
// then long enough to weigh a lorry and to see a bale twice.
func uptime(r *rand.Rand) time.Duration {
	switch r.IntN(10) {
	case 0, 1, 2, 3, 4:
		return time.Duration(r.IntN(300)) * time.Millisecond
	case 5, 6, 7:
		return 300*time.Millisecond + time.Duration(r.IntN(1200))*time.Millisecond
	}
	return 3*time.Second + time.Duration(r.IntN(2000))*time.Millisecond
}

// killing kills a process at random times and starts it again, so often; in the end it runs.
func killing(t *testing.T, p *demo.Process, seed uint64, times int) {
	r := rand.New(rand.NewPCG(seed, 1))
	for range times {
		select {
		case <-t.Context().Done():
			return
		case <-time.After(uptime(r)):
		}
		if err := p.Kill(); err != nil {
			t.Error(err)
			return
		}
		if err := p.Launch(); err != nil {
			t.Error(err)
			return
		}
	}
	if err := p.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

// Edges and cloud are killed at any moment under load, and so is the broker between them, which
// forgets everything each time; then every link is a black hole for a minute. Nothing is lost, nothing
// counted twice.
func TestKilledProcessesAndCutLinks(t *testing.T) {
	broker := startMosquitto(t)
	links := map[string]*link{}
	town := build(t, demo.Plan{
		Sites: 2, Speed: 4, Arrivals: 80 * time.Second, Inside: 2 * time.Minute, Broker: broker.url(), Shape: demo.Shape{Weighbridges: 1, Belts: 2, Balers: 1},
		Via: func(site, _ string) string {
			links[site] = openLink(t, broker.address())
			return "tcp://" + links[site].address()
		},
	})
	var killers sync.WaitGroup
	for i, s := range town.Sites {
		killers.Go(func() { killing(t, s.Edge, uint64(i+1), edgeKills/len(town.Sites)) })
	}
	killers.Go(func() { killing(t, town.Cloud, 99, cloudKills) })
	killers.Go(func() {
		r := rand.New(rand.NewPCG(7, 7))
		for range brokerKills {
			time.Sleep(5*time.Second + time.Duration(r.IntN(8000))*time.Millisecond)
			broker.killAndForget(t)
		}
	})
	killers.Wait()
	if t.Failed() {
		return
	}

	// A frozen cloud lets the broker's queue overflow; then the broker dies with it.
	if err := town.Cloud.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(8 * time.Second)
	broker.killAndForget(t)
	if err := town.Cloud.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// A cable that is cut says nothing.
	for _, l := range links {
		l.blackHole(true)
	}
	time.Sleep(60 * time.Second)
	for site, l := range links {
		l.blackHole(false)
		if l.swallowed.Load() == 0 {
			t.Errorf("%s sent nothing into the cut link: the cut proves nothing", site)
		}
	}
	for _, s := range town.Sites {
		if s.Edge.Restart <= edgeKills/len(town.Sites) {
			t.Errorf("%s was started %d times", s.Name, s.Edge.Restart)
		}
	}
	exact(t, town, 150)
}

// Negative control: an edge that takes the broker's PUBACK for the cloud's receipt loses what the
// broker had when nobody listened.
func TestTrustingThePubackLoses(t *testing.T) {
	broker := startMosquitto(t)
	town := build(t, demo.Plan{
		Sites: 1, Speed: 20, Broker: broker.url(), Shape: demo.Shape{Weighbridges: 1, Belts: 2},
		Command: command(t, "trust-puback"),
	})
	eventually(t, "the edge is heard", func() bool { return recordsInLedger(t, town) > 0 })
	time.Sleep(3 * time.Second)
	if err := town.Cloud.Kill(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(15 * time.Second) // belts and lorries go on; the broker acknowledges all of it
	if err := town.Cloud.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	rest, cancel := context.WithTimeout(t.Context(), 75*time.Second)
	defer cancel()
	audit, err := town.WaitIdle(rest)
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for _, s := range audit.Sites {
		for _, k := range s.Kinds {
			lost += k.Lost
		}
	}
	if audit.Exact || lost == 0 {
		t.Errorf("nothing was lost: the tests of this protection prove nothing")
	}
}
