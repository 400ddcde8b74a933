package modbus_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
)

// The machines of these benchmarks run in a process of their own, so that the processor time of
// this one is ours alone. STEELYARD_TELEGRAF may name a Telegraf binary; then it polls the same
// machines in the same run and its figures stand beside ours.
const (
	machinesVariable = "STEELYARD_TEST_MACHINES"
	telegrafVariable = "STEELYARD_TELEGRAF"
)

// serveMachines is that process: "40" is so many machines of 60 registers, "40@5ms" one gateway
// that takes so long for each request. It prints its addresses and ends with its standard input.
// The first four registers of a reply are the time at which it was handed to the kernel, in
// nanoseconds since 1970; registers 60000 and 60001 count the other requests.
func serveMachines(what string) {
	number, each, gateway := strings.Cut(what, "@")
	count, err := strconv.Atoi(number)
	if gateway {
		count = 1
	}
	pause, perr := time.ParseDuration(each)
	if err != nil || gateway && perr != nil {
		fmt.Fprintln(os.Stderr, "machines:", err, perr)
		os.Exit(2)
	}
	var one sync.Mutex // of the gateway's line
	for range count {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			fmt.Fprintln(os.Stderr, "machines:", err)
			os.Exit(1)
		}
		fmt.Println(l.Addr())
		go func() {
			var mu sync.Mutex
			served := uint32(0)
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					request := make([]byte, 12)
					for {
						if _, err := io.ReadFull(conn, request); err != nil {
							return
						}
						reply := mbap(request, respond(request[6:]))
						mu.Lock()
						if binary.BigEndian.Uint16(request[8:]) == 60000 {
							binary.BigEndian.PutUint32(reply[9:], served)
						} else {
							served++
							if gateway {
								one.Lock()
								exactly(time.Now().Add(pause))
								one.Unlock()
							}
							binary.BigEndian.PutUint64(reply[9:], uint64(time.Now().UnixNano()))
						}
						mu.Unlock()
						if _, err := conn.Write(reply); err != nil {
							return
						}
					}
				}()
			}
		}()
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// machinesApart starts the process and gives the addresses.
func machinesApart(b *testing.B, what string, count int) (addresses []string) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), machinesVariable+"="+what)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { stdin.Close(); _ = cmd.Wait() })
	lines := bufio.NewScanner(stdout)
	for len(addresses) < count && lines.Scan() {
		addresses = append(addresses, lines.Text())
	}
	if len(addresses) < count {
		b.Fatalf("the machines gave %d addresses of %d", len(addresses), count)
	}
	return addresses
}

// stamped is a sink that takes how long each scan was on its way.
type stamped struct {
	mu    sync.Mutex
	ways  []time.Duration
	scans int
	on    bool
}

func (*stamped) Weight(device.Weight) {}
func (*stamped) Health(device.Health) {}

