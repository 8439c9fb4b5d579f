package bpf

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// load loads the programs and maps of spec for watching p, with further
// constants set by name, and with the maps that it shares with another collection.
func (p *process) load(spec *ebpf.CollectionSpec, constants map[string]any, shared map[string]*ebpf.Map) (*ebpf.Collection, error) {
	values := map[string]any{"target_ns_dev": p.nsDev, "target_ns_ino": p.nsIno, "target_pid": p.nsPID}
	for name, v := range constants {
		values[name] = v
	}
	for name, v := range values {
		if err := spec.Variables[name].Set(v); err != nil {
			return nil, fmt.Errorf("setting %s: %w", name, err)
		}
	}
	// Needed before Linux 5.11 only, and there the load below fails without it
	// and says why.
	memlock := rlimit.RemoveMemlock()
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: shared})
	if err == nil {
		return coll, nil
	}
	if unsupported := Supported(); unsupported != nil {
		return nil, unsupported
	}
	if memlock != nil && errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("loading eBPF: %w (the limit on locked memory could not be raised: %v)", err, memlock)
	}
	return nil, fmt.Errorf("loading eBPF: %w", err)
}

// probes is a program that will be attached to places in one file.
type probes struct {
	offsets    []uint64 // in the file
	semaphores []uint64 // in the file; nil for none
	cookies    []uint64 // nil for none
	returns    bool     // when the functions there return
	cost       Cost     // of a hit, where they differ the highest
}

// multiSupported tells whether uprobes may be attached many at once. Before
// Linux 6.10 such a link for one process saw only its first thread (46ba0e49b642,
// "fix multi-uprobe PID filtering logic").
func multiSupported() bool {
	version, err := features.LinuxVersionCode()
	return err == nil && version >= 6<<16|10<<8 && features.HaveBPFLinkUprobeMulti() == nil
}

// prepare makes the uprobe programs of spec fit for attach.
func prepare(spec *ebpf.CollectionSpec) {
	if multiSupported() {
		for _, prog := range spec.Programs {
			if prog.Type == ebpf.Kprobe {
				prog.AttachType = ebpf.AttachTraceUprobeMulti
			}
		}
	}
}

// attach places prog in the executable of p. The links must be closed; closing
// takes the probes out. The program filters by process itself: the second form
// reaches every process that runs the file, because a perf event for one pid
// would see one of its threads.
func (p *process) attach(prog *ebpf.Program, at probes) ([]link.Link, error) {
	ex, err := link.OpenExecutable(p.path("exe"))
	if err != nil {
		return nil, p.denied("its executable", err)
	}
	if multiSupported() {
		place := ex.UprobeMulti
		if at.returns {
			place = ex.UretprobeMulti
		}
		l, err := place(nil, prog, &link.UprobeMultiOptions{
			Addresses: at.offsets, RefCtrOffsets: at.semaphores, Cookies: at.cookies, PID: uint32(p.pid),
		})
		if err != nil {
			return nil, p.attachError(err)
		}
		return []link.Link{l}, nil
	}
	var links []link.Link
	for i, off := range at.offsets {
		opts := &link.UprobeOptions{Address: off}
		if at.semaphores != nil {
			opts.RefCtrOffset = at.semaphores[i]
		}
		if at.cookies != nil {
			opts.Cookie = at.cookies[i]
		}
		place := ex.Uprobe
		if at.returns {
			place = ex.Uretprobe
		}
		l, err := place("", prog, opts)
		if err != nil {
			closeLinks(links)
			return nil, p.attachError(err)
		}
		links = append(links, l)
	}
	return links, nil
}

func (p *process) attachError(err error) error {
	switch {
	case p.exited():
		return ErrExited
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("pid %d (%s): attaching a probe: %w; needs CAP_PERFMON and CAP_BPF: run as root", p.pid, p.comm, err)
	}
	return fmt.Errorf("pid %d (%s): attaching a probe: %w", p.pid, p.comm, err)
}

