package bpf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/redscope/redscope/engine/probe"
)

// WorkKind is a kind of work that an event loop does beside commands.
type WorkKind int

const (
	// Those that the marker loop_work tells.
	WorkCron   = WorkKind(probe.WorkCron)
	WorkExpire = WorkKind(probe.WorkExpire)
	WorkRehash = WorkKind(probe.WorkRehash)

	WorkEvict WorkKind = iota
	WorkAppend
	WorkFork
	WorkDefrag
	WorkStopped // by Go's runtime, all of the program
	WorkReplies // writing those of a turn, where it is not seen whose
	workKinds
)

var workNames = [workKinds]string{"serverCron", "expiry", "rehash", "eviction", "append-only file", "fork", "defragmentation", "stop-the-world", "replies"}

func (k WorkKind) String() string { return workNames[k] }

// stockWork are the functions that do such work in a stock server.
var stockWork = [...]struct {
	kind     WorkKind
	function string
}{
	{WorkCron, "serverCron"}, {WorkExpire, "activeExpireCycle"}, {WorkRehash, "incrementallyRehash"}, {WorkEvict, "performEvictions"},
	{WorkAppend, "flushAppendOnlyFile"}, {WorkFork, "redisFork"}, {WorkDefrag, "activeDefragCycle"},
}

const (
	waitWorth = 10 * time.Microsecond  // what is shorter is not told
	workWorth = 100 * time.Microsecond // of a stock server; ours has its own measure
	// eventsKept is how many waits and slices of work are remembered of commands
	// that have not ended yet.
	eventsKept = 1 << 16
)

// work is a slice of the loop's own work. Times are CLOCK_MONOTONIC in ns, here and below.
type work struct {
	kind     WorkKind
	from, to int64
	amount   int64
}

// wait is a time that a thread was not on a CPU.
type wait struct {
	since, woken, back int64 // blocked until woken, runnable from then on
	thread             uint32
	cpuHad             string // the thread that had the CPU until back
	blocked            blocked
}

// unseenSwitches are switches of a thread from and to its CPU that the kernel did not tell
// of: somewhere from the one before to the one behind.
type unseenSwitches struct {
	from, to int64
	thread   uint32
	count    int
}

// blocked says where in the kernel a thread was blocked: the kind of it, and the
// function in which it went to sleep.
type blocked struct{ kind, function string }

// loopWatcher sees what the threads of a process do beside executing commands.
type loopWatcher struct {
	target *process
	coll   *ebpf.Collection
	ring   *ringbuf.Reader
	record ringbuf.Record
	links  []link.Link
	limits []string
	thread uint32 // the only one of interest, 0 when it is not known yet

	waits  []wait // by back
	works  []work // by to
	unseen []unseenSwitches
}

// startLoopWatcher tells in arrivals, a map of c/arrival.h, since when what is read had
// waited in its socket.
func startLoopWatcher(target *process, arrivals *ebpf.Map) (l *loopWatcher, err error) {
	l = &loopWatcher{target: target}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	version, _ := features.LinuxVersionCode()
	if err = l.load(arrivals, version, loadLoop); err != nil {
		return l, err
	}
	if l.ring, err = ringbuf.NewReader(l.coll.Maps[loopMapLoopEvents]); err != nil {
		return l, fmt.Errorf("opening the ring of the loop: %w", err)
	}
	// A wake-up that is seen without the switch before it does no harm.
	for _, name := range slices.Concat(schedulerPrograms, socketPrograms) {
		if prog := l.coll.Programs[name]; prog != nil {
			t, err := link.AttachTracing(link.TracingOptions{Program: prog})
			if err != nil {
				return l, fmt.Errorf("attaching %s to its tracepoint: %w", name, err)
			}
			l.links = append(l.links, t)
		}
	}
	exe, err := l.target.main()
	if err != nil {
		return l, err
	}
	defer exe.close()
	if exe.isGo() {
		return l, l.attachOurs(exe)
	}
	return l, l.attachStock(exe)
}

// Programs on tracepoints of the kernel, in the order in which they are attached.
var (
	schedulerPrograms = []string{loopProgLoopWoken, loopProgLoopSwitched}
	socketPrograms    = []string{loopProgSocketRead, loopProgSocketReady}
)

