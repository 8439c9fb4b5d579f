package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/redscope/redscope/bpf"
)

func runProbes(_ context.Context, args []string) error {
	fs := newFlags("probes", "FILE [FILTER]", `
  redscope probes bin/server
  redscope probes /usr/bin/redis-server setCommand
  redscope probes bin/server | cut -f1      # as bpftrace -l prints it

A line per function whose name contains FILTER: its probe as bpftrace names it,
the address of the site and how far that is from the function's start, what a hit
costs, and why the site is there. Costs: nop5 (a call on Linux 6.18 and later),
emulated (a trap), single-step (two traps, some eight times an emulated one).
`)
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(operands) < 1 || len(operands) > 2 {
		return usagef("give a file, and at most one filter")
	}
	filter := ""
	if len(operands) == 2 {
		filter = operands[1]
	}
	functions, err := bpf.Functions(operands[0])
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	found := 0
	for _, f := range functions {
		if !strings.Contains(f.Name, filter) {
			continue
		}
		found++
		if f.Site.Cost == bpf.CostNone {
			fmt.Fprintf(out, "uprobe:%s:%s\t-\t%s\t%s\n", operands[0], f.Name, f.Site.Cost, f.Site.Reason)
			continue
		}
		fmt.Fprintf(out, "uprobe:%s:%s\t%x+%d\t%s\t%s\n", operands[0], f.Name, f.Site.Addr, f.Site.Offset, f.Site.Cost, f.Site.Reason)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if found == 0 {
		return fmt.Errorf("%s has no function whose name contains %q", operands[0], filter)
	}
	return nil
}
