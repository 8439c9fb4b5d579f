package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/engine/probe"
)

// A Phase is a part of a command's time. They follow one another, and
// PhaseTotal is all of them.
type Phase int

const (
	PhaseWait  Phase = iota // since the loop woke up, behind other clients
	PhaseRead               // read(2)
	PhaseParse              // until it was parsed, with others of the same read; of a stock server up to its call, by itself
	PhaseQueue              // behind commands of the same read
	PhaseCall               // the command's function
	PhaseHold               // until its reply was written, with others of the same turn
	PhaseWrite              // write(2)
	PhaseTotal
	PhaseCount = iota
)

var phaseNames = [PhaseCount]string{"wait", "read", "parse", "queue", "call", "hold", "write", "total"}

func (p Phase) String() string { return phaseNames[p] }

// CommandRecord is all that is known of one command.
type CommandRecord struct {
	probe.Command
	// Arrived is when its request came into its socket, 0 when that is not known:
	// CommandOptions.Explain asks for it.
	Arrived int64
	Name    string // as "GET" or "CONFIG SET", "" for an unknown command
	// Why it was kept; more than one may hold.
	Slow, Failed, Sampled bool

	thread uint32 // that executed it, of several, as the kernel numbers it; else 0
}

const (
	keptSlow = 0x100 << iota // KEPT_ in c/commands.h
	keptFailed
	keptSampled
)

// ErrorCode is the code of the error that the command was answered with, at most
// 16 bytes of it.
func (r *CommandRecord) ErrorCode() string { return strings.TrimRight(string(r.Error[:]), "\x00") }

// FirstKey is the first key, at most 32 bytes of it.
func (r *CommandRecord) FirstKey() []byte { return r.Key[:min(int(r.KeyLen), len(r.Key))] }

// Phase returns how long a phase took, and false when that is not known.
func (r *CommandRecord) Phase(p Phase) (time.Duration, bool) {
	times := [...]int64{r.Wake, r.ReadStart, r.ReadEnd, r.Parsed, r.Start, r.End, r.WriteStart, r.WriteEnd}
	var from, to int64
	if p == PhaseTotal {
		from, to = r.begin(), cmp.Or(r.WriteEnd, r.End)
	} else {
		from, to = times[p], times[p+1]
	}
	return time.Duration(max(0, to-from)), from != 0 && to != 0
}

// Socket returns how long its request lay in its socket before the event loop woke
// up for it, and false when that is not known.
func (r *CommandRecord) Socket() (time.Duration, bool) {
	return time.Duration(max(0, r.Wake-r.Arrived)), r.Arrived != 0 && r.Wake != 0
}

func (r *CommandRecord) begin() int64 {
	if r.Flags&probe.CommandBlocked != 0 {
		return r.Start
	}
	begin := cmp.Or(r.Wake, r.ReadStart, r.Start)
	return min(begin, cmp.Or(r.Arrived, begin))
}

// Histogram counts durations: exact to the nanosecond below 64 ns, and to 0.8 %
// up to 137 s, which stands for all that is longer.
type Histogram struct {
	Sum    time.Duration
	counts []uint64 // by step, nil for none
}

// histogramSteps is STEPS in c/commands.h.
const histogramSteps = 64

// Count is how many there are.
func (h Histogram) Count() uint64 {
	var n uint64
	for _, c := range h.counts {
		n += c
	}
	return n
}

// Quantile returns a duration that the share q of all does not exceed; 0 when
// there is none.
func (h Histogram) Quantile(q float64) time.Duration {
	rank := max(1, uint64(math.Ceil(q*float64(h.Count()))))
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen >= rank {
			from, to := stepBounds(i)
			return from + (to-from-1)/2
		}
	}
	return 0
}

// Step is how many durations there are from one up to another, that one not
// included.
type Step struct {
	From, To time.Duration
	Count    uint64
}

// Steps returns those steps that are not empty, in rising order.
func (h Histogram) Steps() []Step {
	var steps []Step
	for i, c := range h.counts {
		if c > 0 {
			from, to := stepBounds(i)
			steps = append(steps, Step{from, to, c})
		}
	}
	return steps
}

// stepBounds are the least duration of a histogram's step, and of the next one.
func stepBounds(i int) (from, to time.Duration) {
	shift := max(0, i/histogramSteps-1)
	lowest := time.Duration(i - shift*histogramSteps)
	return lowest << shift, (lowest + 1) << shift
}

