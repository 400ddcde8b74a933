// Package bench is what a fitter works with beside a machine: the commands of firmware-bridge.
//
// In: command lines, the bytes of a line or of a capture, a machine's profile, and the weight that
// a person reads on the display.
// Out: lines of text or of JSON, a picture at a terminal, captures, machines that do not exist on
// real lines, and the lines of edge.yaml that make an edge read the machine.
// It promises that every command ends with its context, that nothing it sends can zero, tare,
// clear or write (requests come from the packages that can only read), that a damaged frame is
// shown as damaged, and that no dialect is called found before a person named the weight, nor any
// profile before the machine's own constants proved it.
// It does not weigh, store records or change a site's file: what it finds, a person copies.
package bench

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"steelyard/firmware-bridge/gateway"
	"steelyard/internal/program"
)

// command is one word behind the program's name.
type command struct {
	name     string
	what     string
	examples string // a line each, without the program's name
	run      func(context.Context, invocation) error
}

// commands in the order in which a fitter needs them.
func commands() []command {
	return []command{
		{"find", "try every speed: name the dialect of an indicator, or the machines on Modbus",
			"-port /dev/ttyUSB0 -known 12340\n-port /dev/ttyUSB0 -ask\n-modbus -port /dev/ttyUSB0\n-modbus -link tcp://192.168.10.21:502", find},
		{"show", "watch a line: bytes, frames, values, rates and errors",
			"-port /dev/ttyUSB0\n-port /dev/ttyUSB0 -dialect yaohua-tf0\n-port tcp://192.168.10.30:4001 -indicator toledo-8217 -json\n-link tcp://192.168.10.21:502 -profile ssc-baler-v1 -unit 1", show},
		{"order", "find type and word order of a register beside the machine's display",
			"-hex \"4640 D000\" -display 12340\n-link tcp://192.168.10.21:502 -unit 1 -at 40008 -base 40001 -count 4 -display 12340", order},
		{"draft", "write the first file about a machine on Modbus that nobody described",
			"-link tcp://192.168.10.21:502 -unit 1 -out own/acme-b100.yaml\n-link \"rtu:///dev/ttyUSB0?baud=9600\" -unit 1 -range 40001-40300 -base 40001 -display 12340,28.8", draft},
		{"draft frame", "show where a known weight stands in a frame that nobody described, and write its first file",
			"-port /dev/ttyUSB0 -known 12340 -out own/acme-w200.yaml\n-known 12340 -recording recording.txt\n12340=loaded.txt 0=empty.txt", draftFrame},
		{"decode", "decode frames that are given as hexadecimal",
			"-dialect yaohua-tf0 frames.txt\n-indicator mettler-sics -recording recording.txt\n-profile laumas-tlb < replies.txt", decode},
		{"check", "check profiles, indicators, a site's or a gateway's file and print every mistake",
			"edge.yaml\nown/acme-b100.yaml own/acme-w200.yaml", check},
		{"plan", "what polling a profile costs on the wire",
			"-profile eastron-sdm630 -units 8 -every 2s", plan},
		{"record", "keep the bytes of a line with their times",
			"-port /dev/ttyUSB0 -for 1m recording.txt", record},
		{"replay", "send a recording again with the same times",
			"recording.txt -pty /tmp/scale -loop\nrecording.txt -listen tcp://127.0.0.1:4001 -after 5s", replay},
		{"simulate", "be a machine: a profile's registers, an indicator's or a dialect's frames",
			"-dialect yaohua-tf0 -pty /tmp/scale -weight 23960\n-indicator toledo-8217 -listen tcp://127.0.0.1:4001\n-profile ssc-baler-v1 -listen tcp://127.0.0.1:1502", simulate},
		{"serve", "share lines and buses with other masters, as gateway.yaml says", "", serve},
	}
}

// about is what stands in a command's help between its usage and its flags.
func (c command) about() string {
	var b strings.Builder
	b.WriteString("\n" + c.what + "\n\n")
	for line := range strings.SplitSeq(c.examples, "\n") {
		b.WriteString("  firmware-bridge " + c.name + " " + line + "\n")
	}
	return b.String()
}

// serve is the gateway, a program of its own that lives behind the same name.
func serve(ctx context.Context, c invocation) error {
	env := c.env
	env.Args = env.Args[1:]
	return gateway.Run(ctx, env)
}

// Run is the program.
func Run(ctx context.Context, env program.Env) error {
	if len(env.Args) == 0 {
		return &program.UsageError{Err: fmt.Errorf("no command: say what to do"), Help: help()}
	}
	if len(env.Args) > 1 && env.Args[0] == "draft" && env.Args[1] == "frame" {
		env.Args = append([]string{"draft frame"}, env.Args[2:]...)
	}
	name := env.Args[0]
	switch name {
	case "-h", "-help", "--help", "help":
		if len(env.Args) > 1 && name == "help" {
			env.Args = append(slices.Clone(env.Args[1:]), "-h")
			return Run(ctx, env)
		}
		_, err := fmt.Fprint(env.Stdout, help())
		return err
	}
	for _, c := range commands() {
		if c.name == name {
			if env.Level != nil && name != "serve" {
				env.Level.Set(slog.LevelWarn) // whoever stops a command need not be told that it stops
			}
			one := newInvocation(c.name, env)
			one.about = c.about()
			return c.run(ctx, one)
		}
	}
	return &program.UsageError{Err: fmt.Errorf("command %.40q: there is no such command", name), Help: help()}
}

func help() string {
	var b strings.Builder
	b.WriteString("usage: firmware-bridge COMMAND [flags]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-11s %s\n", c.name, c.what)
	}
	b.WriteString("\nfirmware-bridge COMMAND -h shows the flags of a command.\n")
	return b.String()
}
