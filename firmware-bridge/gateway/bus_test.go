package gateway_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"steelyard/firmware-bridge/gateway"
	"steelyard/firmware-bridge/sim"
)

func TestManyClientsOfOneLine(t *testing.T) {
	t.Parallel()
	bus, line := machines(t, 1, 2, 3)
	address := serve(t, gateway.Config{Buses: []gateway.Bus{busOf(line, 0)}})["127.0.0.1:0"]
	var all sync.WaitGroup
	var asked atomic.Int64
	for i := range 20 {
		c := dial(t, address)
		all.Go(func() {
			for j := range 15 {
				c.right(byte(1+(i+j)%3), byte(3+j%2), (i*17+j*5)%400, 1+(i+j)%90)
				asked.Add(1)
			}
		})
	}
	all.Wait()
	if got := bus.Requests(); got > asked.Load() {
		t.Errorf("%d requests on the line for %d questions", got, asked.Load())
	}
}

// A client that always has questions waiting does not starve one that has few, and who sends many at
// once gets the right answers in their order.
func TestClientsTakeTurns(t *testing.T) {
	t.Parallel()
	_, line := machines(t, 1)
	address := serve(t, gateway.Config{Buses: []gateway.Bus{busOf(line, 0)}})["127.0.0.1:0"]
	greedy := dial(t, address)
	asked, over := make(chan int, 200), make(chan struct{}) // as many questions wait, until the other has had its turns
	var all sync.WaitGroup
	all.Go(func() {
		defer close(asked)
		for i := 0; ; i++ {
			select {
			case <-over:
				return
			case asked <- i:
			}
			if _, err := greedy.Write([]byte{byte(i >> 8), byte(i), 0, 0, 0, 6, 1, 3, 0, byte(i), 0, 1}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	all.Go(func() {
		for i := range asked {
			reply := make([]byte, 11)
			if _, err := io.ReadFull(greedy, reply); err != nil {
				t.Errorf("reply %d: %v", i, err)
				greedy.Close()
			}
			if got, want := binary.BigEndian.Uint16(reply[9:]), holds(1, i&0xFF); binary.BigEndian.Uint16(reply) != uint16(i) || got != want {
				t.Errorf("reply %d: % X, want %d", i, reply, want)
			}
		}
	})
	modest := dial(t, address)
	for i := range 20 {
		modest.right(1, 3, 300+i, 2)
	}
	close(over)
	all.Wait()
}

// Ten clients who ask for the same cost one read per max_age; what is asked for again after it is
// read again.
func TestCache(t *testing.T) {
	t.Parallel()
	bus, line := machines(t, 1)
	address := serve(t, gateway.Config{Buses: []gateway.Bus{busOf(line, time.Hour)}})["127.0.0.1:0"]
	dial(t, address).right(1, 3, 0, 60)
	for range 10 {
		c := dial(t, address)
		c.right(1, 3, 0, 60)
		c.right(1, 3, 10, 2) // a part of it
	}
	if got := bus.Requests(); got != 1 {
		t.Errorf("%d requests on the line, want 1", got)
	}
	c := dial(t, address)
	c.right(1, 3, 50, 20) // only half of it is there
	c.right(1, 4, 0, 10)  // another table
	if got := bus.Requests(); got != 3 {
		t.Errorf("%d requests on the line, want 3", got)
	}

	bus, line = machines(t, 1)
	address = serve(t, gateway.Config{Buses: []gateway.Bus{busOf(line, 30*time.Millisecond)}})["127.0.0.1:0"]
	c = dial(t, address)
	for range 10 {
		c.right(1, 3, 0, 60)
		time.Sleep(31 * time.Millisecond) // the age that is tested
	}
	if got := bus.Requests(); got != 10 {
		t.Errorf("%d requests on the line, want 10", got)
	}
}

// Without max_age, those who wait at the same time still share a read that began after they asked.
func TestQuestionsThatWaitShareARead(t *testing.T) {
	t.Parallel()
	bus, line := machines(t, 1)
	bus.Fault(sim.LinkFault{Kind: sim.LateReply, Delay: 500 * time.Millisecond}) // long enough for all to have asked
	address := serve(t, gateway.Config{Buses: []gateway.Bus{busOf(line, 0)}})["127.0.0.1:0"]
	var all sync.WaitGroup
	for range 12 {
		c := dial(t, address)
		all.Go(func() { c.right(1, 3, 0, 10) })
	}
	all.Wait()
	if got := bus.Requests(); got > 6 {
		t.Errorf("%d requests on the line for 12 equal questions", got)
	}
}

// Every function but 1 to 4, and every malformed read, is refused by the gateway and does not
// reach the line.
func TestOnlyReadsReachTheLine(t *testing.T) {
	t.Parallel()
	bus, line := machines(t, 1)
	b := busOf(line, 0)
	b.Units = []uint8{1, 2}
	address := serve(t, gateway.Config{Buses: []gateway.Bus{b}})["127.0.0.1:0"]
	c := dial(t, address)
	refuse := func(unit, want byte, pdu ...byte) {
		t.Helper()
		c.send(unit, pdu...)
		if got := c.receive(unit); !bytes.Equal(got, []byte{pdu[0] | 0x80, want}) {
			t.Errorf("unit %d % X: reply % X, want exception %02X", unit, pdu, got, want)
		}
	}
	for fc := range 256 {
		if fc < 1 || fc > 4 {
			refuse(1, 1, byte(fc), 0, 0, 0, 1)
			refuse(1, 1, byte(fc))
			refuse(1, 1, append([]byte{byte(fc), 0, 0, 0, 1, 2, 0, 7}, make([]byte, 245)...)...)
		}
	}
	for fc := byte(1); fc <= 4; fc++ {
		refuse(1, 3, fc)
		refuse(1, 3, fc, 0, 0, 0)
		refuse(1, 3, fc, 0, 0, 0, 1, 0)
		refuse(1, 3, fc, 0, 0, 0, 0)
		refuse(1, 3, fc, 0, 0, 0xFF, 0xFF)
		refuse(1, 2, fc, 0xFF, 0xFF, 0, 2)
		for _, unit := range []byte{0, 3, 247, 248, 255} {
			refuse(unit, 0x0A, fc, 0, 0, 0, 1)
		}
	}
	refuse(1, 3, 3, 0, 0, 0, 126)
	refuse(1, 3, 1, 0, 0, 0x07, 0xD1)
	if got := bus.Requests(); got != 0 {
		t.Errorf("%d requests reached the line", got)
	}
	c.right(1, 3, 0, 125)
	if _, exception := c.ask(1, 3, 490, 20); exception != 2 {
		t.Errorf("exception %02X of the machine, want 02", exception)
	}
}

// What is no Modbus ends the connection, and only that one.
func TestNonsenseEndsItsConnection(t *testing.T) {
	t.Parallel()
	_, line := machines(t, 1)
	address := serve(t, gateway.Config{Buses: []gateway.Bus{busOf(line, 0)}})["127.0.0.1:0"]
	good := dial(t, address)
	for _, nonsense := range [][]byte{
		[]byte("GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"),
		[]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		{0, 1, 0, 1, 0, 6, 1, 3, 0, 0, 0, 1},
		{0, 1, 0, 0, 0, 1, 1, 3},
		{0, 1, 0, 0, 0, 0, 1},
		{0, 1, 0, 0, 1, 0, 1, 3},
		{0, 1, 0, 0, 0, 6, 1}, // the rest never comes
	} {
		conn := dial(t, address)
		if _, err := conn.Write(nonsense); err != nil {
			t.Fatal(err)
		}
		closed(t, conn)
		good.right(1, 3, 0, 5)
	}
}

// A client that asks and takes no answer holds up nobody.
func TestClientThatTakesNoAnswer(t *testing.T) {
	t.Parallel()
	_, line := machines(t, 1)
	address := serve(t, gateway.Config{Buses: []gateway.Bus{busOf(line, time.Hour)}})["127.0.0.1:0"]
	deaf := dial(t, address)
	if err := deaf.Conn.(*net.TCPConn).SetReadBuffer(2048); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		request := bytes.Repeat([]byte{0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 125}, 1000)
		for {
			if _, err := deaf.Write(request); err != nil {
				return // cut by the gateway
			}
		}
	})
	c := dial(t, address)
	for range 50 {
		c.right(1, 3, 0, 10)
	}
	all.Wait() // it is cut without our doing
	c.right(1, 3, 0, 10)
}

// An unplugged line is answered with 0Bh at once, never out of the cache, and mends itself.
func TestUnpluggedLine(t *testing.T) {
	t.Parallel()
	_, line := machines(t, 1)
	b := busOf(line, time.Minute)
	b.Latency = time.Second // after which it is asked again
	address := serve(t, gateway.Config{Buses: []gateway.Bus{b}})["127.0.0.1:0"]
	c := dial(t, address)
	c.right(1, 3, 0, 10)
	if err := line.Unplug(); err != nil {
		t.Fatal(err)
	}
	// A register that is not in the cache shows the gateway that the line is gone.
	if _, exception := c.ask(1, 3, 100, 10); exception != 0x0B {
		t.Errorf("exception %02X, want 0B", exception)
	}
	// The first answer is younger than max_age, but it is of a machine that may be gone.
	for range 5 {
		if words, exception := c.ask(1, 3, 0, 10); exception != 0x0B {
			t.Fatalf("%v, exception %02X of an unplugged line, want 0B", words, exception)
		}
	}
	if err := line.Replug(); err != nil {
		t.Fatal(err)
	}
	until(t, "answers again", func() bool { _, exception := c.ask(1, 3, 0, 10); return exception == 0 })
	c.right(1, 3, 0, 10)
}

// A unit that is switched off is 0Bh and forgotten; the others on its line answer as before.
func TestDeadUnitBehindTheGateway(t *testing.T) {
	t.Parallel()
	bus, line := machines(t, 1, 2)
	b := busOf(line, time.Minute)
	b.Timeout, b.Latency = time.Second, 1200*time.Millisecond
	address := serve(t, gateway.Config{Buses: []gateway.Bus{b}})["127.0.0.1:0"]
	c := dial(t, address)
	c.right(2, 3, 0, 10)
	bus.Fault(sim.LinkFault{Kind: sim.DroppedReply, Unit: 2})
	if _, exception := c.ask(2, 3, 100, 10); exception != 0x0B {
		t.Errorf("exception %02X, want 0B", exception)
	}
	requests, begun := bus.Requests(), time.Now()
	for i := range 50 {
		if _, exception := c.ask(2, 3, 0, 10); exception != 0x0B {
			t.Fatalf("exception %02X of a dead unit, want 0B", exception)
		}
		c.right(1, 3, i, 1+i)
	}
	// Fifty reads of the living, and of the dead one hardly any: one a second at the most.
	if got, most := bus.Requests()-requests, 51+int64(time.Since(begun)/time.Second); got > most {
		t.Errorf("%d requests on the line, want %d at the most", got, most)
	}
	bus.Fault(sim.LinkFault{})
	until(t, "the unit answers again", func() bool { _, exception := c.ask(2, 3, 0, 10); return exception == 0 })
}

// Behind another gateway, which answers 0Bh for a unit that is switched off, that unit is asked less and
// less often, its old answers are forgotten, and the others are asked as before.
func TestDeadUnitBehindAnotherGateway(t *testing.T) {
	t.Parallel()
	bus, line := machines(t, 1, 2)
	inner := serve(t, gateway.Config{Buses: []gateway.Bus{func() gateway.Bus {
		b := busOf(line, 0)
		b.Timeout, b.Latency = time.Second, 1200*time.Millisecond
		return b
	}()}})["127.0.0.1:0"]
	address := serve(t, gateway.Config{Buses: []gateway.Bus{{Name: "far", Link: "tcp://" + inner, Timeout: patient, MaxAge: time.Minute,
		Patience: time.Minute, Serve: here(4)}}})["127.0.0.1:0"]
	c := dial(t, address)
	c.right(2, 3, 0, 10)
	bus.Fault(sim.LinkFault{Kind: sim.DroppedReply, Unit: 2})
	if _, exception := c.ask(2, 3, 100, 10); exception != 0x0B {
		t.Errorf("exception %02X, want 0B", exception)
	}
	if words, exception := c.ask(2, 3, 0, 10); exception != 0x0B {
		t.Errorf("%v, exception %02X: what a dead unit once said, want 0B", words, exception)
	}
	for i := range 20 {
		c.right(1, 3, i, 1+i)
	}
	bus.Fault(sim.LinkFault{})
	until(t, "the unit answers again", func() bool { _, exception := c.ask(2, 3, 0, 10); return exception == 0 })
}

// Replies that come after the time-out never answer another question.
func TestLateRepliesBehindTheGateway(t *testing.T) {
	t.Parallel()
	bus, line := machines(t, 1)
	b := busOf(line, 0)
	b.Timeout, b.Latency = 20*time.Millisecond, 30*time.Millisecond
	address := serve(t, gateway.Config{Buses: []gateway.Bus{b}})["127.0.0.1:0"]
	c := dial(t, address)
	late := 0
	for i := 0; late < 20; i++ {
		if i%3 == 0 {
			bus.Fault(sim.LinkFault{Kind: sim.LateReply, Delay: 60 * time.Millisecond, Times: 1})
		}
		from := i * 7 % 400
		words, exception := c.ask(1, 3, from, 10) // all of one length
		if exception == 0x0B {
			late++
			time.Sleep(15 * time.Millisecond) // the client's own pause
			continue
		}
		for j, w := range words {
			if w != holds(1, from+j) {
				t.Fatalf("register %d = %d, holds %d", from+j, w, holds(1, from+j))
			}
		}
	}
}

// A device that takes one connection only, behind the gateway: many clients, one connection.
func TestOneConnectionDevice(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int32
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if connections.Add(1) > 1 {
				conn.Close()
				continue
			}
			all.Go(func() {
				defer conn.Close()
				request := make([]byte, 12)
				for {
					if _, err := io.ReadFull(conn, request); err != nil {
						return
					}
					from, count := int(binary.BigEndian.Uint16(request[8:])), int(binary.BigEndian.Uint16(request[10:]))
					reply := append([]byte{request[0], request[1], 0, 0, 0, byte(3 + 2*count)}, request[6], request[7], byte(2*count))
					for i := range count {
						reply = binary.BigEndian.AppendUint16(reply, holds(int(request[6]), from+i))
					}
					if _, err := conn.Write(reply); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	address := serve(t, gateway.Config{Buses: []gateway.Bus{{Name: "logger", Link: "tcp://" + l.Addr().String(), Timeout: patient, Patience: time.Minute, Serve: here(16)}}})["127.0.0.1:0"]
	var clients sync.WaitGroup
	for i := range 10 {
		c := dial(t, address)
		clients.Go(func() {
			for j := range 20 {
				c.right(byte(50*(i%6)), 3, i*20+j, 5) // also the units 0 and 250, which TCP has
			}
		})
	}
	clients.Wait()
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections to the device", n)
	}
}

// mbpoll and libmodbus are clients that we did not write.
func TestMbpollAndLibmodbus(t *testing.T) {
	t.Parallel()
	bus, line := machines(t, 1)
	address := serve(t, gateway.Config{Buses: []gateway.Bus{busOf(line, 0)}})["127.0.0.1:0"]
	host, port, _ := net.SplitHostPort(address)
	out, err := exec.Command("mbpoll", "-m", "tcp", "-p", port, "-a", "1", "-0", "-r", "100", "-c", "5", "-t", "4", "-o", "10", "-1", host).CombinedOutput()
	if want := fmt.Sprintf("[104]: \t%d", holds(1, 104)); err != nil || !strings.Contains(string(out), want) {
		t.Errorf("mbpoll: %v, no %q in:\n%s", err, want, out)
	}
	before := bus.Requests()
	out, err = exec.Command("mbpoll", "-m", "tcp", "-p", port, "-a", "1", "-0", "-r", "100", "-t", "4", "-o", "10", "-1", host, "7").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Illegal function") {
		t.Errorf("mbpoll could write: %v\n%s", err, out)
	}
	if bus.Requests() != before {
		t.Error("the write reached the line")
	}

	flags, err := exec.Command("pkg-config", "--cflags", "--libs", "libmodbus").Output()
	if err != nil {
		t.Fatalf("pkg-config libmodbus: %v; install libmodbus-dev and pkg-config (.ci/peers does)", err)
	}
	binary := filepath.Join(t.TempDir(), "client")
	if out, err := exec.Command("gcc", append([]string{"-o", binary, "testdata/peers/client.c"}, strings.Fields(string(flags))...)...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	out, err = exec.Command(binary, host, port, "1").CombinedOutput()
	var bits strings.Builder
	for i := 16; i < 36; i++ {
		bits.WriteString(fmt.Sprint(holds(1, i/16) >> (i % 16) & 1))
	}
	want := fmt.Sprintf("holding %d %d\ninput %[1]d %[2]d\ncoils%[3]s\ninputs%[3]s\nrefused 111111\n", holds(1, 100), holds(1, 109), bits.String())
	if err != nil || string(out) != want {
		t.Errorf("libmodbus: %v\n%s\nwant\n%s", err, out, want)
	}
}
