package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/cmd/internal/capture"
	"github.com/redscope/redscope/flame"
)

func runRecord(ctx context.Context, args []string) error {
	fs := newFlags("record", "-p PROCESS [-d 7s] [-F 99 | --off-cpu] [--by LABELS] [--command NAMES] [-o flame.svg] [--folded FILE] [--pprof FILE]", `
  redscope record -p redis-server
  redscope record -p redis-server --by command
  redscope record -p server --by command,key --key-separator /
  redscope record -p server --command lrange -o lrange.svg
  redscope record -p 4711 -d 30s -F 499 -o set.svg --pprof set.pb.gz
  redscope record -p redis-server --off-cpu -o waiting.svg
  redscope record -p server -o '' --folded - | grep setCommand

Ctrl-C ends the recording early and writes what there is.

Of a server, --pprof also keeps which command each sample is for, in which phase
and on keys of which prefix: see redscope flame -h and redscope diff -h, and
go tool pprof -tagfocus command=GET.
`)
	var g graph
	var l labels
	pidOrName := fs.String("p", "", "`PROCESS` to sample: a pid, or a name if only one process has it")
	duration := fs.Duration("d", 7*time.Second, "for that `TIME`, as 30s or 1m30s")
	frequency := fs.Int("F", bpf.DefaultFrequency, "`SAMPLES` per second of CPU time")
	offCPU := fs.Bool("off-cpu", false, "count the microseconds that threads are not on a CPU, by where they left it; needs Linux 5.18")
	l.flags(fs, "keep the samples of these commands alone: `NAMES`, as get or get,set or '(read)'")
	separator := fs.String("key-separator", ":", "`BYTE` up to which keys are told by --by key and --pprof")
	g.flags(fs, "flame.svg", true)
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(operands) > 0 {
		return usagef("unexpected %q", operands[0])
	}
	if err := l.parse(); err != nil {
		return err
	}
	if len(*separator) != 1 || *separator == "\x00" {
		return usagef("--key-separator %q: must be one byte", *separator)
	}
	if *duration <= 0 {
		return usagef("-d %v: must be positive", *duration)
	}
	if *frequency < 1 || *frequency > bpf.MaxFrequency {
		return usagef("-F %d: must be from 1 to %d", *frequency, bpf.MaxFrequency)
	}
	if *offCPU {
		sampled := false
		fs.Visit(func(f *flag.Flag) { sampled = sampled || f.Name == "F" })
		if sampled {
			return usagef("-F has no meaning with --off-cpu, which sees every wait")
		}
	}
	pid, err := targetPID(*pidOrName)
	if err != nil {
		return err
	}
	if err := g.open(); err != nil {
		return err
	}
	defer g.close()

	began := time.Now()
	opts := bpf.ProfileOptions{PID: pid, Frequency: *frequency, OffCPU: *offCPU, Labels: l.asked() || g.pprof != ""}
	if g.pprof != "" || slices.Contains(l.names, capture.LabelKey) {
		opts.KeySeparator = (*separator)[0]
	}
	profiler, err := bpf.StartProfile(opts)
	if errors.Is(err, bpf.ErrNoCommands) && !l.asked() {
		opts.Labels = false
		profiler, err = bpf.StartProfile(opts)
	}
	if err != nil {
		return err
	}
	waitRecording(ctx, profiler, pid, *duration)
	profile, err := profiler.Stop()
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		fmt.Fprintf(os.Stderr, "interrupted after %v; keeping what there is\n", profile.Duration.Round(10*time.Millisecond))
	}
	lasted := profile.Duration.Round(10 * time.Millisecond)
	summary, subtitle, unit := fmt.Sprintf("%d samples in %v at %d Hz", profile.Count(), lasted, profile.Frequency),
		fmt.Sprintf("%d Hz, %v", profile.Frequency, lasted), ""
	if profile.OffCPU {
		summary, subtitle, unit = fmt.Sprintf("%d µs off the CPU, all threads together, in %v", profile.Count(), lasted),
			fmt.Sprintf("off the CPU, %v", lasted), "µs"
	}
	fmt.Fprintln(os.Stderr, summary)
	for _, note := range capture.Notes(profile) {
		fmt.Fprintln(os.Stderr, "note:", note)
	}
	if g.title == "" {
		g.title = fmt.Sprintf("%s, pid %d", *pidOrName, pid)
		if fmt.Sprint(pid) == *pidOrName {
			g.title = fmt.Sprintf("pid %d", pid)
		}
	}
	stacks, out := capture.Stacks(profile), capture.Pprof(profile, began)
	if profile.Count() > 0 {
		for _, s := range []*[]flame.Stack{&stacks, &out.Stacks} {
			if *s, err = keep(*s, l.commands, "the recording"); err != nil {
				return err
			}
		}
	}
	if l.command != "" {
		kept, err := flame.Total(stacks)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%d of them of %s\n", kept, l.command)
		subtitle += ", " + l.command
	}
	if stacks, err = l.group(stacks, "the recording"); err != nil {
		return err
	}
	return g.write(stacks, out, flame.SVGOptions{Subtitle: subtitle, CountName: unit})
}

// waitRecording waits until the time is over, ctx ends or the target exits, and
// shows the time that is left when standard error is a terminal.
func waitRecording(ctx context.Context, profiler *bpf.Profiler, pid int, duration time.Duration) {
	over := time.NewTimer(duration)
	defer over.Stop()
	end := time.Now().Add(duration)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	terminal := isTerminal(os.Stderr)
	if terminal {
		defer fmt.Fprint(os.Stderr, "\r\033[K")
	}
	for {
		if terminal {
			fmt.Fprintf(os.Stderr, "\r\033[Krecording pid %d, %.1f s left; Ctrl-C ends", pid, time.Until(end).Seconds())
		}
		select {
		case <-ctx.Done():
			return
		case <-over.C:
			return
		case <-profiler.Exited():
			return
		case <-tick.C:
		}
	}
}