// Sub returns what h has more than an earlier reading of it.
func (h Histogram) Sub(earlier Histogram) Histogram {
	d := Histogram{Sum: h.Sum - earlier.Sum, counts: append([]uint64(nil), h.counts...)}
	for i, n := range earlier.counts {
		d.counts[i] -= n
	}
	return d
}

// Add returns both together.
func (h Histogram) Add(other Histogram) Histogram {
	if len(h.counts) == 0 {
		return other
	}
	d := Histogram{Sum: h.Sum + other.Sum, counts: append([]uint64(nil), h.counts...)}
	for i, n := range other.counts {
		d.counts[i] += n
	}
	return d
}

// CommandStats is what was seen of one command.
type CommandStats struct {
	Name       string // "" for all commands that are unknown to the server
	Calls      uint64
	Failed     uint64 // of Calls
	Refused    uint64 // by a check; not among Calls
	ReplyBytes uint64
	// Phases are the calls' histograms; empty for a command that came when there
	// were none left (CommandOptions.Histograms).
	Phases [PhaseCount]Histogram
}

// CommandTotals says what became of all commands. Once the watcher is detached,
// Seen = Sent + Filtered + Dropped.
type CommandTotals struct {
	Seen     uint64 // executed or refused while the process was watched, as it counts them itself
	Sent     uint64 // as records, for Drain
	Filtered uint64 // not wanted as records
	Dropped  uint64 // records for which the ring had no room, and what was missed
	Missed   uint64 // of Dropped: not even counted
	Shed     uint64 // of Filtered: not looked at, to keep to CommandOptions.Budget

	// CallsBefore and CallsAfter are the sums of the calls that the server's INFO
	// commandstats gives, before the first and after the last command seen; 0 when
	// the server's version is not known.
	CallsBefore, CallsAfter uint64

	Turns uint64        // of the event loop
	Idle  time.Duration // that it waited for events, while watched; of a stock server, that its thread slept
}

// CommandCost is what watching has cost the process, besides the hits themselves.
type CommandCost struct {
	Hits     uint64        // of probes
	Commands uint64        // looked at meanwhile
	RunTime  time.Duration // of the eBPF program, if CommandOptions.Cost asked for it
}

// CommandOptions says which process to watch, and which commands to keep whole
// records of.
type CommandOptions struct {
	PID        int
	SlowerThan time.Duration // those whose execution, or all of whose phases, took as long; 0 for none
	OneIn      uint64        // one in so many; 0 for none, 1 for all
	Failed     bool          // those answered with an error
	Histograms uint32        // how many commands can have histograms, which take 128 KiB each; 0 for 128
	Phases     bool          // of a stock server, also the phases before and after the call; costs one more probe per read and per turn
	// Returns is for a stock server other than KeyDB: see the end of a call by its return, which costs
	// it some 0.2 µs per command less; but a stack that a profiler takes meanwhile ends
	// at call.
	Returns bool
	// Explain keeps, for each slow command, the others of its turn and of the one before too,
	// and watches what the event loop does besides, for CommandWatcher.Explain. A command
	// is as slow then as from its request's arrival in its socket. It takes Phases.
	Explain bool
	Cost    bool // measure the program's run time, which costs some 20 ns per hit
	// Budget is the share of the process's processor time that watching may cost
	// it; 0 for whatever it takes. Budget says what that means.
	Budget float64
}

// CommandWatcher counts and measures every command of a server.
type CommandWatcher struct {
	target *process
	source commandSource
	coll   *ebpf.Collection
	ring   *ringbuf.Reader
	links  []link.Link
	stats  io.Closer // while the kernel measures run times
	limits []string
	record ringbuf.Record
	budget *budget    // nil for none
	why    *explainer // nil unless CommandOptions.Explain
}

// commandSource is where the records of commands come from: our server's marker,
// or the functions of a stock server. Their programs all have the maps and
// variables of c/commands.h.
type commandSource interface {
	spec() (spec *ebpf.CollectionSpec, constants map[string]any, err error)
	attach(*ebpf.Collection) ([]link.Link, error)
	// end calls detach, so that totals are those of what was seen.
	end(coll *ebpf.Collection, detach func()) error
	name(coll *ebpf.Collection, id int) string
	// learn reads what the process knows alone, every 20 ms or so, and tells by
	// ErrExited that there is no such process any more.
	learn(*ebpf.Collection) error
	// totals fills in what account does not count. Before the end, Seen may be 0.
	totals(*ebpf.Collection) (CommandTotals, error)
	hits(*ebpf.Collection) (uint64, error)
	limitsNow(*ebpf.Collection) ([]string, error)
	governed
	close()
}

