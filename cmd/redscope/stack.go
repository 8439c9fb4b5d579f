package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/cmd/internal/capture"
)

func runStack(ctx context.Context, args []string) error {
	fs := newFlags("stack", "-p PROCESS FUNCTION [-n COUNT] [-d TIME]", `
  redscope stack -p server setCommand
  redscope stack -p redis-server setCommand -n 10
  redscope stack -p 4711 -n 0 -d 10s serverCron

Each line is an address, the function and the offset in it, and the file, from
the function to its outermost caller, as bpftrace's ustack(perf) prints them.
The first line is where the probe sits, a few bytes into the function.
`)
	pidOrName := fs.String("p", "", "`PROCESS` to look into: a pid, or a name if only one process has it")
	count := fs.Int("n", 1, "end after `COUNT` calls; 0 is at Ctrl-C")
	duration := fs.Duration("d", 0, "end after that `TIME`; 0 is never")
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(operands) != 1 {
		return usagef("give one function's name")
	}
	if *count < 0 || *duration < 0 {
		return usagef("-n and -d cannot be negative")
	}
	pid, err := targetPID(*pidOrName)
	if err != nil {
		return err
	}
	function := operands[0]

	if *duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *duration)
		defer cancel()
	}
	if isTerminal(os.Stderr) {
		fmt.Fprintf(os.Stderr, "waiting for %s to be called in pid %d; Ctrl-C ends\n", function, pid)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := bufio.NewWriter(os.Stdout)
	seen, lost := 0, uint64(0)
	var writeError error
	err = bpf.TraceStacks(ctx, bpf.StackOptions{PID: pid, Function: function, Count: *count}, func(s bpf.Stack) {
		if seen == 0 {
			for _, l := range s.Limits {
				fmt.Fprintln(os.Stderr, "note:", l)
			}
		}
		if writeError = cmp.Or(capture.WriteStack(out, s), out.Flush()); writeError != nil {
			cancel() // nobody reads on
		}
		seen, lost = seen+1, s.Lost
	})
	if lost > 0 {
		fmt.Fprintf(os.Stderr, "note: %d more calls came faster than they could be printed\n", lost)
	}
	switch {
	case writeError != nil:
		return writeError
	case errors.Is(err, bpf.ErrExited) && seen > 0:
		fmt.Fprintf(os.Stderr, "note: the process exited after %d calls\n", seen)
		return nil
	case errors.Is(err, bpf.ErrExited):
		return fmt.Errorf("pid %d exited before it called %s", pid, function)
	case err != nil:
		return err
	case seen == 0 && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s was not called within %v", function, *duration)
	case seen == 0:
		return fmt.Errorf("interrupted before %s was called", function)
	}
	if *count > 0 && seen < *count {
		fmt.Fprintf(os.Stderr, "note: %s was called %d times, not %d\n", function, seen, *count)
	}
	return nil
}
