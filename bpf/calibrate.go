package bpf

import (
	"debug/elf"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/redscope/redscope/engine/probe"
)

// costReturn is what the return of a function costs whose entry has a probe
// anyway. No site has it.
const costReturn Cost = "return"

// costOrder has the classes by their price.
var costOrder = []Cost{CostNop5, CostEmulated, costReturn, CostSingleStep}

func dearer(a, b Cost) Cost {
	if slices.Index(costOrder, a) > slices.Index(costOrder, b) {
		return a
	}
	return b
}

const (
	calibrationHits = 301
	// What is passed over between two hits, in bytes: hits of a server are not made
	// in a loop, where one costs a third less.
	calibrationSweep = 256 << 10
)

// calibrate measures on this machine, in this process, what a hit of a probe of
// each class costs the thread that makes it, without the program's run time. The
// kernel must be measuring run times, as it will when the costs are used.
func calibrate(classes []Cost) (map[Cost]time.Duration, error) {
	self, err := openProcess(os.Getpid())
	if err != nil {
		return nil, err
	}
	defer self.close()
	exe, err := self.main()
	if err != nil {
		return nil, err
	}
	defer exe.close()
	spec := &ebpf.ProgramSpec{Type: ebpf.Kprobe, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}}
	if multiSupported() {
		spec.AttachType = ebpf.AttachTraceUprobeMulti
	}
	prog, err := ebpf.NewProgram(spec)
	if err != nil {
		return nil, fmt.Errorf("loading eBPF: %w", err)
	}
	defer prog.Close()

	all := map[Cost]time.Duration{}
	for _, class := range classes {
		site, err := exe.calibrationSite(class)
		if err != nil {
			return nil, err
		}
		if all[class], err = self.hitCost(prog, site); err != nil {
			return nil, err
		}
		if class != costReturn {
			continue
		}
		entry := site
		entry.at.returns = false
		only, err := self.hitCost(prog, entry)
		if err != nil {
			return nil, err
		}
		all[class] = max(0, all[class]-only)
	}
	return all, nil
}

// calibrationSite is a place in this program, and what passes it once.
type calibrationSite struct {
	at   probes
	pass func()
}

// framed has what most Go functions begin with: a comparison, a jump, a push.
//
//go:noinline
func framed(n int) int { return unframed(n) + 1 }

//go:noinline
func unframed(n int) int { return n }

// calibrationSite finds a place of the class in this program, image b: in a marker,
// or in a function.
func (b *image) calibrationSite(class Cost) (site calibrationSite, err error) {
	i := slices.IndexFunc(probe.Markers, func(m probe.Marker) bool { return m.Name == "socket_read" })
	name, _, _ := strings.Cut(probe.Markers[i].Symbol, ".abi0")
	var marker, function Function
	b.load()
	for _, s := range b.symbols {
		switch s.name {
		case "github.com/redscope/redscope/bpf.framed":
			function = b.function(b.sized(s))
		case name, probe.Markers[i].Symbol:
			// Without a symbol table the wrapper that Go calls has the same name.
			if f := b.function(b.sized(s)); f.Site.Cost == CostNop5 || b.elf.Machine == elf.EM_AARCH64 && f.Site.Cost == CostEmulated {
				marker = f
			}
		}
	}
	site.pass = func() { probe.SocketRead(0, 0, 0) }
	switch class {
	case marker.Site.Cost:
		site.at.offsets = []uint64{marker.Site.File}
	case costReturn:
		// In assembly, where Go's runtime never looks for return addresses.
		site.at = probes{offsets: []uint64{marker.Site.File}, returns: true}
	case function.Site.Cost:
		site.at.offsets = []uint64{function.Site.File}
		site.pass = func() { framed(0) }
	case CostSingleStep:
		entry, err := b.offset(function.Addr)
		if err != nil {
			return site, fmt.Errorf("measuring what a probe costs: %w", err)
		}
		site.at.offsets = []uint64{entry}
		site.pass = func() { framed(0) }
	}
	if site.at.offsets == nil || site.at.offsets[0] == 0 {
		return site, fmt.Errorf("measuring what a probe costs: %s has no place of the class %s to try", b.name, class)
	}
	return site, nil
}

// hitCost is what a hit of prog at a site of this process p costs, without the run time
// of prog.
func (p *process) hitCost(prog *ebpf.Program, site calibrationSite) (time.Duration, error) {
	without := passing(site.pass)
	links, err := p.attach(prog, site.at)
	if err != nil {
		return 0, err
	}
	defer closeLinks(links)
	site.pass() // after the first the kernel may do it in another way
	before, err := prog.Stats()
	if err != nil {
		return 0, fmt.Errorf("reading the run time of an eBPF program: %w", err)
	}
	with := passing(site.pass)
	after, err := prog.Stats()
	if err != nil {
		return 0, fmt.Errorf("reading the run time of an eBPF program: %w", err)
	}
	hits := after.RunCount - before.RunCount
	if hits < calibrationHits {
		return 0, fmt.Errorf("measuring what a probe costs: %d of %d hits were seen", hits, calibrationHits)
	}
	return max(0, with-without-(after.Runtime-before.Runtime)/time.Duration(hits)), nil
}

// passing is how long f takes: the median, which no interruption of this thread is.
func passing(f func()) time.Duration {
	sweep := make([]byte, calibrationSweep)
	all := make([]time.Duration, calibrationHits)
	for i := range all {
		for at := 0; at < len(sweep); at += 64 {
			sweep[at]++
		}
		start := time.Now()
		f()
		all[i] = time.Since(start)
	}
	slices.Sort(all)
	return all[len(all)/2]
}