// load loads the programs, without those for which a kernel of that version has nothing.
func (l *loopWatcher) load(arrivals *ebpf.Map, version uint32, programs func() (*ebpf.CollectionSpec, error)) error {
	lacking := []struct {
		programs []string
		since    uint32
		limit    string
	}{
		{socketPrograms, 6<<16 | 3<<8, "how long a request lay in its socket before the event loop woke up is not seen: that needs Linux 6.3 and the kernel's BTF (CONFIG_DEBUG_INFO_BTF)"},
		{schedulerPrograms, 5<<16 | 18<<8, "when the loop was blocked or waited for a CPU is not seen: that needs Linux 5.18 and the kernel's BTF (CONFIG_DEBUG_INFO_BTF)"},
	}
	for without := 0; ; without++ {
		spec, err := programs()
		if err != nil {
			return err
		}
		prepare(spec)
		for _, of := range lacking[:without] {
			for _, name := range of.programs {
				delete(spec.Programs, name)
			}
		}
		l.coll, err = l.target.load(spec, map[string]any{loopVarWaitWorth: uint64(waitWorth), loopVarWorkWorth: uint64(workWorth)},
			map[string]*ebpf.Map{loopMapArrivals: arrivals})
		if err == nil || without == len(lacking) || version >= lacking[without].since && !lacksBTF(err) {
			return err
		}
		l.limit("%s", lacking[without].limit)
	}
}

func (l *loopWatcher) limit(format string, args ...any) {
	l.limits = append(l.limits, fmt.Sprintf(format, args...))
}

// attachOurs attaches to the marker of our server, and to the runtime's way of
// stopping all goroutines.
func (l *loopWatcher) attachOurs(exe *image) error {
	if at, err := l.target.markers([]string{"loop_work"}); err != nil {
		l.limit("the loop's own work is not seen: %v", err)
	} else if err := l.attach(loopProgLoopWork, at); err != nil {
		return err
	}
	const anyThread = 0x100 // ANY_THREAD in c/loop.bpf.c
	for _, p := range []struct{ program, function string }{
		{loopProgWorkEnd, "runtime.startTheWorldWithSema"}, {loopProgWorkStart, "runtime.stopTheWorldWithSema"},
	} {
		f, err := exe.lookup(p.function)
		if err != nil {
			l.limit("when Go's runtime stops the server is not seen: %v", err)
			return nil
		}
		site, err := exe.site(f)
		if err != nil {
			l.limit("when Go's runtime stops the server is not seen: %v", err)
			return nil
		}
		if err := l.attach(p.program, probes{offsets: []uint64{site.File}, cookies: []uint64{uint64(WorkStopped) | anyThread}}); err != nil {
			return err
		}
	}
	return nil
}

// attachStock attaches to a stock server's functions.
func (l *loopWatcher) attachStock(exe *image) error {
	if exe.isKeyDB() { // which must have no return probes
		l.limit("what the event loops do besides commands is not seen: there are several")
		return nil
	}
	var at probes
	for _, w := range stockWork {
		site, err := exe.cSite(w.function)
		if err != nil {
			l.limit("%s is not seen: %v", w.kind, err)
			continue
		}
		at.offsets = append(at.offsets, site.File)
		at.cookies = append(at.cookies, uint64(w.kind))
	}
	if at.offsets == nil {
		return nil
	}
	ends := at
	ends.returns = true
	if err := l.attach(loopProgWorkEnd, ends); err != nil {
		return err
	}
	return l.attach(loopProgWorkStart, at)
}

func (l *loopWatcher) attach(program string, at probes) error {
	links, err := l.target.attach(l.coll.Programs[program], at)
	l.links = append(l.links, links...)
	return err
}

// follow leaves out all threads but one from now on.
func (l *loopWatcher) follow(thread uint32) error {
	if thread == l.thread {
		return nil
	}
	l.thread = thread
	l.waits = slices.DeleteFunc(l.waits, func(w wait) bool { return w.thread != thread })
	return l.coll.Variables[loopVarOnlyThread].Set(uint64(thread))
}

// drain takes what is there.
func (l *loopWatcher) drain() error {
	err := drainRing(l.ring, &l.record, eventsKept, l.add)
	if err != nil {
		return fmt.Errorf("reading the ring of the loop: %w", err)
	}
	return nil
}

func (l *loopWatcher) add(e *loopLoopEvent) {
	const isWait, isUnseen = 0xff, 0xfe // WAIT, UNSEEN in c/loop.bpf.c
	switch {
	case e.Kind >= isUnseen && l.thread != 0 && e.Thread != l.thread:
	case e.Kind == isUnseen:
		l.unseen = append(l.unseen, unseenSwitches{int64(e.Start), int64(e.End), e.Thread, int(e.Amount)})
	case e.Kind == isWait:
		w := wait{since: int64(e.Start), woken: int64(e.Woken), back: int64(e.End), thread: e.Thread, cpuHad: cName(e.CpuHad[:])}
		if w.woken > w.since {
			w.blocked = whereBlocked(e.Stack[:])
		}
		l.waits = append(l.waits, w)
	case e.Kind < uint32(workKinds):
		l.works = append(l.works, work{WorkKind(e.Kind), int64(e.Start), int64(e.End), int64(e.Amount)})
	}
	if len(l.waits) > eventsKept {
		l.waits = slices.Delete(l.waits, 0, eventsKept/2)
	}
	if len(l.works) > eventsKept {
		l.works = slices.Delete(l.works, 0, eventsKept/2)
	}
}