// StartCommandWatcher begins to watch a redscope server by its marker, or a stock
// server by its functions. The watcher must be closed.
func StartCommandWatcher(opts CommandOptions) (w *CommandWatcher, err error) {
	w = &CommandWatcher{}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	if w.target, err = openProcess(opts.PID); err != nil {
		return w, err
	}
	if opts.Explain {
		opts.Phases = true
	}
	source, err := newCommandSource(w.target, opts)
	if err != nil {
		return w, err
	}
	w.source = source
	spec, constants, err := source.spec()
	if err != nil {
		return w, err
	}
	prepare(spec)
	constants[turnVarSlowerThan] = uint64(max(0, opts.SlowerThan))
	constants[turnVarOneIn] = opts.OneIn
	constants[turnVarKeepFailed] = opts.Failed
	constants[turnVarGoverned] = opts.Budget > 0
	constants[turnVarKeepTurn] = opts.Explain && constants[callsVarManyThreads] != true
	if !opts.Explain {
		spec.Maps[turnMapLedger].MaxEntries = 1
	}
	if opts.Histograms != 0 {
		spec.Maps[turnMapHistograms].MaxEntries = opts.Histograms
	}
	w.coll, err = w.target.load(spec, constants, nil)
	if err != nil {
		version, _ := features.LinuxVersionCode()
		return w, oldForCommands(err, version)
	}
	if w.ring, err = ringbuf.NewReader(w.coll.Maps[turnMapCommandRing]); err != nil {
		return w, fmt.Errorf("opening the ring of commands: %w", err)
	}
	if opts.Cost || opts.Budget > 0 {
		w.stats, err = ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
		switch {
		case errors.Is(err, unix.EPERM) && opts.Budget > 0:
			return w, errors.New("a budget needs CAP_SYS_ADMIN: without it what looking costs cannot be measured")
		case errors.Is(err, unix.EPERM):
			w.limits = append(w.limits, "what looking costs is not measured: that needs CAP_SYS_ADMIN")
		case err != nil:
			return w, fmt.Errorf("measuring the run time of eBPF programs: %w", err)
		}
	}
	if opts.Explain {
		if w.why, err = newExplainer(w.target, opts.SlowerThan, w.coll.Maps[turnMapArrivals]); err != nil {
			return w, err
		}
	}
	if opts.Budget > 0 {
		if w.budget, err = newBudget(opts.Budget, w.source.costs()); err != nil {
			return w, err
		}
	}
	if w.links, err = w.source.attach(w.coll); err != nil {
		return w, err
	}
	return w, w.begin()
}

func newCommandSource(p *process, opts CommandOptions) (commandSource, error) {
	exe, err := p.main()
	if err != nil {
		return nil, err
	}
	defer exe.close()
	if exe.isGo() {
		return newTurnSource(p)
	}
	return newCallSource(p, opts)
}

// ringRecord is record in c/commands.h.
type ringRecord struct {
	probe.Command
	Arrived int64
	Thread  uint64
}

// drainAtMost is more than the ring has room for: Drain ends although records may
// come faster than they are taken.
const drainAtMost = 60_000

// Drain calls f with each record that is there. Call it every 20 ms or so: the
// ring has room for 49,000. When the process has exited it returns ErrExited,
// after the last of them. The record is valid during the call only. It is Drain
// that keeps to the budget; with one, call nothing of w meanwhile.
func (w *CommandWatcher) Drain(f func(*CommandRecord)) error {
	gone := w.source.learn(w.coll) // asked before the ring is read for the last time
	if gone != nil && !errors.Is(gone, ErrExited) {
		return gone
	}
	var r CommandRecord
	err := drainRing(w.ring, &w.record, drainAtMost, func(sent *ringRecord) {
		r.Command, r.Arrived, r.thread = sent.Command, sent.Arrived, uint32(sent.Thread)
		r.Name = w.source.name(w.coll, int(r.Command.Command))
		r.Slow, r.Failed, r.Sampled = r.Flags&keptSlow != 0, r.Flags&keptFailed != 0, r.Flags&keptSampled != 0
		if w.why == nil || w.why.add(&r) {
			f(&r)
		}
	})
	switch {
	case err != nil:
		return fmt.Errorf("reading the ring of commands: %w", err)
	case gone != nil:
		return gone
	}
	return w.govern()
}

