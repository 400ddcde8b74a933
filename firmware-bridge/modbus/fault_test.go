package modbus_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
)

// act is what a scripted machine does with a request instead of answering it rightly. It returns
// whether the connection goes on.
type act func(conn net.Conn, request, answer []byte) bool

func send(change func(answer []byte) []byte) act {
	return func(conn net.Conn, _, answer []byte) bool {
		_, err := conn.Write(change(bytes.Clone(answer)))
		return err == nil
	}
}

// put overwrites bytes of the frame: header 0-1 transaction, 2-3 protocol, 4-5 length, 6 unit,
// 7 function, 8 byte count.
func put(at int, values ...byte) act {
	return send(func(a []byte) []byte { copy(a[at:], values); return a })
}

// crooked are the faults of a Modbus TCP machine or gateway.
func crooked() map[string]act {
	faults := map[string]act{
		"half a frame, then nothing": send(func(a []byte) []byte { return a[:len(a)/2] }),
		"half a frame, then the end": func(conn net.Conn, _, a []byte) bool { conn.Write(a[:9]); return false },
		"only the header":            send(func(a []byte) []byte { return a[:7] }),
		"nothing":                    send(func([]byte) []byte { return nil }),
		"reset": func(conn net.Conn, _, _ []byte) bool {
			conn.(*net.TCPConn).SetLinger(0)
			return false
		},
		"reply and the end":          func(conn net.Conn, _, a []byte) bool { conn.Write(a); return false },
		"another unit":               put(6, 9),
		"unit 0":                     put(6, 0),
		"unit 255":                   put(6, 255),
		"another transaction":        put(0, 0x77, 0x77),
		"another protocol":           put(2, 1, 1),
		"another function":           put(7, 4),
		"a write function":           put(7, 16),
		"length 0":                   put(4, 0, 0),
		"length 1":                   put(4, 0, 1),
		"length 2":                   put(4, 0, 2),
		"length 253":                 put(4, 0, 253),
		"length 65535":               put(4, 0xFF, 0xFF),
		"byte count odd":             put(8, 19),
		"byte count short":           put(8, 10),
		"byte count long":            put(8, 40),
		"fewer registers, all right": send(func(a []byte) []byte { a[5], a[8] = 13, 10; return a[:19] }),
		"bytes after the reply":      send(func(a []byte) []byte { return append(a, 1, 2, 3) }),
		"two replies": send(func(a []byte) []byte {
			second := bytes.Clone(a)
			second[9] ^= 0xFF // another value in it
			return append(a, second...)
		}),
		"a TLS hello": send(func([]byte) []byte { return []byte("\x16\x03\x01\x00\x05hello") }),
		"HTTP":        send(func([]byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }),
		"a byte at a time": func(conn net.Conn, _, a []byte) bool {
			for i := range a {
				if _, err := conn.Write(a[i : i+1]); err != nil {
					return false
				}
				time.Sleep(5 * time.Millisecond) // the fault itself: slower than the time-out
			}
			return true
		},
	}
	for _, code := range []byte{0, 4, 5, 6, 7, 8, 10, 11, 0x41, 255} {
		faults[fmt.Sprintf("exception %d", code)] = send(func(a []byte) []byte {
			return []byte{a[0], a[1], 0, 0, 0, 3, a[6], a[7] | 0x80, code}
		})
	}
	return faults
}

func TestFaultsOnTCP(t *testing.T) {
	for name, fault := range crooked() {
		// The link that takes answers by other rules stands the same.
		for _, query := range []string{"", "?trailing=1", "?transaction=any&trailing=1"} {
			t.Run(name+query, func(t *testing.T) { standsFault(t, fault, query) })
		}
	}
}

