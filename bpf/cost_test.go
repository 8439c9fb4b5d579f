package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/internal/require"
)

// BenchmarkProbe measures what one hit costs the target, by where the probe is:
// ns/hit is on top of the time without. docs/bpf.md has a table of it.
//
//	go test ./bpf -run '^$' -bench Probe -benchtime 200000x -count 5
func BenchmarkProbe(b *testing.B) {
	needEBPF(b)
	cmd := exec.Command(spinPath(b), "cost")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewReader(stdout)
	lines.ReadString('\n') // ready
	run := func(b *testing.B, n int) float64 {
		fmt.Fprintln(stdin, n)
		line, err := lines.ReadString('\n')
		if err != nil {
			b.Fatal(err)
		}
		ns, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
		if err != nil {
			b.Fatal(err)
		}
		return ns / float64(n)
	}

	target, err := openProcess(cmd.Process.Pid)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(target.close)
	exe, err := target.main()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(exe.close)
	sym, err := exe.lookup("probed")
	if err != nil {
		b.Fatal(err)
	}
	fn := exe.function(sym)
	entry, err := exe.offset(fn.Addr)
	if err != nil {
		b.Fatal(err)
	}
	marker, err := target.markers([]string{"socket_read"})
	if err != nil {
		b.Fatal(err)
	}

	for _, c := range []struct {
		name string
		at   probes
	}{
		{"none", probes{}},
		{"marker-nop5", marker},
		{"push", probes{offsets: []uint64{fn.Site.File}}},
		{"entry", probes{offsets: []uint64{entry}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			without := run(b, b.N)
			if c.at.offsets != nil {
				spec, err := loadMarkers()
				if err != nil {
					b.Fatal(err)
				}
				prepare(spec)
				// The target is not the one that the program looks for, so that
				// the probe's own cost is measured: the program ends at once.
				coll, err := (&process{nsDev: target.nsDev, nsIno: target.nsIno, nsPID: 1}).load(spec, nil, nil)
				if err != nil {
					b.Fatal(err)
				}
				defer coll.Close()
				links, err := target.attach(coll.Programs[markersProgMarker], c.at)
				if err != nil {
					b.Fatal(err)
				}
				defer closeLinks(links)
			}
			b.ResetTimer()
			b.ReportMetric(run(b, b.N)-without, "ns/hit")
		})
	}
}

// drainAlways reads the watcher's records until the function that it returns is
// called.
func drainAlways(t testing.TB, w *CommandWatcher) (stop func()) {
	t.Helper()
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if err := w.Drain(func(*CommandRecord) {}); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-end:
				return
			case <-time.After(pollEvery):
			}
		}
	}()
	return func() { close(end); <-ended }
}

// cpuTime is the processor time that a process has used.
func cpuTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	const sched = 2 // CPUCLOCK_SCHED, linux/posix-timers_types.h
	var now unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// BenchmarkSample measures what a sample costs the CPU that it is taken on, in
