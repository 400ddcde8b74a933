package modbus_test

import (
	"fmt"
	"io"
	"log"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	library "github.com/simonvetter/modbus"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
)

// counted is a sink that only counts.
type counted struct{ scans chan struct{} }

func (counted) Weight(device.Weight) {}
func (counted) Health(device.Health) {}
func (c counted) Scan(device.Scan)   { c.scans <- struct{}{} }

// wide is a profile of one block.
func wide(t testing.TB, count int) *modbus.Profile {
	t.Helper()
	var text strings.Builder
	text.WriteString("profile: wide\nstatus: bench\nsources: [{doc: test}]\naddress_base: 0\nlimits: {timeout_ms: 1000}\npoints:\n")
	for r := range count {
		fmt.Fprintf(&text, "  - {name: r%d, at: %d, type: u16}\n", r, r)
	}
	return load(t, text.String())
}

// pace makes a slave take exactly the time that its line takes: the request's eight characters,
// the silence, the reply; all of it arrives with its last character, as USB adapters hand it on.
func pace(baud int) func(uint8, []byte, []byte) []byte {
	char := 11 * time.Second / time.Duration(baud)
	silence := char * 7 / 2
	if baud > 19200 {
		silence = 1750 * time.Microsecond
	}
	return func(_ uint8, _, answer []byte) []byte {
		until := time.Now().Add(8*char + silence + time.Duration(len(answer))*char)
		for d := time.Until(until); d > 0; d = time.Until(until) {
			if d > 100*time.Microsecond {
				t := syscall.NsecToTimespec(int64(d - 80*time.Microsecond))
				_ = syscall.Nanosleep(&t, nil)
			}
		}
		return answer
	}
}

// BenchmarkLine says what share of the possible requests five units on a paced line get: ours, and
// beside it the library alone in the same run. The library is on TCP, so the like of it is "tcp";
// "pty" has the kernel's terminal between the ends.
func BenchmarkLine(b *testing.B) {
	for _, baud := range []int{9600, 19200, 115200} {
		for _, count := range []int{60, 10} {
			possible := modbus.Wire{Baud: baud}.Cost(count)
			ours := func(b *testing.B, link string) {
				sink := counted{make(chan struct{}, 1024)}
				var units []modbus.Unit
				for id := uint8(1); id <= 5; id++ {
					units = append(units, modbus.Unit{Device: fmt.Sprint("m", id), ID: id, Profile: wide(b, count), Every: time.Millisecond})
				}
				stop := run(b, newBus(b, modbus.Config{Link: fmt.Sprintf("%s?baud=%d", link, baud), Units: units}, sink))
				<-sink.scans
				b.ResetTimer()
				for range b.N {
					<-sink.scans
				}
				b.ReportMetric(100*float64(possible)*float64(b.N)/float64(b.Elapsed()), "%line")
				b.StopTimer()
				go func() {
					for range sink.scans {
					}
				}()
				stop()
				close(sink.scans)
			}
			b.Run(fmt.Sprintf("pty/%d/%d", baud, count), func(b *testing.B) {
				ours(b, "rtu://"+onPty(b, &slave{reply: pace(baud)}))
			})
			b.Run(fmt.Sprintf("tcp/%d/%d", baud, count), func(b *testing.B) {
				ours(b, "rtu-over-tcp://"+listen(b, func(conn net.Conn) { (&slave{end: conn, reply: pace(baud)}).serve() }))
			})
			b.Run(fmt.Sprintf("library/%d/%d", baud, count), func(b *testing.B) {
				address := listen(b, func(conn net.Conn) { (&slave{end: conn, reply: pace(baud)}).serve() })
				client, err := library.NewClient(&library.ClientConfiguration{URL: "rtuovertcp://" + address, Speed: uint(baud),
					Timeout: time.Second, Logger: log.New(io.Discard, "", 0)})
				if err != nil || client.Open() != nil {
					b.Fatal(err)
				}
				defer client.Close()
				b.ResetTimer()
				for i := range b.N {
					client.SetUnitId(uint8(1 + i%5))
					if _, err := client.ReadRawBytes(0, uint16(2*count), library.HOLDING_REGISTER); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(100*float64(possible)*float64(b.N)/float64(b.Elapsed()), "%line")
			})
		}
	}
}

// BenchmarkTCP is one machine of 60 registers on loopback.
func BenchmarkTCP(b *testing.B) {
	address := listen(b, func(conn net.Conn) {
		request := make([]byte, 12)
		for {
			if _, err := io.ReadFull(conn, request); err != nil {
				return
			}
			if _, err := conn.Write(mbap(request, respond(request[6:]))); err != nil {
				return
			}
		}
	})
	// A hundred units behind one gateway, each due every millisecond: the bus never waits.
	var units []modbus.Unit
	profile := wide(b, 60)
	for id := uint8(1); id <= 100; id++ {
		units = append(units, modbus.Unit{Device: fmt.Sprint("m", id), ID: id, Profile: profile, Every: time.Millisecond})
	}
	sink := counted{make(chan struct{}, 1024)}
	stop := run(b, newBus(b, modbus.Config{Link: "tcp://" + address, Units: units}, sink))
	<-sink.scans
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		<-sink.scans
	}
	b.StopTimer()
	go func() {
		for range sink.scans {
		}
	}()
	stop()
	close(sink.scans)
}

func BenchmarkDecode(b *testing.B) {
	p := wide(b, 60)
	r := map[modbus.Register]uint16{}
	for a := range uint16(60) {
		r[modbus.Register{FC: 3, Address: a}] = a
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Decode(r)
	}
}