// closeLinks takes probes out. All at once: for each the kernel waits until no CPU
// can be at it, some 50 ms, and then all have waited for the same.
func closeLinks(links []link.Link) {
	var all sync.WaitGroup
	for _, l := range links {
		all.Go(func() { l.Close() })
	}
	all.Wait()
}

// ErrExited reports that the watched process has exited. What was seen until
// then has been delivered.
var ErrExited = errors.New("the process exited")

// Supported returns nil when this process may use everything in this package on
// this kernel, else an error that names what is missing and what to do.
func Supported() error {
	if err := capabilities(); err != nil {
		return err
	}
	for _, have := range []struct {
		what, since string
		err         error
	}{
		{"eBPF programs on perf events", "4.9", features.HaveProgramType(ebpf.PerfEvent)},
		{"eBPF programs on uprobes (CONFIG_UPROBE_EVENTS, CONFIG_BPF_EVENTS)", "4.3", features.HaveProgramType(ebpf.Kprobe)},
		{"eBPF ring buffers", "5.8", features.HaveMapType(ebpf.RingBuf)},
	} {
		if err := lacking(have.what, have.since, have.err); err != nil {
			return err
		}
	}
	if _, err := os.Stat("/sys/bus/event_source/devices/uprobe"); err != nil && !multiSupported() {
		return fmt.Errorf("this kernel lacks uprobes (CONFIG_UPROBE_EVENTS)")
	}
	fd, err := openClock(onlineCPUs()[0], 1)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// lacking explains the error of testing for something that is in Linux since a
// version.
func lacking(what, since string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("this kernel lacks %s, in Linux since %s; redscope probes, usdt, flame and diff work", what, since)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("the kernel refuses eBPF although the capabilities are there: in a container, run it with --privileged or --cap-add BPF,PERFMON,SYS_PTRACE and a seccomp profile that allows bpf and perf_event_open; a locked-down kernel refuses always")
	}
	return fmt.Errorf("testing for %s: %w", what, err)
}

// lacksBTF tells whether err is for want of the kernel's description of its types.
func lacksBTF(err error) bool {
	_, missing := os.Stat("/sys/kernel/btf/vmlinux")
	return missing != nil && errors.Is(err, ebpf.ErrNotSupported)
}

// oldForCommands explains the error of loading programs that watch commands on a
// kernel of a version.
func oldForCommands(err error, version uint32) error {
	if err == nil || version >= 5<<16|15<<8 {
		return err
	}
	return fmt.Errorf("watching commands needs Linux 5.15, this is %d.%d; redscope record and stack work from 5.8 on: %w", version>>16, version>>8&0xff, err)
}

// capabilities checks this process's effective capabilities.
func capabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("reading this process's capabilities: %w", err)
	}
	effective := uint64(data[0].Effective) | uint64(data[1].Effective)<<32
	has := func(c int) bool { return effective>>c&1 != 0 }
	if has(unix.CAP_SYS_ADMIN) {
		return nil
	}
	var missing string
	for _, c := range []struct {
		n    int
		name string
	}{{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_PERFMON, "CAP_PERFMON"}} {
		if !has(c.n) {
			if missing != "" {
				missing += " and "
			}
			missing += c.name
		}
	}
	if missing != "" {
		return fmt.Errorf("eBPF needs %s: run as root, or give the program cap_bpf,cap_perfmon,cap_sys_ptrace with setcap; redscope probes, usdt, flame and diff work without", missing)
	}
	return nil
}

// onlineCPUs lists the CPUs that can be sampled; at least one.
func onlineCPUs() []int {
	var cpus []int
	data, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err == nil {
		cpus = parseCPUs(string(data))
	}
	if len(cpus) == 0 {
		for i := range runtime.NumCPU() {
			cpus = append(cpus, i)
		}
	}
	return cpus
}
