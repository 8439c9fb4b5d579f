// Redscope looks into a running server from outside, ours or a stock
// redis-server: it records flame graphs, prints the stacks of a function, lists
// where probes can go, and draws and compares profiles.
//
// It must not change what it looks at, and must keep what it has when it is
// interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// command is a subcommand. run gets the arguments behind its name.
type command struct {
	name, summary string
	run           func(ctx context.Context, args []string) error
}

// commands are in the order of the help text.
var commands = []command{
	{"record", "sample a process's stacks into a flame graph", runRecord},
	{"top", "show what a server does, by command: rates, times, errors, keys", runTop},
	{"trace", "show slow, failed or sampled commands, phase by phase", runTrace},
	{"why", "say where the time of slow commands went, and who is to blame", runWhy},
	{"stack", "print the callers of a function when it is called", runStack},
	{"probes", "list the functions of a file and where a probe would go", runProbes},
	{"usdt", "describe the markers in a server's file, for bpftrace, bcc and others", runUSDT},
	{"flame", "draw a flame graph of folded stacks or a pprof profile", runFlame},
	{"diff", "draw how one profile differs from another", runDiff},
}

// usageError is a mistake in the command line: exit status 2.
type usageError struct{ error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

func main() {
	// The first Ctrl-C ends the work and keeps what there is; the second, being
	// no longer caught, ends the program.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		help(os.Stderr)
		return 2
	}
	switch args[0] {
	case "-h", "--help", "-help", "help":
		help(os.Stdout)
		return 0
	}
	for _, c := range commands {
		if c.name != args[0] {
			continue
		}
		err := c.run(ctx, args[1:])
		var usage usageError
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.As(err, &usage):
			fmt.Fprintf(os.Stderr, "redscope %s: %v; see redscope %s -h\n", c.name, err, c.name)
			return 2
		}
		fmt.Fprintf(os.Stderr, "redscope %s: %v\n", c.name, err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "redscope: there is no command %q; see redscope -h\n", args[0])
	return 2
}

func help(w io.Writer) {
	fmt.Fprint(w, "redscope looks into a running process: a redscope server, a stock redis-server, any other.\n\nUsage: redscope COMMAND [options]\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-8s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, `
redscope COMMAND -h explains a command. record, top, trace, why and stack need
root, or CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE.

Examples:
  redscope record -p redis-server -d 7s -o flame.svg
  redscope top -p server
  redscope trace -p server --slower-than 1ms
  redscope why -p server --slower-than 10ms
  redscope stack -p server setCommand
  redscope probes bin/server Command
`)
}

// newFlags makes the flag set of a subcommand, with its help text.
func newFlags(name, synopsis, examples string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // run prints the error, parse the help
	fs.Usage = func() {
		fmt.Printf("Usage: redscope %s %s\n", name, synopsis)
		options := 0
		fs.VisitAll(func(*flag.Flag) { options++ })
		if options > 0 {
			fmt.Print("\nOptions:\n")
			fs.SetOutput(os.Stdout)
			fs.PrintDefaults()
		}
		fmt.Printf("\nExamples:%s", examples)
	}
	return fs
}

// parse reads flags and operands in any order, as getopt does, and returns the
// operands.
func parse(fs *flag.FlagSet, args []string) ([]string, error) {
	var operands []string
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, usageError{err}
		}
		rest := fs.Args()
		if len(rest) == 0 {
			return operands, nil
		}
		if parsed := len(args) - len(rest); parsed > 0 && args[parsed-1] == "--" {
			return append(operands, rest...), nil
		}
		operands = append(operands, rest[0])
		args = rest[1:]
	}
}

// isTerminal reports whether f is one, so that a progress line may be redrawn.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