// waitsOf are the waits of a thread.
func (l *loopWatcher) waitsOf(thread uint32) []wait {
	if l.thread == thread {
		return l.waits // those of others are left out
	}
	return slices.DeleteFunc(slices.Clone(l.waits), func(w wait) bool { return w.thread != thread })
}

// forget drops what ended before a time.
func (l *loopWatcher) forget(before int64) {
	i, _ := slices.BinarySearchFunc(l.waits, before, func(w wait, t int64) int { return cmp.Compare(w.back, t) })
	l.waits = slices.Delete(l.waits, 0, i)
	i, _ = slices.BinarySearchFunc(l.works, before, func(w work, t int64) int { return cmp.Compare(w.to, t) })
	l.works = slices.Delete(l.works, 0, i)
	l.unseen = slices.DeleteFunc(l.unseen, func(u unseenSwitches) bool { return u.to < before })
}

// unseenIn is how many switches from the thread's CPU may have been in a time and were
// not told of.
func (l *loopWatcher) unseenIn(thread uint32, from, to int64) (n int) {
	for _, u := range l.unseen {
		if u.thread == thread && u.from < to && from < u.to {
			n += u.count
		}
	}
	return n
}

func (l *loopWatcher) limitsNow() ([]string, error) {
	var lost uint64
	if err := readVariables(l.coll, map[string]*uint64{loopVarLoopLost: &lost}); err != nil {
		return nil, err
	}
	all := slices.Clone(l.limits)
	if lost > 0 {
		all = append(all, fmt.Sprintf("%d times that the loop waited or worked were lost: there was no room for them", lost))
	}
	return all, nil
}

func (l *loopWatcher) close() {
	closeLinks(l.links)
	l.links = nil
	if l.ring != nil {
		l.ring.Close()
	}
	if l.coll != nil {
		l.coll.Close()
	}
}

// kindsOfBlocking tells by the functions on a kernel stack why the thread was
// blocked; the first that fits holds.
var kindsOfBlocking = []struct {
	kind string
	in   []string // one of these is part of a function's name
}{
	{"stopped", []string{"do_signal_stop", "ptrace_stop", "do_freezer_trap", "__refrigerator"}},
	{"fsync", []string{"fsync", "fdatasync", "sync_file_range", "msync"}},
	{"page fault", []string{"exc_page_fault", "do_user_addr_fault", "do_page_fault", "do_mem_abort", "handle_mm_fault"}},
	{"lock", []string{"futex"}},
	{"sleep", []string{"nanosleep"}},
	{"network", []string{"sock_", "tcp_", "unix_stream_", "inet_"}},
	{"disk", []string{"vfs_write", "vfs_read", "vfs_writev", "filemap_", "blk_", "submit_bio", "io_schedule"}},
}

// whereBlocked makes sense of a kernel stack, leaf first.
func whereBlocked(stack []uint64) blocked {
	var names []string
	for i, a := range stack {
		if a == 0 {
			break
		}
		names = append(names, kernelFrame(a, i > 0).Symbol)
	}
	return blockedIn(names)
}

func blockedIn(names []string) (b blocked) {
	// Above __schedule is the way into our own program.
	names = names[max(0, slices.Index(names, "__schedule")):]
	for len(names) > 0 && (strings.HasPrefix(strings.TrimLeft(names[0], "_"), "schedule") || strings.HasPrefix(names[0], "io_schedule") || strings.HasPrefix(names[0], "preempt_schedule") || names[0] == "__cond_resched") {
		names = names[1:]
	}
	if len(names) > 0 {
		b.function = names[0]
	}
	for _, k := range kindsOfBlocking {
		for _, n := range names {
			if slices.ContainsFunc(k.in, func(part string) bool { return strings.Contains(n, part) }) {
				b.kind = k.kind
				return b
			}
		}
	}
	b.kind = "kernel"
	for _, n := range names {
		if _, call, ok := strings.Cut(n, "_sys_"); ok {
			b.kind = call
			break
		}
	}
	return b
}
