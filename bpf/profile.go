package bpf

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Sample is one stack and how often it was found.
type Sample struct {
	Stack []Frame // leaf first: kernel frames, if it was in the kernel, then user frames
	Count uint64  // samples; µs, of a profile off the CPU
	PID   uint32
	TID   uint32 // as numbered by the target's own pid namespace, as is PID
	Comm  string // the thread's name
	// Whole tells whether the user part reaches the function that its thread or
	// goroutine began with. It does not where code is on the way that has neither
	// frame pointers nor an unwind table.
	Whole bool
	// Queued tells, of a profile off the CPU, that the thread was able to run and
	// waited for a CPU; else it was blocked.
	Queued bool
	Labels // of ProfileOptions.Labels, else empty
}

// Profile is what a Profiler found.
type Profile struct {
	Samples   []Sample
	Frequency int           // Hz; 0 of a profile off the CPU
	Duration  time.Duration // from start to stop, or to the target's exit
	Lost      uint64        // samples not in Samples: no room in the kernel's tables, or no stack to read
	Cut       uint64        // samples whose user or kernel stack was deeper than is kept (127 frames)
	Broken    uint64        // samples in Samples that are not Whole, in the unit of Count
	OffCPU    bool          // what was asked for
	Exited    bool          // the target exited before Stop
	Limits    []string      // what made stacks shorter than they could be, or labels less exact, a line each
	Unread    uint64        // samples within a command that could not be read, so that the stack alone tells it
	Folded    uint64        // samples whose key's prefix is OtherPrefixes
	// Mappings are the executable parts of the target's address space, by
	// address: a position-independent program's addresses mean nothing without.
	Mappings []Mapping
}

// Mapping is a range of addresses that code is mapped to.
type Mapping struct {
	Start, End uint64 // first address, and the one after the last
	Offset     uint64 // in the file that Start corresponds to, in bytes
	File       string // path as the process sees it, or a name in brackets
}

// Count is the sum of Samples.
func (p *Profile) Count() uint64 {
	var n uint64
	for _, s := range p.Samples {
		n += s.Count
	}
	return n
}

// ProfileOptions says what to sample.
type ProfileOptions struct {
	PID int // all its threads, also those that start later
	// Frequency is in samples per second of CPU time; 0 means 99, which does
	// not beat with work done every 10 ms. At most MaxFrequency.
	Frequency int
	// OffCPU measures the time that threads are not on a CPU instead, from the
	// stack that each had when it left. Sleeps that had begun before are not
	// seen; those that last are, up to the end. Needs Linux 5.18.
	OffCPU bool
	// Labels wants to know of each sample what it is for, of a server: the command
	// is read from its memory. Other processes are refused with ErrNoCommands.
	Labels bool
	// KeySeparator ends the prefixes of keys that Labels are to tell, 0 for none.
	// Up to 1024 pairs of command and prefix are told apart.
	KeySeparator byte
}

// DefaultFrequency is the sampling rate in Hz when none is given.
const DefaultFrequency = 99

// MaxFrequency is the highest sampling rate in Hz: there, the sampling itself
// takes a few percent of each CPU.
const MaxFrequency = 10_000

// Profiler samples the stacks of a process until stopped.
type Profiler struct {
	target    *process
	coll      *ebpf.Collection
	clocks    []int // perf events, one per CPU
	links     []link.Link
	frequency int
	limits    []string
	labels    *labeler // nil for none
	started   time.Time

	exited chan struct{} // closed when the target has exited, at exitTime
	end    time.Time
	stop   chan struct{}
	done   sync.WaitGroup
}

// StartProfile begins to sample a process. A timer runs on every CPU: timers
// bound to the target's threads would have to be set up at each of its context
// switches, and miss threads that start meanwhile.
func StartProfile(opts ProfileOptions) (*Profiler, error) {
	return startProfile(opts, canUnwind(ebpf.PerfEvent))
}

