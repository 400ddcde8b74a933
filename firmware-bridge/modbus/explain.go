package modbus

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// unanswered is what came in place of an answer, and what is wrong with it.
func unanswered(came []byte, why string) error {
	const most = 32
	shown, more := came, ""
	if len(came) > most {
		shown, more = came[:most], " …"
	}
	plural := "s"
	if len(came) == 1 {
		plural = ""
	}
	return fmt.Errorf("%d byte%s came and no answer to this question: % X%s: %s", len(came), plural, shown, more, why)
}

// explainSerial says why bytes of a serial line are no answer.
func explainSerial(came []byte, r request) string {
	request := ask(r)
	if bytes.Equal(came, request) {
		return "only the request came back, and nobody answered: an adapter that hears itself has echo=1 in its link; then check power, cable, unit id, baud and format"
	}
	for i := range came {
		body, ok := rtuFrame(came[i:])
		if !ok || bytes.HasPrefix(came[i:], request) {
			continue
		}
		if why := unlike(body, r); why != "" {
			return why
		}
	}
	if why := foreign(came); why != "" {
		return why
	}
	if len(came) > 7 && binary.BigEndian.Uint16(came[2:]) == 0 && int(binary.BigEndian.Uint16(came[4:])) == len(came)-6 {
		return "this is a frame of Modbus TCP: use a link that begins with tcp://"
	}
	whole := 5 + r.bytes()
	for i := range came {
		rest := came[i:]
		if len(rest) < 3 || rest[0] != r.unit || rest[1] != r.fc || int(rest[2]) != r.bytes() {
			continue
		}
		if len(rest) < whole {
			return fmt.Sprintf("the first %d of the %d bytes of an answer: is the line disturbed, or the machine slower than the time-out?", len(rest), whole)
		}
		return fmt.Sprintf("an answer whose CRC is %02X %02X where %04X makes %02[3]X: is the line disturbed, or another machine under the same unit id?",
			rest[whole-2], rest[whole-1], CRC(rest[:whole-2]))
	}
	return "no frame is among them: is the speed or the format another, is the line disturbed, or does somebody else send on it?"
}

// rtuFrame cuts the frame of an answer off the front of bytes, when its CRC is right.
func rtuFrame(came []byte) (body []byte, ok bool) {
	if len(came) < 5 || came[0] > 247 && came[0] != 255 {
		return nil, false
	}
	lengths := []int{5}
	if n := 5 + int(came[2]); came[1] >= 1 && came[1] <= 4 {
		lengths = []int{n, 8}
	}
	for _, n := range lengths {
		if n <= len(came) && sound(came[:n]) {
			return came[:n-2], true
		}
	}
	return nil, false
}

// unlike says what of a whole frame, unit, function and data, is not that of an answer; nothing when it is
// one.
func unlike(body []byte, r request) string {
	fc, most := body[1], 2+1+r.bytes()
	var wrong []string
	if body[0] != r.unit && !(body[0] == 255 && fc == r.fc|0x80) { // a gateway may refuse as 255
		wrong = append(wrong, fmt.Sprintf("unit %d answered for unit %d; unit: %[1]d in the file?", body[0], r.unit))
	}
	switch {
	case fc == r.fc|0x80 && len(body) >= 3:
	case fc == r.fc|0x80:
		wrong = append(wrong, "an exception without its code")
	case fc == 0x80 && len(body) >= 3:
		wrong = append(wrong, fmt.Sprintf("an exception that does not name its function (80 where %02X belongs), with the code of %v", r.fc|0x80, Exception{body[2]}))
	case fc != r.fc:
		wrong = append(wrong, fmt.Sprintf("function %d answered for function %d", fc&0x7F, r.fc))
	case len(body) < 3:
		wrong = append(wrong, "an answer without data")
	case int(body[2]) != r.bytes():
		wrong = append(wrong, fmt.Sprintf("%d bytes of data answered for %d", body[2], r.bytes()))
	case len(body) < most:
		wrong = append(wrong, fmt.Sprintf("%d bytes of data where %d are announced", len(body)-3, r.bytes()))
	case len(body) > most:
		wrong = append(wrong, fmt.Sprintf("%d more than an answer has, % X", len(body)-most, body[most:]))
	}
	return strings.Join(wrong, "; ")
}

