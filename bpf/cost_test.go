package bpf

import (
	"bufio"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
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