// startProfile walks stacks by frame pointers when noTables says why.
func startProfile(opts ProfileOptions, noTables error) (*Profiler, error) {
	if opts.Frequency == 0 {
		opts.Frequency = DefaultFrequency
	}
	if opts.Frequency < 1 || opts.Frequency > MaxFrequency {
		return nil, fmt.Errorf("frequency %d Hz: must be from 1 to %d", opts.Frequency, MaxFrequency)
	}
	target, err := openProcess(opts.PID)
	if err != nil {
		return nil, err
	}
	p := &Profiler{target: target, frequency: opts.Frequency, exited: make(chan struct{}), stop: make(chan struct{})}
	constants := map[string]any{}
	if opts.Labels {
		if p.labels, err = newLabeler(target, opts.KeySeparator); err != nil {
			p.close()
			return nil, err
		}
		constants = p.labels.constants
	}
	var program *ebpf.Program
	spec, err := loadProfile()
	if err == nil {
		if p.labels == nil {
			spec.Maps[profileMapLabels].MaxEntries = 1
		} else if opts.KeySeparator != 0 {
			// A stack comes with many keys.
			spec.Maps[profileMapCounts].MaxEntries *= 8
		}
		start, end := target.text()
		name, others := "sample", []string(nil)
		if opts.OffCPU {
			name, others = "off_cpu", []string{profileProgOffCpuWoken}
		}
		haveRegs := uint8(0)
		if features.HaveProgramHelper(ebpf.PerfEvent, asm.FnTaskPtRegs) == nil {
			haveRegs = 1
		}
		constants[profileVarTextStart], constants[profileVarTextEnd], constants[profileVarHaveTaskRegs] = start, end, haveRegs
		p.coll, program, p.limits, err = target.loadWalker(spec, name, constants, noTables, others...)
		if p.labels != nil {
			p.limits = append(p.limits, p.labels.limits...)
		}
		if opts.OffCPU && lacksBTF(err) {
			err = errors.New("the time off the CPU needs the kernel's BTF (CONFIG_DEBUG_INFO_BTF), which is not in /sys/kernel/btf; redscope record works without --off-cpu")
		} else if err != nil && opts.OffCPU {
			err = fmt.Errorf("%w (the time off the CPU needs Linux 5.18 with CONFIG_DEBUG_INFO_BTF)", err)
		}
	}
	switch {
	case err != nil:
	case opts.OffCPU:
		err = p.attachScheduler(program)
	default:
		err = p.startClocks(program)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	p.done.Go(p.watch)
	return p, nil
}

// attachScheduler attaches the programs for the time off the CPU.
func (p *Profiler) attachScheduler(switched *ebpf.Program) error {
	p.frequency = 0
	p.started = time.Now() // no time off the CPU is longer than the recording
	// A wake-up that is seen without the switch before it does no harm; the other
	// way round, the wait for a CPU would count as blocked.
	for _, prog := range []*ebpf.Program{p.coll.Programs[profileProgOffCpuWoken], switched} {
		l, err := link.AttachTracing(link.TracingOptions{Program: prog})
		if err != nil {
			return fmt.Errorf("attaching to the scheduler: %w", err)
		}
		p.links = append(p.links, l)
	}
	return nil
}

// startClocks has the program sample.
func (p *Profiler) startClocks(program *ebpf.Program) error {
	for _, cpu := range onlineCPUs() {
		fd, err := openClock(cpu, p.frequency)
		if errors.Is(err, unix.ENODEV) {
			continue // went offline
		}
		if err != nil {
			return err
		}
		p.clocks = append(p.clocks, fd)
		if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, program.FD()); err != nil {
			return fmt.Errorf("attaching the sampler: %w", err)
		}
	}
	p.started = time.Now()
	for _, fd := range p.clocks {
		if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
			return fmt.Errorf("starting the sampler: %w", err)
		}
	}
	return nil
}