// drainRing calls f with each entry that is in a ring, at most so many, without
// waiting. What f gets is valid during the call only.
func drainRing[T any](ring *ringbuf.Reader, record *ringbuf.Record, most int, f func(*T)) error {
	ring.SetDeadline(time.Unix(1, 0)) // long past
	for range most {
		err := ring.ReadInto(record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		var entry *T
		if len(record.RawSample) < int(unsafe.Sizeof(*entry)) {
			return fmt.Errorf("an entry of %d bytes", len(record.RawSample))
		}
		entry = (*T)(unsafe.Pointer(unsafe.SliceData(record.RawSample)))
		f(entry)
	}
	return nil
}

// Snapshot returns what was seen so far of each command that was, in the order of
// the server's table.
func (w *CommandWatcher) Snapshot() ([]CommandStats, error) {
	var cursor ebpf.MapBatchCursor
	m := w.coll.Maps[turnMapCommandCounts]
	counts := make([]turnCommandCount, m.MaxEntries())
	n, err := m.BatchLookup(&cursor, make([]uint32, len(counts)), counts, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, fmt.Errorf("reading the counts of commands: %w", err)
	}
	var all []CommandStats
	for i, c := range counts[:n] {
		if c.Calls+c.Refused == 0 {
			continue
		}
		s := CommandStats{Name: w.source.name(w.coll, i-1), Calls: c.Calls, Failed: c.Failed, Refused: c.Refused, ReplyBytes: c.ReplyBytes}
		if m := w.coll.Maps[turnMapHistograms]; c.Histograms != 0 && c.Histograms <= uint64(m.MaxEntries()) {
			h := new(turnCommandHistograms)
			if err := m.Lookup(uint32(c.Histograms-1), h); err != nil {
				return nil, fmt.Errorf("reading the times of commands: %w", err)
			}
			for p := range s.Phases {
				s.Phases[p] = Histogram{time.Duration(h.Sum[p]), h.Counts[p][:]}
			}
		}
		all = append(all, s)
	}
	return all, nil
}

// Totals returns what has become of all commands so far.
func (w *CommandWatcher) Totals() (CommandTotals, error) {
	t, err := w.source.totals(w.coll)
	if err != nil {
		return t, err
	}
	var noRoom uint64
	err = readVariables(w.coll, map[string]*uint64{
		turnVarCommandsSent: &t.Sent, turnVarCommandsFiltered: &t.Filtered, turnVarCommandsDropped: &noRoom,
	})
	t.Dropped = noRoom + t.Missed
	t.Filtered += t.Shed
	if t.Seen == 0 {
		t.Seen = t.Sent + t.Filtered + t.Dropped
	}
	return t, err
}

// Limits says, a line each, what cannot be seen of the commands of this server.
// Some of it shows only after a few hundred commands.
func (w *CommandWatcher) Limits() ([]string, error) {
	of, err := w.source.limitsNow(w.coll)
	limits := slices.Concat(w.limits, of)
	if err != nil || w.why == nil {
		return limits, err
	}
	more, err := w.why.limitsNow(w.coll)
	return append(limits, more...), err
}

// Cost returns what watching has cost so far.
func (w *CommandWatcher) Cost() (CommandCost, error) {
	t, err := w.Totals()
	if err != nil {
		return CommandCost{}, err
	}
	c := CommandCost{Commands: t.Seen - t.Shed}
	if c.Hits, err = w.source.hits(w.coll); err != nil || w.stats == nil {
		return c, err
	}
	for _, program := range w.coll.Programs {
		stats, err := program.Stats()
		if err != nil {
			return c, fmt.Errorf("reading the run time of the eBPF program: %w", err)
		}
		c.RunTime += stats.Runtime
	}
	return c, nil
}

// readVariables reads variables of a program.
func readVariables(coll *ebpf.Collection, variables map[string]*uint64) error {
	for name, v := range variables {
		if err := coll.Variables[name].Get(v); err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
	}
	return nil
}

// Detach ends the watching. What was seen can still be asked for.
func (w *CommandWatcher) Detach() error {
	if w.links == nil && !w.paused() {
		return nil
	}
	return errors.Join(w.endBudget(), w.source.end(w.coll, w.unlink))
}

// Close detaches the watcher and forgets what was seen.
func (w *CommandWatcher) Close() {
	w.Detach()
	if w.why != nil {
		w.why.loop.close()
	}
	if w.stats != nil {
		w.stats.Close()
	}
	if w.ring != nil {
		w.ring.Close()
	}
	if w.coll != nil {
		w.coll.Close()
	}
	if w.source != nil {
		w.source.close()
	}
	if w.target != nil {
		w.target.close()
	}
}