func standsFault(t *testing.T, fault act, query string) {
	t.Parallel()
	var mu sync.Mutex
	asked, done := 0, 0
	address := listen(t, func(conn net.Conn) {
		conn.Write([]byte{0x77, 0x78, 0, 0, 0, 5, 1, 3, 2, 0, 0}) // a reply to nobody
		request := make([]byte, 12)
		for {
			if _, err := io.ReadFull(conn, request); err != nil {
				return
			}
			if request[7] != 3 && request[7] != 4 {
				t.Errorf("function %d was sent", request[7])
			}
			answer := mbap(request, respond(request[6:]))
			mu.Lock()
			asked++
			bad := asked%4 == 3
			if bad {
				done++
			}
			mu.Unlock()
			if bad {
				if !fault(conn, request, answer) {
					return
				}
			} else if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	})
	book := newBook(map[string]uint8{"plc": 1})
	bus := newBus(t, modbus.Config{Link: "tcp://" + address + query, Units: []modbus.Unit{
		{Device: "plc", ID: 1, Profile: blocks(t, 2, 50*time.Millisecond, 60*time.Millisecond), Every: time.Millisecond}}}, book)
	stop := run(t, bus)
	book.until(t, "scans between faults", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return done >= 3 && book.scans["plc"] >= 3
	})
	stop()
	book.check(t)
}

// A serial line has no transactions: everything rests on unit, function, length and CRC.
func TestFaultsOnASerialLine(t *testing.T) {
	type change func(request, answer []byte) []byte
	faults := map[string]change{
		"nothing":                 func(_, _ []byte) []byte { return nil },
		"half a frame":            func(_, a []byte) []byte { return a[:len(a)/2] },
		"CRC wrong":               func(_, a []byte) []byte { a[len(a)-1] ^= 1; return a },
		"CRC high byte first":     func(_, a []byte) []byte { n := len(a); a[n-1], a[n-2] = a[n-2], a[n-1]; return a },
		"a value changed":         func(_, a []byte) []byte { a[5] ^= 0x40; return a },
		"another unit, right CRC": func(_, a []byte) []byte { a[0] = 2; return withCRC(a[:len(a)-2]) },
		"another function":        func(_, a []byte) []byte { a[1] = 4; return withCRC(a[:len(a)-2]) },
		"another length, right CRC": func(_, a []byte) []byte {
			a[2] = min(10, a[2]-2) // the question of another length has a shorter answer
			return withCRC(a[:3+a[2]])
		},
		"broadcast":            func(_, a []byte) []byte { a[0] = 0; return withCRC(a[:len(a)-2]) },
		"echo of the request":  func(r, a []byte) []byte { return append(bytes.Clone(r), a...) },
		"only the echo":        func(r, _ []byte) []byte { return bytes.Clone(r) },
		"noise before":         func(_, a []byte) []byte { return append([]byte{0, 0xFF, 1}, a...) },
		"noise after":          func(_, a []byte) []byte { return append(a, 0xFF, 1, 3) },
		"300 bytes":            func(_, _ []byte) []byte { return bytes.Repeat([]byte{1, 3, 20}, 100) },
		"5000 bytes":           func(_, _ []byte) []byte { return bytes.Repeat([]byte{1}, 5000) },
		"exception, CRC wrong": func(_, _ []byte) []byte { return []byte{1, 0x83, 2, 0, 0} },
		"exception 6":          func(_, _ []byte) []byte { return withCRC([]byte{1, 0x83, 6}) },
		"exception 11":         func(_, _ []byte) []byte { return withCRC([]byte{1, 0x83, 11}) },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			asked, done := 0, 0
			path := onPty(t, &slave{reply: func(_ uint8, request, answer []byte) []byte {
				mu.Lock()
				defer mu.Unlock()
				if asked++; asked%4 != 3 {
					return answer
				}
				done++
				return fault(request, answer)
			}})
			book := newBook(map[string]uint8{"plc": 1})
			bus := newBus(t, modbus.Config{Link: "rtu://" + path + "?baud=115200", Units: []modbus.Unit{
				{Device: "plc", ID: 1, Profile: blocks(t, 2, 30*time.Millisecond, 40*time.Millisecond), Every: time.Millisecond}}}, book)
			stop := run(t, bus)
			book.until(t, "scans between faults", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return done >= 3 && book.scans["plc"] >= 3
			})
			stop()
			book.check(t)
		})
	}
}