// OtherProtocol recognises the frames of protocols that machines of this trade speak in place of Modbus RTU,
// and says what to set; nothing when there are none. A frame of DL/T 645 is 68h, six bytes of address, 68h,
// data and 16h, perhaps behind FEh; one of Modbus ASCII is a colon, hexadecimal and CR LF.
func OtherProtocol(came []byte) string {
	if i := bytes.IndexByte(came, 0x68); i >= 0 && len(came) >= i+12 && came[i+7] == 0x68 && len(bytes.Trim(came[:i], "\xFE")) == 0 {
		return "this is DL/T 645, which is not spoken here: set the meter to Modbus RTU (通信规约), or take one that has it"
	}
	if i := bytes.IndexByte(came, ':'); i >= 0 && len(came) > i+4 && bytes.Contains(came[i:], []byte("\r\n")) && len(bytes.Trim(came[i+1:i+5], "0123456789ABCDEFabcdef")) == 0 {
		return "this is Modbus ASCII, which is not spoken here: set the machine to RTU (mode or protocol in its menu), with 8 data bits"
	}
	return ""
}

// foreign recognises what is not Modbus RTU or TCP.
func foreign(came []byte) string {
	if why := OtherProtocol(came); why != "" {
		return why
	}
	switch {
	case bytes.HasPrefix(came, []byte("HTTP/")):
		return "this is a web server: the port of Modbus TCP is 502 unless the machine's menu says another"
	case len(came) > 2 && came[0] == 0x16 && came[1] == 3, len(came) > 2 && came[0] == 0x15 && came[1] == 3:
		return "this is TLS: Modbus/TCP Security is not spoken here, use the machine's plain port"
	case len(came) >= 8 && printable(came):
		return fmt.Sprintf("this is text, and no Modbus: %.60q", came)
	}
	return ""
}

func printable(came []byte) bool {
	return !bytes.ContainsFunc(came, func(c rune) bool { return c > '~' || c < ' ' && c != '\r' && c != '\n' && c != '\t' })
}

// explainTCP says why bytes that came over TCP are no answer to the question under this transaction.
func explainTCP(came []byte, r request, transaction uint16) string {
	if _, found, _ := answer(came, r); found {
		return "this is an answer of Modbus RTU: use a link that begins with rtu-over-tcp://"
	}
	if body, ok := rtuFrame(came); ok {
		return "this is a frame of Modbus RTU (a link to it begins with rtu-over-tcp://): " + unlike(body, r)
	}
	if why := foreign(came); why != "" {
		return why
	}
	if len(came) < headerTCP+1 {
		return fmt.Sprintf("a frame of Modbus TCP begins with %d bytes of header", headerTCP)
	}
	protocol, length := binary.BigEndian.Uint16(came[2:]), int(binary.BigEndian.Uint16(came[4:]))
	switch body := came[headerTCP-1:]; {
	case protocol != 0:
		return fmt.Sprintf("protocol %d in the header where Modbus has 0: is it Modbus TCP at all?", protocol)
	case length < 2 || length > maxFrame-2:
		return fmt.Sprintf("the header counts %d bytes behind it, and a frame has 2 to %d", length, maxFrame-2)
	case len(body) < length:
		return fmt.Sprintf("the header counts %d bytes behind it, and %d came: %s", length, len(body), orElse(unlike(body, r), "is the machine slower than the time-out?"))
	default:
		return wrongFrame(came[:headerTCP-1+length], r, transaction)
	}
}

// wrongFrame says what is wrong with a whole frame.
func wrongFrame(frame []byte, r request, transaction uint16) string {
	var wrong []string
	if id := binary.BigEndian.Uint16(frame); id != transaction {
		wrong = append(wrong, fmt.Sprintf("a whole answer came under transaction %d for %d; where nobody else asks over this connection a link that ends with ?transaction=any takes it", id, transaction))
	}
	body := frame[headerTCP-1:]
	if why := unlike(body, r); why != "" {
		if len(body) > 3+r.bytes() && body[1] == r.fc && int(body[2]) == r.bytes() {
			why += "; a link that ends with ?trailing=1 takes an answer whose header counts such bytes"
		}
		wrong = append(wrong, why)
	}
	return orElse(strings.Join(wrong, "; "), "asked again, the machine answered rightly")
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