// openClock opens a perf event, not enabled, that fires at the given frequency
// on one CPU. It is the software clock: virtual machines often have no hardware
// counters.
func openClock(cpu, frequency int) (int, error) {
	attr := unix.PerfEventAttr{
		Type:   unix.PERF_TYPE_SOFTWARE,
		Config: unix.PERF_COUNT_SW_CPU_CLOCK,
		Sample: uint64(frequency),
		Bits:   unix.PerfBitFreq | unix.PerfBitDisabled,
	}
	attr.Size = uint32(unsafe.Sizeof(attr))
	fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	switch {
	case err == nil:
		return fd, nil
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		level, _ := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
		return -1, fmt.Errorf("the kernel refuses to sample CPUs (kernel.perf_event_paranoid is %s): needs CAP_PERFMON; run as root", strings.TrimSpace(string(level)))
	case errors.Is(err, unix.EINVAL):
		limit, _ := os.ReadFile("/proc/sys/kernel/perf_event_max_sample_rate")
		return -1, fmt.Errorf("the kernel refuses to sample at %d Hz (kernel.perf_event_max_sample_rate is %s)", frequency, strings.TrimSpace(string(limit)))
	case errors.Is(err, unix.ENOSYS):
		return -1, errors.New("this kernel lacks perf events (CONFIG_PERF_EVENTS), or a seccomp profile hides perf_event_open")
	}
	return -1, fmt.Errorf("opening the sampling clock on CPU %d: %w", cpu, err)
}

// Exited is closed when the target exits while being sampled.
func (p *Profiler) Exited() <-chan struct{} { return p.exited }

// watch notices the target's exit.
func (p *Profiler) watch() {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			if p.target.exited() {
				p.end = time.Now()
				close(p.exited)
				return
			}
		}
	}
}

// Stop ends the sampling and names what was found. It must be called once.
func (p *Profiler) Stop() (*Profile, error) {
	for _, fd := range p.clocks {
		unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_DISABLE, 0)
	}
	closeLinks(p.links)
	offCPU := len(p.links) > 0
	p.links = nil
	close(p.stop)
	p.done.Wait()
	defer p.close()
	var clock unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &clock); err != nil {
		return nil, err
	}
	now := time.Now()

	profile := &Profile{Frequency: p.frequency, Limits: p.limits, OffCPU: offCPU}
	select {
	case <-p.exited:
		profile.Exited, now = true, p.end
	default:
		// Libraries loaded since. A failure means that it is exiting now.
		_ = p.target.readMaps()
	}
	profile.Duration = now.Sub(p.started)
	for _, m := range p.target.maps {
		profile.Mappings = append(profile.Mappings, Mapping{m.start, m.end, m.offset, m.name})
	}
	return profile, p.collect(profile, uint64(clock.Nano()))
}

// collect reads the kernel's tables, at the end of the recording by the kernel's clock.
func (p *Profiler) collect(profile *Profile, end uint64) error {
	if err := errors.Join(
		p.coll.Variables[profileVarLostFull].Get(&profile.Lost),
		p.coll.Variables[profileVarCutStacks].Get(&profile.Cut),
		p.coll.Variables[profileVarLabelUnread].Get(&profile.Unread),
		p.coll.Variables[profileVarLabelFolded].Get(&profile.Folded),
	); err != nil {
		return fmt.Errorf("reading the sampler's counts: %w", err)
	}
	counts, err := p.counts(profile.OffCPU, end)
	if err != nil {
		return err
	}
	var labels map[uint32]profileLabel
	if p.labels != nil {
		if labels, err = p.labels.read(p.coll); err != nil {
			return err
		}
	}
	for key, count := range counts {
		inKernel, err := p.stack(key.Kernel)
		if err != nil {
			return err
		}
		inUser, err := p.stack(key.User)
		if err != nil {
			return err
		}
		user := inUser.addrs()
		if inUser.Top != 0 && len(user) > 0 && p.target.callerOnTop(user[0]) {
			// The frame pointer is still the caller's, so the chain begins with
			// the caller's caller.
			user = slices.Insert(user, 1, inUser.Top)
		}
		s := Sample{Count: count, PID: key.Pid, TID: key.Tid, Comm: cName(key.Comm[:]), Queued: key.Queued != 0}
		for i, a := range inKernel.addrs() {
			s.Stack = append(s.Stack, kernelFrame(a, i > 0))
		}
		if profile.OffCPU {
			// Above it is the way into our own program.
			i := slices.IndexFunc(s.Stack, func(f Frame) bool { return f.Symbol == "__schedule" })
			s.Stack = s.Stack[max(0, i):]
		}
		frames, complete := p.target.userFrames(user)
		s.Stack = append(s.Stack, frames...)
		if p.labels != nil {
			label, found := labels[key.Label]
			s.Labels = p.labels.of(label, found, frames)
		}
		if len(s.Stack) == 0 {
			profile.Lost += count
			continue
		}
		if s.Whole = complete && inUser.Root != 0 || isRoot(frames); !s.Whole {
			profile.Broken += count
		}
		profile.Samples = append(profile.Samples, s)
	}
	return nil
}

