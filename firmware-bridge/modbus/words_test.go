package modbus_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
)

// silenceOf polls a machine until it is called silent and gives the words.
func silenceOf(t *testing.T, link string) string {
	t.Helper()
	book := newBook(map[string]uint8{"plc": 1})
	stop := run(t, newBus(t, modbus.Config{Link: link, Units: []modbus.Unit{
		{Device: "plc", ID: 1, Profile: blocks(t, 1, 100*time.Millisecond, 100*time.Millisecond), Every: time.Millisecond}}}, book))
	book.until(t, "a word", func() bool { states, _ := book.states("plc"); return len(states) > 0 })
	stop()
	book.check(t)
	states, why := book.states("plc")
	if states[0] != device.Silent || strings.Contains(why, "\n") {
		t.Errorf("%v: %q", states, why)
	}
	return why
}

// What comes over TCP and is no answer is shown, with what is wrong with it, and nobody is sent to look for
// a cable.
func TestWordsOfAMachineOnTCP(t *testing.T) {
	cut := func(a []byte, at int, more ...byte) []byte { // with the length of its header put right
		a = append(a[:at:at], more...)
		binary.BigEndian.PutUint16(a[4:], uint16(len(a)-6))
		return a
	}
	rtu := func(a []byte) []byte { return withCRC(bytes.Clone(a[6:])) }
	for name, test := range map[string]struct {
		change func(answer []byte) []byte
		want   []string
	}{
		"nothing":       {func([]byte) []byte { return nil }, []string{"no reply in time; check that the machine is on", "rtu-over-tcp://"}},
		"transaction+1": {func(a []byte) []byte { a[1]++; return a }, []string{"29 bytes came and no answer to this question: 00 02 00 00 00 17 01 03 14 ", "a whole answer came under transaction 2 for 1; where nobody else asks over this connection a link that ends with ?transaction=any takes it"}},
		"trailing":      {func(a []byte) []byte { return cut(a, len(a), 0x5F) }, []string{" 5F: 1 more than an answer has, 5F; a link that ends with ?trailing=1 takes"}},
		"exception 80":  {func(a []byte) []byte { return cut(a, 7, 0x80, 4) }, []string{"00 01 00 00 00 03 01 80 04: an exception that does not name its function (80 where 83 belongs), with the code of exception 04"}},
		"no code":       {func(a []byte) []byte { return cut(a, 7, 0x83) }, []string{"00 01 00 00 00 02 01 83: an exception without its code"}},
		"unit 255":      {func(a []byte) []byte { a[6] = 255; return a }, []string{"unit 255 answered for unit 1; unit: 255 in the file?"}},
		"unit 0":        {func(a []byte) []byte { a[6] = 0; return a }, []string{"unit 0 answered for unit 1; unit: 0 in the file?"}},
		"function 4":    {func(a []byte) []byte { a[7] = 4; return a }, []string{"function 4 answered for function 3"}},
		"short":         {func(a []byte) []byte { a[8] = 10; return cut(a, 19) }, []string{"10 bytes of data answered for 20"}},
		"half":          {func(a []byte) []byte { return a[:15] }, []string{"15 bytes came", "the header counts 23 bytes behind it, and 9 came"}},
		"protocol":      {func(a []byte) []byte { a[3] = 1; return a }, []string{"protocol 1 in the header where Modbus has 0"}},
		"length":        {func(a []byte) []byte { a[4] = 9; return a }, []string{"the header counts 2327 bytes behind it, and a frame has 2 to 254"}},
		"RTU":           {rtu, []string{"this is an answer of Modbus RTU: use a link that begins with rtu-over-tcp://"}},
		"HTTP":          {func([]byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }, []string{"this is a web server"}},
		"TLS":           {func([]byte) []byte { return []byte("\x15\x03\x01\x00\x02\x02\x0a") }, []string{"this is TLS"}},
		"an indicator":  {func([]byte) []byte { return []byte("ST,GS,  12.34kg\r\n") }, []string{`this is text, and no Modbus: "ST,GS,  12.34kg\r\n"`}},
		"ASCII":         {func([]byte) []byte { return []byte(":010302000CEE\r\n") }, []string{"this is Modbus ASCII, which is not spoken here: set the machine to RTU"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := listen(t, func(conn net.Conn) {
				request := make([]byte, 12)
				for {
					if _, err := io.ReadFull(conn, request); err != nil {
						return
					}
					if _, err := conn.Write(test.change(mbap(request, respond(request[6:])))); err != nil {
						return
					}
				}
			})
			for _, query := range []string{"", "?trailing=0"} { // the library, and a look
				why := silenceOf(t, "tcp://"+address+query)
				for _, want := range test.want {
					if !strings.Contains(why, want) {
						t.Errorf("%q does not say %q", why, want)
					}
				}
				for _, never := range []string{"baud", "cable", "format"} {
					if strings.Contains(why, never) {
						t.Errorf("over TCP nobody has a %s: %q", never, why)
					}
				}
			}
		})
	}
}

