package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
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
				coll, err := (&process{nsDev: target.nsDev, nsIno: target.nsIno, nsPID: 1}).load(spec, nil)
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