// the program: of a redis-server under load, and of a Go program.
//
//	go test ./bpf -run '^$' -bench Sample -benchtime 1x
func BenchmarkSample(b *testing.B) {
	needEBPF(b)
	needTables(b)
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	for _, target := range []struct {
		name string
		pid  int
	}{{"redis", startRedis(b).Process.Pid}, {"go", start(b, spinPath(b)).Process.Pid}} {
		for name, noTables := range map[string]error{"tables": nil, "frame-pointers": errors.New("not wanted")} {
			b.Run(target.name+"/"+name, func(b *testing.B) {
				p, err := startProfile(ProfileOptions{PID: target.pid, Frequency: 4999}, noTables)
				if err != nil {
					b.Fatal(err)
				}
				prog := p.coll.Programs["sample_tables"]
				if noTables != nil {
					prog = p.coll.Programs["sample_frame_pointers"]
				}
				time.Sleep(3 * time.Second)
				// Runs on another process's time end at once, and count for little.
				info, err := prog.Stats()
				if err != nil {
					b.Fatal(err)
				}
				profile, err := p.Stop()
				if err != nil {
					b.Fatal(err)
				}
				var frames uint64
				for _, s := range profile.Samples {
					frames += s.Count * uint64(len(s.Stack))
				}
				samples := float64(profile.Count())
				b.ReportMetric(float64(info.Runtime.Nanoseconds())/samples, "ns/sample")
				b.ReportMetric(float64(frames)/samples, "frames/sample")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkLabels measures what the labels add to a sample: two samplers look at one
// server, with and without.
//
//	go test ./bpf -run '^$' -bench Labels -benchtime 1x
func BenchmarkLabels(b *testing.B) {
	needEBPF(b)
	needTables(b)
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	for name, start := range map[string]func(testing.TB) *redisServer{"redscope": newRedisServer, "redis-server": newStockServer} {
		for what, opts := range map[string]ProfileOptions{"commands": {Labels: true}, "keys": {Labels: true, KeySeparator: ':'}} {
			b.Run(name+"/"+what, func(b *testing.B) {
				s := start(b)
				s.prefixLoad(b, "SET user:%d value", "GET order:%d", "ZADD order:%d 1 a")
				var profilers [2]*Profiler
				for i, opts := range []ProfileOptions{{}, opts} {
					opts.PID, opts.Frequency = s.Process.Pid, 4999
					if profilers[i], err = StartProfile(opts); err != nil {
						b.Fatal(err)
					}
				}
				time.Sleep(3 * time.Second)
				var ns [2]float64
				for i, p := range profilers {
					info, err := p.coll.Programs["sample_tables"].Stats()
					if err != nil {
						b.Fatal(err)
					}
					profile, err := p.Stop()
					if err != nil {
						b.Fatal(err)
					}
					ns[i] = float64(info.Runtime.Nanoseconds()) / float64(profile.Count())
				}
				b.ReportMetric(ns[0], "ns/sample")
				b.ReportMetric(ns[1]-ns[0], "more-ns/sample")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkCalls measures what the programs on a stock server's call take, in ns per
// hit by the kernel's own count: the least of all rounds. docs/bpf.md has a table of it.
//
//	go test ./bpf -run '^$' -bench Calls -benchtime 20x
func BenchmarkCalls(b *testing.B) {
	require.Tool(b, "redis")
	for _, c := range []struct {
		name  string
		opts  CommandOptions
		empty bool // the programs end at once
	}{{"empty", CommandOptions{}, true}, {"histograms", CommandOptions{}, false}, {"every-record", CommandOptions{OneIn: 1}, false}} {
		b.Run(c.name, func(b *testing.B) {
			s := newStockServer(b)
			s.load(b, "-t", "set", "-P", "16", "-n", "1000000000", "-l")
			c.opts.PID, c.opts.Cost = s.Process.Pid, true
			w := watchCommands(b, c.opts)
			defer drainAlways(b, w)()
			if c.empty {
				if err := w.coll.Variables[callsVarStop].Set(uint64(2)); err != nil {
					b.Fatal(err)
				}
			}
			stats := func() (all [2]*ebpf.ProgramStats) {
				for i, name := range []string{callsProgCallStart, callsProgCallEnd} {
					var err error
					if all[i], err = w.coll.Programs[name].Stats(); err != nil {
						b.Fatal(err)
					}
				}
				return all
			}
			until(b, "commands", func() bool { return stats()[1].RunCount > 0 })
			least := [2]float64{math.Inf(1), math.Inf(1)}
			for b.Loop() {
				before := stats()
				time.Sleep(200 * time.Millisecond)
				for i, now := range stats() {
					least[i] = min(least[i], float64(now.Runtime-before[i].Runtime)/float64(now.RunCount-before[i].RunCount))
				}
			}
			b.ReportMetric(least[0], "beginning-ns")
			b.ReportMetric(least[1], "end-ns")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkBudget holds what a budget reckons with against what watching really
// costs the server's processor time: half seconds of a load with and without it take
// turns. Shares are of the processor time with it; the medians of all turns. Then it
// has what a command costs by what is shed.
// docs/bpf.md has a table of it.
//
//	go test ./bpf -run '^$' -bench Budget -benchtime 25x
func BenchmarkBudget(b *testing.B) {
	require.Tool(b, "redis")
	for _, c := range []struct {
		server   string
		start    func(testing.TB) *redisServer
		pipeline string
	}{{"redscope", newRedisServer, "1"}, {"redscope", newRedisServer, "16"}, {"redis-server", newStockServer, "1"}, {"redis-server", newStockServer, "16"}} {
		b.Run(c.server+"/P"+c.pipeline, func(b *testing.B) {
			s := c.start(b)
			conn := s.dial(b)
			s.load(b, "-t", "set", "-P", c.pipeline, "-n", "1000000000", "-l")
			w := watchCommands(b, CommandOptions{PID: s.Process.Pid, OneIn: 101, Phases: true, Budget: 1})
			defer drainAlways(b, w)()
			w.budget.due = never
			var real, estimate, attach, detach []float64
			// perCommand is what a command costs the server, in ns of its processor
			// time, in the next half second.
			perCommand := func() float64 {
				calls, _ := conn.commandstats()
				cpu := cpuTime(b, s.Process.Pid)
				time.Sleep(500 * time.Millisecond)
				after, _ := conn.commandstats()
				return float64(cpuTime(b, s.Process.Pid)-cpu) / float64(after[""]-calls[""])
			}
			look := func(on bool) float64 {
				start := time.Now()
				if err := w.shed(decision{ShedNothing, on, 0}); err != nil {
					b.Fatal(err)
				}
				return float64(time.Since(start).Milliseconds())
			}
			for b.Loop() {
				before, _, err := w.Budget()
				if err != nil {
					b.Fatal(err)
				}
				on := perCommand()
				after, _, err := w.Budget()
				if err != nil {
					b.Fatal(err)
				}
				estimate = append(estimate, 100*float64(after.Cost-before.Cost)/float64(after.CPU-before.CPU))
				detach = append(detach, look(false))
				real = append(real, 100*(on-perCommand())/on)
				attach = append(attach, look(true))
			}
			for _, all := range [][]float64{real, estimate, attach, detach} {
				slices.Sort(all)
			}
			for level, name := range []string{"all-ns", "without-phases-ns", "without-times-ns"} {
				if err := w.shed(decision{Shed(level), true, 0}); err != nil {
					b.Fatal(err)
				}
				before, _, err := w.Budget()
				time.Sleep(time.Second)
				after, _, err2 := w.Budget()
				if err := errors.Join(err, err2); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(after.Cost-before.Cost)/float64(after.Commands-before.Commands), name)
			}
			middle := len(real) / 2
			b.ReportMetric(estimate[middle], "estimated-%")
			b.ReportMetric(real[middle], "real-%")
			b.ReportMetric(attach[middle], "attach-ms")
			b.ReportMetric(detach[middle], "detach-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkAttach measures what attaching and detaching cost a server beyond what
// it costs to be watched: the longest time that a client waits who sends PING after
// PING, in a tenth of a second that begins with it and in one without: least, median
// and worst of all rounds; and the server's processor time meanwhile, beyond that of as
// many PINGs.
// docs/bpf.md has a table of it.
//
//	go test ./bpf -run '^$' -bench Attach -benchtime 50x
func BenchmarkAttach(b *testing.B) {
	const window = 100 * time.Millisecond
	require.Tool(b, "redis")
	for _, c := range []struct {
		server string
		start  func(testing.TB) *redisServer
		opts   CommandOptions
	}{
		{"redscope", newRedisServer, CommandOptions{}},
		{"redis-server", newStockServer, CommandOptions{}},
		{"redis-server/phases", newStockServer, CommandOptions{Phases: true}},
	} {
		b.Run(c.server, func(b *testing.B) {
			s := c.start(b)
			c.opts.PID, c.opts.Budget = s.Process.Pid, 1
			w := watchCommands(b, c.opts)
			w.budget.due = never
			var pings, longest atomic.Int64
			conn := s.dial(b)
			end, ended := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(ended)
				for {
					select {
					case <-end:
						return
					default:
					}
					start := time.Now()
					conn.do("PING")
					longest.Store(max(longest.Load(), time.Since(start).Nanoseconds()))
					pings.Add(1)
				}
			}()
			defer func() { close(end); <-ended }()

			took, cpu, wait := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
			var perPing float64
			during := func(what string, f func()) {
				longest.Store(0)
				start, sent, used := time.Now(), pings.Load(), cpuTime(b, s.Process.Pid)
				f()
				took[what] = append(took[what], time.Since(start).Seconds()*1e3)
				sent, used = pings.Load()-sent, cpuTime(b, s.Process.Pid)-used
				cpu[what] = append(cpu[what], float64(used.Nanoseconds())-float64(sent)*perPing)
				if what == "without" {
					perPing = float64(used.Nanoseconds()) / float64(sent)
				}
				time.Sleep(time.Until(start.Add(window)))
				for last := pings.Load(); pings.Load() == last; { // the one under way counts
					time.Sleep(time.Millisecond)
				}
				wait[what] = append(wait[what], float64(longest.Load())/1e3)
			}
			look := func(on bool) func() {
				return func() {
					if err := w.shed(decision{ShedNothing, on, 0}); err != nil {
						b.Fatal(err)
					}
				}
			}
			for b.Loop() {
				during("detach", look(false))
				during("without", func() { time.Sleep(window) })
				during("attach", look(true))
				during("watched", func() { time.Sleep(window) })
			}
			for _, what := range []string{"without", "attach", "detach"} {
				slices.Sort(wait[what])
				b.ReportMetric(wait[what][0], what+"-wait-least-µs")
				b.ReportMetric(wait[what][len(wait[what])/2], what+"-wait-µs")
				b.ReportMetric(wait[what][len(wait[what])-1], what+"-wait-worst-µs")
			}
			for _, what := range []string{"attach", "detach"} {
				slices.Sort(took[what])
				slices.Sort(cpu[what])
				b.ReportMetric(took[what][len(took[what])/2], what+"-ms")
				b.ReportMetric(cpu[what][len(cpu[what])/2]/1e3, what+"-cpu-µs")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