// counts reads the counts by stack. Off the CPU they are times, to which those of
// the threads that have not come back by the end are added.
func (p *Profiler) counts(offCPU bool, end uint64) (map[profileSampleKey]uint64, error) {
	counts := map[profileSampleKey]uint64{}
	var key profileSampleKey
	var count uint64
	all := p.coll.Maps[profileMapCounts].Iterate()
	for all.Next(&key, &count) {
		counts[key] = count
	}
	if err := all.Err(); err != nil {
		return nil, fmt.Errorf("reading the samples: %w", err)
	}
	if !offCPU {
		return counts, nil
	}
	var task uint64
	var off profileOffCpu
	threads := p.coll.Maps[profileMapOffCpuThreads].Iterate()
	for threads.Next(&task, &off) {
		woken := off.Woken
		if woken == 0 {
			woken = max(end, off.Since)
		}
		counts[off.Key] += woken - off.Since
		off.Key.Queued = 1
		counts[off.Key] += max(end, woken) - woken
	}
	if err := threads.Err(); err != nil {
		return nil, fmt.Errorf("reading the waiting threads: %w", err)
	}
	for key, ns := range counts {
		if counts[key] = ns / 1000; ns < 1000 {
			delete(counts, key)
		}
	}
	return counts, nil
}

// stack reads the stack that hash stands for.
func (p *Profiler) stack(hash uint64) (*profileStackTrace, error) {
	trace := new(profileStackTrace)
	if hash == 0 {
		return trace, nil
	}
	if err := p.coll.Maps[profileMapStacks].Lookup(hash, trace); err != nil {
		return nil, fmt.Errorf("reading a sampled stack: %w", err)
	}
	return trace, nil
}

func (t *profileStackTrace) addrs() []uint64 {
	return t.Frames[:min(t.Depth, uint64(len(t.Frames)))]
}

func (p *Profiler) close() {
	closeLinks(p.links)
	for _, fd := range p.clocks {
		unix.Close(fd)
	}
	if p.coll != nil {
		p.coll.Close()
	}
	p.labels.close()
	p.target.close()
}

// roots are the functions that a thread or goroutine begins with.
var roots = []string{
	"runtime.goexit", "runtime.goexit.abi0", // below every goroutine
	"runtime.rt0_go", "runtime.rt0_go.abi0", "runtime.mstart", "runtime.mstart.abi0", // Go's threads
	"_rt0_amd64_linux", "_rt0_arm64_linux", "runtime.mcall", "runtime.mcall.abi0", "runtime.morestack", "runtime.morestack.abi0",
	"main", "_start", "start_thread", "clone", "__clone", "clone3", "__clone3", // C's; main is as far as is of interest
}

// isRoot reports whether a user stack, leaf first, goes down to a root.
func isRoot(frames []Frame) bool {
	return slices.ContainsFunc(frames, func(f Frame) bool { return slices.Contains(roots, f.Symbol) })
}

// parseCPUs reads a list such as "0-3,8".
func parseCPUs(s string) []int {
	var cpus []int
	for part := range strings.SplitSeq(strings.TrimSpace(s), ",") {
		first, last, isRange := strings.Cut(part, "-")
		lo, err := strconv.Atoi(first)
		if err != nil {
			return nil
		}
		hi := lo
		if isRange {
			if hi, err = strconv.Atoi(last); err != nil {
				return nil
			}
		}
		for c := lo; c <= hi; c++ {
			cpus = append(cpus, c)
		}
	}
	return cpus
}
