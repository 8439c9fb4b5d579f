package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/cmd/internal/capture"
	"github.com/redscope/redscope/flame"
)

func runRecord(ctx context.Context, args []string) error {
	fs := newFlags("record", "-p PROCESS [-d 7s] [-F 99 | --off-cpu] [-o flame.svg] [--folded FILE] [--pprof FILE]", `
  redscope record -p redis-server
  redscope record -p 4711 -d 30s -F 499 -o set.svg --pprof set.pb.gz
  redscope record -p redis-server --off-cpu -o waiting.svg
  redscope record -p server -o '' --folded - | grep setCommand

Ctrl-C ends the recording early and writes what there is.
`)
	var g graph
	pidOrName := fs.String("p", "", "`PROCESS` to sample: a pid, or a name if only one process has it")
	duration := fs.Duration("d", 7*time.Second, "for that `TIME`, as 30s or 1m30s")
	frequency := fs.Int("F", bpf.DefaultFrequency, "`SAMPLES` per second of CPU time")
	offCPU := fs.Bool("off-cpu", false, "count the microseconds that threads are not on a CPU, by where they left it; needs Linux 5.18")
	g.flags(fs, "flame.svg", true)
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(operands) > 0 {
		return usagef("unexpected %q", operands[0])
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
	profiler, err := bpf.StartProfile(bpf.ProfileOptions{PID: pid, Frequency: *frequency, OffCPU: *offCPU})
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
	return g.write(capture.Stacks(profile), capture.Pprof(profile, began), flame.SVGOptions{
		Subtitle: subtitle, CountName: unit,
	})
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