// The same of a serial line, behind a terminal server.
func TestWordsOfAMachineOnASerialLine(t *testing.T) {
	meter := []byte{0xFE, 0xFE, 0xFE, 0xFE, 0x68, 0x12, 0x34, 0x56, 0x78, 0x90, 0x12, 0x68, 0x91, 0x08, 0x33, 0x33, 0x34, 0x33, 0x78, 0x56, 0x34, 0x12, 0xAA, 0x16}
	for name, test := range map[string]struct {
		change func(request, answer []byte) []byte
		want   string
	}{
		"nothing":         {func(_, _ []byte) []byte { return nil }, "as the terminal server has them; is it Modbus TCP (a link that begins with tcp://)?"},
		"function 4":      {func(_, a []byte) []byte { a[1] = 4; return withCRC(a[:len(a)-2]) }, ": 01 04 02 01 00"},
		"function 4 said": {func(_, a []byte) []byte { a[1] = 4; return withCRC(a[:len(a)-2]) }, ": function 4 answered for function 3"},
		"unit 2":          {func(_, a []byte) []byte { a[0] = 2; return withCRC(a[:len(a)-2]) }, ": unit 2 answered for unit 1; unit: 2 in the file?"},
		"length":          {func(_, _ []byte) []byte { return withCRC([]byte{1, 3, 4, 0, 0, 0, 0}) }, ": 4 bytes of data answered for 2"},
		"CRC":             {func(_, a []byte) []byte { a[4] ^= 0x40; return a }, "an answer whose CRC is"},
		"half":            {func(_, a []byte) []byte { return a[:4] }, "the first 4 of the 7 bytes of an answer"},
		"echo":            {func(r, _ []byte) []byte { return bytes.Clone(r) }, "only the request came back, and nobody answered: an adapter that hears itself has echo=1"},
		"noise":           {func(_, _ []byte) []byte { return []byte{0x80, 0xFF, 0x00} }, "3 bytes came and no answer to this question: 80 FF 00: no frame is among them: is the speed or the format another"},
		"a meter":         {func(_, _ []byte) []byte { return meter }, "this is DL/T 645, which is not spoken here: set the meter to Modbus RTU"},
		"ASCII":           {func(_, _ []byte) []byte { return []byte(":010302000CEE\r\n") }, "this is Modbus ASCII, which is not spoken here"},
		"Modbus TCP":      {func(_, a []byte) []byte { return mbap(make([]byte, 12), a[:len(a)-2]) }, "this is a frame of Modbus TCP: use a link that begins with tcp://"},
		"text":            {func(_, _ []byte) []byte { return []byte("=0012.34=0012.34") }, `this is text, and no Modbus: "=0012.34=0012.34"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := listen(t, func(conn net.Conn) {
				(&slave{end: conn, reply: func(_ uint8, request, answer []byte) []byte { return test.change(request, answer) }}).serve()
			})
			if why := silenceOf(t, "rtu-over-tcp://"+address+"?baud=115200"); !strings.Contains(why, test.want) {
				t.Errorf("%q does not say %q", why, test.want)
			} else if name != "nothing" && strings.Contains(why, "power") && name != "echo" {
				t.Errorf("bytes came: nobody need look for power and cable: %q", why)
			}
		})
	}
}

// numbering is a gateway that answers under transactions of its own, and sends each answer again a while
// later.
func numbering(t *testing.T, first, step uint16, copies time.Duration) (address string) {
	return listen(t, func(conn net.Conn) {
		var mu sync.Mutex
		var later sync.WaitGroup
		defer later.Wait()
		defer conn.Close()
		request := make([]byte, 12)
		for id := first; ; id += step {
			if _, err := io.ReadFull(conn, request); err != nil {
				return
			}
			answer := mbap(request, respond(request[6:]))
			binary.BigEndian.PutUint16(answer, id)
			send := func() {
				mu.Lock()
				defer mu.Unlock()
				conn.Write(answer)
			}
			if copies > 0 {
				// The copy of the last answer comes when the next question is asked, and the answer after it.
				later.Go(func() { time.Sleep(copies); send() })
			}
			send()
		}
	})
}

// A link that takes any transaction reads such gateways, and a copy of the last answer is never the next.
func TestAnyTransactionIsTakenOnce(t *testing.T) {
	poll := func(t *testing.T, address string, trust bool) *book {
		book := newBook(map[string]uint8{"plc": 1})
		bus := newBus(t, modbus.Config{Link: "tcp://" + address + "?transaction=any", Units: []modbus.Unit{
			{Device: "plc", ID: 1, Profile: blocks(t, 2, patient, patient), Every: time.Millisecond}}}, book)
		if trust {
			bus.TrustCopies()
		}
		stop := run(t, bus)
		book.until(t, "scans", func() bool { return book.scans["plc"] >= 20 || len(book.wrong) > 0 })
		stop()
		return book
	}
	for name, gateway := range map[string]struct {
		first, step uint16
		copies      time.Duration
	}{"one more": {2, 1, 0}, "always 0": {0, 0, 0}, "numbers of its own": {700, 3, 0}, "copies at once": {2, 1, time.Microsecond}, "copies later": {2, 1, 12 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			poll(t, numbering(t, gateway.first, gateway.step, gateway.copies), false).check(t)
		})
	}
	t.Run("negative control", func(t *testing.T) {
		t.Parallel()
		if book := poll(t, numbering(t, 2, 1, time.Microsecond), true); len(book.wrong) == 0 {
			t.Error("copies were believed and nothing went wrong: this proves nothing")
		}
	})
	t.Run("without the link's word", func(t *testing.T) {
		t.Parallel()
		if why := silenceOf(t, "tcp://"+numbering(t, 2, 1, 0)); !strings.Contains(why, "transaction 2 for 1") {
			t.Error(why)
		}
	})
}

// A gateway whose header counts a byte behind the answer is read where the link says so.
func TestTrailingByteThatTheHeaderCounts(t *testing.T) {
	t.Parallel()
	address := listen(t, func(conn net.Conn) {
		request := make([]byte, 12)
		for {
			if _, err := io.ReadFull(conn, request); err != nil {
				return
			}
			answer := append(mbap(request, respond(request[6:])), 0x5F)
			answer[5]++
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	})
	m := newMaster(t, modbus.MasterConfig{Link: "tcp://" + address + "?trailing=1", Timeout: patient})
	data, _, err := m.Read(t.Context(), modbus.Question{Unit: 1, FC: 3, From: 5, Count: 2})
	if want := respond(modbus.Ask(1, 3, 5, 2)[:6])[3:]; err != nil || !bytes.Equal(data, want) {
		t.Errorf("% X, %v, want % X", data, err, want)
	}
	strict := newMaster(t, modbus.MasterConfig{Link: "tcp://" + address, Timeout: 500 * time.Millisecond})
	q := modbus.Question{Unit: 1, FC: 3, From: 5, Count: 2}
	if _, _, err = strict.Read(t.Context(), q); err == nil {
		t.Fatal("taken without the link's word")
	}
	if err := strict.Look(t.Context(), q, err); !strings.Contains(err.Error(), "1 more than an answer has, 5F") {
		t.Error(err)
	}
}