// One dead unit of five: the living are polled as often as if it were not there.
func TestDeadUnitDoesNotSlowTheLiving(t *testing.T) {
	t.Parallel()
	profile := blocks(t, 1, 50*time.Millisecond, 60*time.Millisecond)
	synctest.Test(t, func(t *testing.T) {
		line := &paced{wire: modbus.Wire{Baud: 115200}}
		line.answer = func(unit uint8, from uint16, count int) ([]byte, error) {
			if unit == 3 {
				return nil, modbus.ErrNoReply
			}
			return respond([]byte{unit, 3, byte(from >> 8), byte(from), 0, byte(count)})[3:], nil
		}
		ids := map[string]uint8{"m1": 1, "m2": 2, "m3": 3, "m4": 4, "m5": 5}
		book := newBook(ids)
		var units []modbus.Unit
		for id := uint8(1); id <= 5; id++ {
			units = append(units, modbus.Unit{Device: fmt.Sprintf("m%d", id), ID: id, Profile: profile, Every: 50 * time.Millisecond})
		}
		const span = time.Minute
		within(t, span, newBus(t, modbus.Config{Link: "rtu:///dev/memory?baud=115200", Units: units}, book), line)
		book.check(t)
		asked := map[uint8]int{}
		for _, q := range line.asked {
			asked[q.unit]++
		}
		// Twice at once, and then after 1, 2, 5, 10 and 30 s.
		if asked[3] != 7 {
			t.Errorf("the dead unit was asked %d times in a minute, want 7", asked[3])
		}
		full := int(span / (50 * time.Millisecond))
		least, most := min(asked[1], asked[2], asked[4], asked[5]), max(asked[1], asked[2], asked[4], asked[5])
		if least < full-2*asked[3] || most-least > 2 {
			t.Errorf("the living are not served alike, %d times each: %v", full, asked)
		}
		states, why := book.states("m3")
		if len(states) != 1 || states[0] != device.Silent || !strings.Contains(why, "unit id") {
			t.Errorf("health of the dead unit %v: %q, want one silent and a remedy", states, why)
		}
	})
}

// A read that the machine refuses is split at the boundaries of points; what stays refused is "no
// value" with the reason, and the rest is read.
func TestRefusedBlock(t *testing.T) {
	for _, code := range []byte{2, 3} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			path := onPty(t, &slave{reply: func(_ uint8, request, answer []byte) []byte {
				from, count := binary.BigEndian.Uint16(request[2:]), binary.BigEndian.Uint16(request[4:])
				if code == 2 && from <= 7 && from+count > 7 || code == 3 && count > 3 {
					return withCRC([]byte{request[0], request[1] | 0x80, code})
				}
				return answer
			}})
			book := newBook(map[string]uint8{"plc": 1})
			var last device.Scan
			book.onScan = func(s device.Scan) { book.mu.Lock(); last = s; book.mu.Unlock() }
			stop := run(t, newBus(t, modbus.Config{Link: "rtu://" + path + "?baud=115200", Units: []modbus.Unit{
				{Device: "plc", ID: 1, Profile: blocks(t, 1, 500*time.Millisecond, 0), Every: time.Millisecond}}}, book))
			book.until(t, "scans", func() bool { return book.scans["plc"] >= 3 })
			stop()
			book.check(t)
			ok := 0
			for _, v := range last.Values {
				if v.OK {
					ok++
				} else if !strings.Contains(v.Why, "exception 02") {
					t.Errorf("%s: why %q", v.Tag, v.Why)
				}
			}
			if want := map[byte]int{2: 5, 3: 10}[code]; ok != want {
				t.Errorf("%d of 10 values read, want %d", ok, want)
			}
		})
	}
}