func (s *stamped) Scan(scan device.Scan) {
	now := time.Now().UnixNano()
	sent := int64(0)
	for _, v := range scan.Values[:4] {
		sent = sent<<16 | v.Number.Coef
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on {
		s.scans++
		s.ways = append(s.ways, time.Duration(now-sent))
	}
}

// count begins or ends counting.
func (s *stamped) count(on bool) { s.mu.Lock(); s.on = on; s.mu.Unlock() }

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const (
	plantMachines  = 40
	plantRegisters = 60
	plantEvery     = 100 * time.Millisecond
)

// BenchmarkPlant polls 40 machines of 60 registers each 100 ms: the share of the polls that were
// made, the processor time for a thousand registers, and how long a value takes from the kernel of
// its machine to the sink. An iteration is one period.
func BenchmarkPlant(b *testing.B) {
	addresses := machinesApart(b, strconv.Itoa(plantMachines), plantMachines)
	sink := new(stamped)
	profile := wide(b, plantRegisters)
	for i, address := range addresses {
		run(b, newBus(b, modbus.Config{Link: "tcp://" + address, Units: []modbus.Unit{
			{Device: fmt.Sprint("m", i), ID: 1, Profile: profile, Every: plantEvery}}}, sink))
	}
	time.Sleep(3 * plantEvery) // all are connected
	measure(b, sink, plantMachines)
	telegraf(b, addresses)
}

// BenchmarkSlowGateway polls 40 units behind one gateway that takes 5 ms for each request: the
// share of what it can give.
func BenchmarkSlowGateway(b *testing.B) {
	const takes = 5 * time.Millisecond
	address := machinesApart(b, fmt.Sprintf("%d@%s", plantMachines, takes), 1)[0]
	sink := new(stamped)
	profile := wide(b, plantRegisters)
	var units []modbus.Unit
	for id := range plantMachines {
		units = append(units, modbus.Unit{Device: fmt.Sprint("m", id), ID: uint8(1 + id), Profile: profile, Every: plantEvery})
	}
	run(b, newBus(b, modbus.Config{Link: "tcp://" + address, Units: units}, sink))
	time.Sleep(3 * plantEvery)
	spent := measure(b, sink, plantMachines)
	b.ReportMetric(100*float64(sink.scans)*float64(takes)/float64(spent), "%gateway")
}

// measure counts for b.N periods.
func measure(b *testing.B, sink *stamped, machines int) (spent time.Duration) {
	b.ResetTimer()
	begun, before := time.Now(), processorTime(b)
	sink.count(true)
	time.Sleep(time.Duration(b.N) * plantEvery)
	sink.count(false)
	spent = time.Since(begun)
	used := processorTime(b) - before
	b.StopTimer()
	sink.mu.Lock()
	defer sink.mu.Unlock()
	if sink.scans == 0 {
		b.Fatal("no scan came")
	}
	slices.Sort(sink.ways)
	b.ReportMetric(100*float64(sink.scans)*float64(plantEvery)/float64(machines)/float64(spent), "%polls")
	b.ReportMetric(float64(used.Microseconds())/float64(sink.scans*plantRegisters), "CPU-ms/1000registers")
	b.ReportMetric(float64(sink.ways[len(sink.ways)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(sink.ways[len(sink.ways)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
	b.Log(load1())
	return spent
}

// telegraf polls the same machines for as long, when there is one.
func telegraf(b *testing.B, addresses []string) {
	program := os.Getenv(telegrafVariable)
	if program == "" || b.N < 5 {
		return
	}
	var text strings.Builder
	fmt.Fprintf(&text, "[agent]\ninterval = \"%s\"\nflush_interval = \"%[1]s\"\nomit_hostname = true\nquiet = true\n[[outputs.discard]]\n", plantEvery)
	for _, address := range addresses {
		fmt.Fprintf(&text, "[[inputs.modbus]]\nname = %q\nslave_id = 1\ntimeout = \"1s\"\ncontroller = \"tcp://%s\"\nholding_registers = [\n", address, address)
		for r := range plantRegisters {
			fmt.Fprintf(&text, "{name = \"r%d\", byte_order = \"AB\", data_type = \"UINT16\", scale = 1.0, address = [%d]},\n", r, r)
		}
		text.WriteString("]\n")
	}
	config := filepath.Join(b.TempDir(), "telegraf.conf")
	if err := os.WriteFile(config, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	counted := func() (all uint32) {
		for _, address := range addresses {
			m, err := modbus.NewMaster(modbus.MasterConfig{Link: "tcp://" + address})
			if err != nil {
				b.Fatal(err)
			}
			data, _, err := m.Read(b.Context(), modbus.Question{Unit: 1, FC: 3, From: 60000, Count: 2})
			m.Close()
			if err != nil {
				b.Fatal(err)
			}
			all += binary.BigEndian.Uint32(data)
		}
		return all
	}
	// Ours goes on meanwhile and is taken off by what it did in the same time before.
	cmd := exec.Command(program, "--config", config)
	var said strings.Builder // beside the line of figures, not in it
	cmd.Stderr = &said
	before, begun := counted(), time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	time.Sleep(time.Duration(b.N) * plantEvery)
	spent, requests := time.Since(begun), counted()-before
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
	b.Log(strings.TrimSpace(said.String()))
	ours := float64(plantMachines) * float64(spent) / float64(plantEvery)
	theirs := float64(requests) - ours
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	b.ReportMetric(100*theirs/ours, "%telegraf-polls")
	b.ReportMetric(float64(used.Microseconds())/theirs/plantRegisters, "telegraf-CPU-ms/1000registers")
}
