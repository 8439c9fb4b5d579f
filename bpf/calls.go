package bpf

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"
)

// callSource sees the commands of a stock server (Redis, Valkey, KeyDB) by
// probes on its functions, as c/calls.bpf.c describes.
type callSource struct {
	target *process
	mem    *memory
	layout *serverLayout // nil when it is not known
	server uint64        // address of the server's structure, 0 when it is not known
	// manyThreads: several threads execute commands.
	manyThreads bool

	// The server's own counts when the watching began, and when it ended.
	before, after struct{ calls, errors uint64 }
	ended         bool
	past          callsPast
	asleep        sleepClock // of the first thread, where it is the event loop's

	probes        []callProbe // the end of a call first, its beginning last
	phases        []callProbe // those of CommandOptions.Phases
	readsSeen     bool        // of CommandOptions.Phases, by a tracepoint of the kernel:
	writesSeen    bool        // of requests, and of replies
	links         []link.Link // of all probes but the end of a call
	phaseLinks    []link.Link // nil while they are not attached
	withoutPhases bool        // for now
	names         map[int]string
	limits        []string
}

// callProbe is a program and where it goes.
type callProbe struct {
	program string
	at      probes
}

// newCallSource finds what can be seen of p.
func newCallSource(p *process, opts CommandOptions) (s *callSource, err error) {
	exe, err := p.main()
	if err != nil {
		return nil, err
	}
	defer exe.close()
	call, err := exe.cFunction("call")
	if err != nil {
		return nil, fmt.Errorf("%w; watching commands needs a redscope server or a Redis, Valkey or KeyDB server with its symbols", err)
	}
	s = &callSource{target: p, names: map[int]string{}, manyThreads: exe.isKeyDB()}
	if !s.manyThreads {
		s.asleep.schedstat = p.path(fmt.Sprintf("task/%d/schedstat", p.pid))
	}
	if s.mem, err = p.memory(); err != nil {
		return nil, err
	}
	if err := s.find(exe, call, opts); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *callSource) find(exe *image, call symbol, opts CommandOptions) error {
	start := exe.function(call)
	if start.Site.Cost == CostNone {
		return fmt.Errorf("%s: call cannot be probed: %s", exe.name, start.Site.Reason)
	}
	// Each call asks once, at its end, how much memory is in use, and then has something
	// to do after the command. A probe there leaves the stack as it is, which a return
	// probe, that works everywhere, does not.
	end := callProbe{program: callsProgCallEnd, at: probes{offsets: []uint64{start.Site.File}, returns: true, cost: costReturn}}
	if s.manyThreads {
		// KeyDB does not ask after each command, and must have no return probe.
		at, err := exe.returns(call)
		if err != nil {
			return err
		}
		end.at = probes{offsets: at, cost: CostSingleStep}
	} else if !opts.Returns {
		for _, name := range []string{"zmalloc_used_memory", "afterCommand"} {
			if called, err := exe.cFunction(name); err == nil {
				if off, ok := exe.callTo(call, called); ok {
					end.at = probes{offsets: []uint64{off}, cost: CostEmulated}
					break
				}
			}
		}
	}
	s.probes = append(s.probes, end)

	var unknown error
	if s.layout, unknown = s.target.layout(exe, s.mem); errors.Is(unknown, ErrStarting) {
		return unknown
	} else if unknown != nil {
		s.limit("the commands are told apart by their functions, without clients, keys and sizes: %v", unknown)
		var all callProbe
		all.program = callsProgCallIdentity
		for _, f := range slices.Concat(exe.symbols, exe.aliases) {
			name, ok := commandOfSymbol(f.name)
			site := exe.function(exe.sized(f)).Site
			if !ok || site.Cost == CostNone || len(s.names) == maxCommands-1 || slices.Contains(all.at.offsets, site.File) {
				continue
			}
			all.at.offsets = append(all.at.offsets, site.File)
			all.at.cookies = append(all.at.cookies, uint64(len(s.names)))
			all.at.cost = dearer(all.at.cost, site.Cost)
			s.names[len(s.names)] = name
		}
		if all.at.offsets == nil {
			return fmt.Errorf("%s has no functions of commands in its symbol table", exe.name)
		}
		s.probes = append(s.probes, all)
	} else if server, _, err := exe.object("server"); err == nil {
		if s.layout.caveat != "" {
			s.limit("%v: %s", s.layout, s.layout.caveat)
		}
		bias, err := s.target.bias(exe)
		if err != nil {
			return err
		}
		s.server = server + bias
	}

	type functionProbe struct {
		to                         *[]callProbe
		program, function, without string
	}
	more := []functionProbe{
		{&s.probes, callsProgErrorReply, "afterErrorReply", "failed and refused commands are not seen"},
		{&s.probes, callsProgClientBlocks, "blockClient", "commands that began to wait are not told apart"},
		{&s.probes, callsProgLoopWake, "afterSleep", "how long a command waited behind others is not seen"},
	}
	if s.layout != nil && s.layout.countedWhenDone {
		more[1] = functionProbe{&s.probes, callsProgUnblocked, "updateStatsOnUnblock", "clients that wait in vain are not seen"}
	}
	if opts.Phases {
		threads, err := s.readingThreads()
		switch {
		case err != nil:
			return err
		case s.manyThreads: // each reads from all of its clients before it executes what they want
			s.limit("when a command was read and its reply was written is not seen: several threads execute commands")
		case threads > 1:
			s.limit("when a command was read and its reply was written is not seen: %d threads read (io-threads)", threads)
		default:
			more = append(more, functionProbe{&s.phases, callsProgReadStart, "readQueryFromClient", "when a command was read is not seen"})
			if err := s.findSockets(); err != nil {
				return err
			}
		}
	}
	for _, m := range more {
		site, err := exe.cSite(m.function)
		if err != nil {
			s.limit("%s: %v", m.without, err)
			continue
		}
		*m.to = append(*m.to, callProbe{m.program, probes{offsets: []uint64{site.File}, cost: site.Cost}})
	}
	if opts.Explain && s.manyThreads {
		s.limit("which command waited for which is not seen: several threads execute commands")
	} else if opts.Explain || s.writesSeen {
		s.findReplies(exe, opts)
	}
	s.probes = append(s.probes, callProbe{callsProgCallStart, probes{offsets: []uint64{start.Site.File}, cost: start.Site.Cost}})
	return nil
}

// socketTracepoints are those of Linux 6.3 that tell of reads and writes.
var socketTracepoints = []string{"sock_recv_length", "sock_send_length"}

// findSockets finds out what the kernel tells of the event loop's reads and writes.
func (s *callSource) findSockets() error {
	if !hasSocketTracepoints() {
		s.limit("how long reading took, and when a reply was written, is not seen: that needs Linux 6.3 and the kernel's BTF (CONFIG_DEBUG_INFO_BTF)")
		return nil
	}
	threads, err := s.ioThreads()
	switch {
	case err != nil:
		return err
	case threads > 1:
		s.limit("when a reply was written is not seen: %d threads write (io-threads)", threads)
	case s.layout == nil || s.layout.clientConn == 0 || s.layout.clientOutput != 0:
		s.limit("when a reply was written is not seen: where this version of the server keeps replies is not known")
	default:
		s.writesSeen = true
	}
	s.readsSeen = true
	return nil
}

// hasSocketTracepoints reports whether this kernel has them, and describes them.
func hasSocketTracepoints() bool {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return false
	}
	for _, name := range socketTracepoints {
		if _, err := kernel.AnyTypeByName("btf_trace_" + name); err != nil {
			return false
		}
	}
	return true
}

// findReplies finds where the replies of a turn are written.
func (s *callSource) findReplies(exe *image, opts CommandOptions) {
	const without = "how long replies were held back is not seen"
	function := "handleClientsWithPendingWritesUsingThreads"
	if _, err := exe.cFunction(function); err != nil {
		function = "handleClientsWithPendingWrites"
	}
	site, err := exe.cSite(function)
	if err != nil {
		s.limit("%s: %v", without, err)
		s.writesSeen = false
		return
	}
	start := callProbe{callsProgRepliesStart, probes{offsets: []uint64{site.File}, cost: site.Cost}}
	if !opts.Explain {
		s.phases = slices.Insert(s.phases, 0, start) // before the probe on reads
		return
	}
	end := callProbe{callsProgRepliesEnd, probes{offsets: []uint64{site.File}, returns: true, cost: costReturn}}
	s.probes = append(s.probes, end, start)
}

func (s *callSource) limit(format string, args ...any) {
	s.limits = append(s.limits, fmt.Sprintf(format, args...))
}

// maxCommands is COMMANDS in c/commands.h.
const maxCommands = 1024

// commandOfSymbol is the name of the command that a function is for: GET for
// getCommand, and in C++ for _Z10getCommandP6client.
func commandOfSymbol(symbol string) (name string, ok bool) {
	if rest, mangled := strings.CutPrefix(symbol, "_Z"); mangled {
		symbol, ok = strings.CutSuffix(strings.TrimLeft(rest, "0123456789"), "P6client")
		if !ok {
			return "", false
		}
	}
	name, ok = strings.CutSuffix(symbol, "Command")
	return strings.ToUpper(name), ok && name != ""
}

// site is where a probe on a function goes. The error says why it can go nowhere.
func (b *image) site(f symbol) (Site, error) {
	site := b.function(f).Site
	if site.Cost == CostNone {
		return site, fmt.Errorf("%s cannot be probed: %s", f.name, site.Reason)
	}
	return site, nil
}

// cFunction finds a function by its name in C, or in C++ with any arguments. With a
// point in its name it is a part of a function, which the compiler has put elsewhere:
// for what happens rarely (.cold), most often.
func (b *image) cFunction(name string) (symbol, error) {
	sym, err := b.lookup(name)
	if err == nil {
		return sym, nil
	}
	mangled := fmt.Sprintf("_Z%d%s", len(name), name)
	for _, s := range b.symbols {
		if strings.HasPrefix(s.name, mangled) && !strings.Contains(s.name, ".") {
			return b.sized(s), nil
		}
	}
	return symbol{}, err
}

// cSite is where a probe on that function goes.
func (b *image) cSite(name string) (Site, error) {
	f, err := b.cFunction(name)
	if err != nil {
		return Site{}, err
	}
	return b.site(f)
}

// isKeyDB reports whether the file is a KeyDB server: by its name, or as the one that
// is in C++. Several of its threads execute commands. SHUTDOWN and SIGTERM make it throw
// an exception through call and serverCron, which does not find its way past a return
// probe: a server with one aborts.
func (b *image) isKeyDB() bool {
	_, err := b.lookup("call")
	return err != nil || strings.HasPrefix(filepath.Base(b.name), "keydb")
}

// instruction is what is asked of one.
type instruction struct {
	length         int
	returns, calls bool
	to             int64 // what it calls, from its own address
}

// decode decodes the first instruction of code. On arm64 one that is not known has its
// length all the same.
func (b *image) decode(code []byte) (i instruction, err error) {
	switch b.elf.Machine {
	case elf.EM_X86_64:
		inst, err := decodeX86(code)
		if err != nil {
			return i, err
		}
		i.length, i.returns = inst.Len, inst.Op == x86asm.RET
		if r, ok := inst.Args[0].(x86asm.Rel); ok && inst.Op == x86asm.CALL {
			i.calls, i.to = true, int64(inst.Len)+int64(r)
		}
	case elf.EM_AARCH64:
		i.length = 4
		inst, err := arm64asm.Decode(code)
		if err != nil {
			return i, nil
		}
		i.returns = inst.Op == arm64asm.RET
		if r, ok := inst.Args[0].(arm64asm.PCRel); ok && inst.Op == arm64asm.BL {
			i.calls, i.to = true, int64(r)
		}
	default:
		return i, fmt.Errorf("the instructions of %v are not known", b.elf.Machine)
	}
	return i, nil
}

// returns finds the instructions by which f returns, as offsets in the file.
func (b *image) returns(f symbol) (all []uint64, err error) {
	parts := []symbol{f}
	if cold, err := b.lookup(f.name + ".cold"); err == nil {
		parts = append(parts, cold)
	}
	for _, part := range parts {
		code, err := b.code(part)
		if err != nil {
			return nil, err
		}
		for at := 0; at < len(code); {
			inst, err := b.decode(code[at:])
			if err != nil {
				return nil, fmt.Errorf("%s: %s cannot be read to its end: %w", b.name, part.name, err)
			}
			if inst.returns {
				off, err := b.offset(part.addr + uint64(at))
				if err != nil {
					return nil, err
				}
				all = append(all, off)
			}
			at += inst.length
		}
	}
	if all == nil {
		return nil, fmt.Errorf("%s: %s does not return", b.name, f.name)
	}
	return all, nil
}

// callTo finds the one place in f that is passed with a call of to, as an offset
// in the file: the call, or a jump behind it, where a probe costs some 45 ns less
// because the kernel has no return address to write.
func (b *image) callTo(f, to symbol) (uint64, bool) {
	code, err := b.code(f)
	if err != nil {
		return 0, false
	}
	var found []uint64
	for at := 0; at < len(code); {
		inst, err := b.decode(code[at:])
		if err != nil {
			return 0, false
		}
		if inst.calls && f.addr+uint64(at)+uint64(inst.to) == to.addr {
			behind := 0
			if b.elf.Machine == elf.EM_X86_64 {
				behind = jumpBehind(code, at+inst.length)
			}
			found = append(found, f.addr+uint64(cmp.Or(behind, at)))
		}
		at += inst.length
	}
	if len(found) != 1 {
		return 0, false
	}
	off, err := b.offset(found[0])
	return off, err == nil
}

// jumpBehind finds a jump among the next instructions behind at, which are
// executed as often as the one before them; 0 when there is none.
func jumpBehind(code []byte, at int) int {
	for range 4 {
		inst, err := x86asm.Decode(code[at:], 64)
		if err != nil || jumpedToX86(code, at) {
			return 0
		}
		switch inst.Op {
		case x86asm.CMP, x86asm.TEST, x86asm.MOV, x86asm.LEA, x86asm.ADD, x86asm.SUB:
			at += inst.Len
			continue
		}
		if _, relative := inst.Args[0].(x86asm.Rel); relative && inst.Op != x86asm.CALL {
			return at
		}
		return 0
	}
	return 0
}

func (s *callSource) spec() (*ebpf.CollectionSpec, map[string]any, error) {
	spec, err := loadCalls()
	constants := map[string]any{
		callsVarTargetOnly:  multiSupported(),
		callsVarManyThreads: s.manyThreads,
		callsVarWritesSeen:  s.writesSeen,
	}
	if err != nil {
		return nil, nil, err
	}
	if !s.readsSeen {
		delete(spec.Programs, callsProgSocketRead)
		delete(spec.Maps, callsMapSocketReads)
	}
	if !s.writesSeen {
		delete(spec.Programs, callsProgSocketWritten)
		delete(spec.Programs, callsProgSettleNow)
		spec.Maps[callsMapAnswers].MaxEntries = 1
	}
	if s.layout != nil {
		maps.Copy(constants, s.layout.constants())
	}
	if s.server != 0 {
		constants[callsVarServerCalls] = s.server + s.layout.serverCalls
		if s.probes[0].at.returns {
			constants[callsVarServerNesting] = s.server + s.layout.serverNesting
		}
	}
	return spec, constants, err
}

func (s *callSource) attach(coll *ebpf.Collection) ([]link.Link, error) {
	if err := s.counts(&s.before.calls, &s.before.errors); err != nil {
		return nil, err
	}
	s.past.noteErrors(s.after.errors, s.before.errors)
	// Where the server counts a call, its count is noted in the end.
	var counting, others []callProbe
	for _, p := range s.probes {
		if p.program == callsProgCallEnd || p.program == callsProgUnblocked {
			counting = append(counting, p)
		} else {
			others = append(others, p)
		}
	}
	end, err := s.attachAll(coll, counting)
	if err != nil {
		return nil, err
	}
	s.links, err = s.attachAll(coll, others)
	if err == nil && !s.withoutPhases {
		s.phaseLinks, err = s.attachPhases(coll)
	}
	if err != nil {
		closeLinks(end)
		return nil, err
	}
	s.asleep.start()
	return end, nil
}

func (s *callSource) attachAll(coll *ebpf.Collection, all []callProbe) (links []link.Link, err error) {
	for _, p := range all {
		l, err := s.target.attach(coll.Programs[p.program], p.at)
		if err != nil {
			closeLinks(links)
			return nil, err
		}
		links = append(links, l...)
	}
	return links, nil
}

// attachPhases attaches what tells phases alone.
func (s *callSource) attachPhases(coll *ebpf.Collection) ([]link.Link, error) {
	var links []link.Link
	for _, name := range []string{callsProgSocketRead, callsProgSocketWritten} {
		if prog := coll.Programs[name]; prog != nil {
			l, err := link.AttachTracing(link.TracingOptions{Program: prog})
			if err != nil {
				closeLinks(links)
				return nil, fmt.Errorf("attaching %s to its tracepoint: %w", name, err)
			}
			links = append(links, l)
		}
	}
	// A read that is seen is seen to its end.
	probes, err := s.attachAll(coll, s.phases)
	if err != nil {
		closeLinks(links)
		return nil, err
	}
	return append(links, probes...), nil
}

// settle accounts the commands whose replies are not awaited any more, when nothing is
// attached that does.
func (s *callSource) settle(coll *ebpf.Collection) error {
	if !s.writesSeen {
		return nil
	}
	if _, err := coll.Programs[callsProgSettleNow].Run(&ebpf.RunOptions{}); err != nil {
		return fmt.Errorf("accounting the last commands: %w", err)
	}
	return nil
}

// end tells the program to note the server's count at the next call and to ignore
// it and all that follow, so that what was seen can be compared with it.
func (s *callSource) end(coll *ebpf.Collection, detach func()) error {
	if err := coll.Variables[callsVarStop].Set(uint64(1)); err != nil {
		detach()
		return fmt.Errorf("ending the watching: %w", err)
	}
	// When no call comes any more, these are the last counts.
	err := s.counts(&s.after.calls, &s.after.errors)
	s.asleep.stop()
	s.unlink()
	detach() // where calls are counted last, for it is there that the count is noted
	s.ended = err == nil && s.server != 0
	if err := s.settle(coll); err != nil {
		return err
	}
	if s.gone() {
		return nil
	}
	return err
}

// counts reads the server's own counts, where they are known.
func (s *callSource) counts(calls, errors *uint64) error {
	if s.server == 0 {
		return nil
	}
	if err := s.read(s.server+s.layout.serverCalls, calls); err != nil {
		return err
	}
	return s.read(s.server+s.layout.serverErrors, errors)
}

// readingThreads is how many threads read from clients, where it is known.
func (s *callSource) readingThreads() (n int32, err error) {
	if s.server == 0 {
		return 0, nil
	}
	if at := s.layout.serverIORead; at != 0 {
		if err := s.read(s.server+at, &n); err != nil || n == 0 {
			return 0, err
		}
	}
	return s.ioThreads()
}

// ioThreads is how many threads write to clients, where it is known.
func (s *callSource) ioThreads() (n int32, err error) {
	if s.server == 0 {
		return 0, nil
	}
	err = s.read(s.server+s.layout.serverIOThreads, &n)
	return n, err
}

func (s *callSource) read(addr uint64, v any) error {
	raw := make([]byte, binary.Size(v))
	if _, err := s.mem.ReadAt(raw, int64(addr)); err != nil {
		return s.target.denied("its memory", err)
	}
	_, err := binary.Decode(raw, binary.NativeEndian, v)
	return err
}

// name reads the name of a command from the server's memory: its own structure
// has it as "get" or "config|set".
func (s *callSource) name(coll *ebpf.Collection, id int) string {
	if name, known := s.names[id]; known || id < 0 || s.layout == nil {
		return name
	}
	var command, text uint64
	if coll.Maps[callsMapCommandAddresses].Lookup(uint32(id), &command) != nil || command == 0 ||
		s.read(command+uint64(s.layout.commandName), &text) != nil {
		return ""
	}
	name := strings.ToUpper(strings.Replace(cString(s.mem, text), "|", " ", 1))
	if name != "" {
		s.names[id] = name
	}
	return name
}

// gone reports whether the process has exited, or executed another program.
func (s *callSource) gone() bool {
	if s.target.exited() {
		return true
	}
	if s.server == 0 {
		return false
	}
	_, err := s.mem.ReadAt(make([]byte, 1), int64(s.server))
	return err != nil // nothing is left of the address space
}

// learn reads the names of the commands that have come so far: a process that exits
// takes them along.
func (s *callSource) learn(coll *ebpf.Collection) error {
	if s.gone() {
		return errors.Join(ErrExited, s.settle(coll))
	}
	if s.layout == nil {
		return nil
	}
	var known uint64
	if err := readVariables(coll, map[string]*uint64{callsVarCommandsKnown: &known}); err != nil {
		return err
	}
	for id := range min(int(known), maxCommands) {
		s.name(coll, id)
	}
	return nil
}

func (s *callSource) totals(coll *ebpf.Collection) (t CommandTotals, err error) {
	var begun, unseen, unended, deep, uncounted, refused, last, stop uint64
	err = readVariables(coll, map[string]*uint64{
		callsVarFirstCalls: &t.CallsBefore, callsVarBegun: &begun, callsVarLastCalls: &last, callsVarStop: &stop,
		callsVarBeganUnseen: &unseen, callsVarEndedUnseen: &unended, callsVarTooDeep: &deep,
		callsVarUncounted: &uncounted, callsVarRefused: &refused, callsVarWakes: &t.Turns,
	})
	t.Missed = unseen + unended + deep
	t.Idle = s.asleep.total()
	t.CallsAfter = s.after.calls
	if !s.ended && (err != nil || s.server == 0 || s.counts(&t.CallsAfter, new(uint64)) != nil) {
		t.CallsBefore, t.CallsAfter, t.Shed = 0, 0, s.past.shed
		return t, err
	}
	if stop == 2 {
		t.CallsAfter = last
	}
	if begun == 0 {
		t.CallsBefore = t.CallsAfter // no call was seen
	}
	s.past.add(&t)
	if s.ended {
		t.Seen = t.CallsAfter - t.CallsBefore - uncounted + refused
	}
	return t, err
}

func (s *callSource) hits(coll *ebpf.Collection) (hits uint64, err error) {
	var starts, ends, errs, reads, wakes, replies, blocks, unblocks, receives, sends uint64
	err = readVariables(coll, map[string]*uint64{callsVarStarts: &starts, callsVarEnds: &ends, callsVarErrors: &errs, callsVarReads: &reads,
		callsVarWakes: &wakes, callsVarReplies: &replies, callsVarBlocks: &blocks, callsVarUnblocks: &unblocks,
		callsVarReceives: &receives, callsVarSends: &sends})
	return starts + ends + errs + reads + wakes + replies + blocks + unblocks + receives + sends, err
}

// enough is after how many of something a probe that must have been hit with it,
// but was not, is taken for one that never will.
const enough = 100

// limitsNow says what is not seen. A function may be in the symbol table and yet
// never be entered, because the compiler has put copies of it where it is called.
func (s *callSource) limitsNow(coll *ebpf.Collection) ([]string, error) {
	var starts, ends, errs, reads, wakes, strange, other, commands, unanswered uint64
	if err := readVariables(coll, map[string]*uint64{callsVarStarts: &starts, callsVarEnds: &ends, callsVarErrors: &errs,
		callsVarReads: &reads, callsVarWakes: &wakes, callsVarStrange: &strange, callsVarOtherErrors: &other, callsVarCommandsKnown: &commands, callsVarUnanswered: &unanswered}); err != nil {
		return nil, err
	}
	now, gone := s.after, s.gone()
	if gone {
		now = s.before // nobody can be asked any more
	} else if !s.ended {
		if err := s.counts(&now.calls, &now.errors); err != nil {
			return nil, err
		}
	}
	all := slices.Clone(s.limits)
	never := func(program, function, without string, hits, due uint64) {
		if hits == 0 && due >= enough && slices.ContainsFunc(slices.Concat(s.probes, s.phases), func(p callProbe) bool { return p.program == program }) {
			all = append(all, fmt.Sprintf("%s: %s is in %s, but never entered; the compiler may have copied it to where it is called", without, function, s.target.exe))
		}
	}
	never(callsProgCallStart, "call", "no command is seen", starts, now.calls-s.before.calls)
	never(callsProgCallEnd, "the end of call", "no command is seen", ends, starts)
	never(callsProgErrorReply, "afterErrorReply", "failed and refused commands are not seen", errs, now.errors-s.before.errors)
	never(callsProgReadStart, "readQueryFromClient", "when a command was read is not seen", reads, starts)
	never(callsProgLoopWake, "afterSleep", "how long a command waited behind others is not seen", wakes, starts)
	t, err := s.totals(coll)
	if err != nil {
		return nil, err
	}
	all = append(all, s.past.limits(t, s.server != 0)...)
	if strange > 0 {
		all = append(all, fmt.Sprintf("of %d commands the client could not be read", strange))
	}
	for id := range min(int(commands), maxCommands) {
		if s.name(coll, id) == "" && !gone {
			all = append(all, fmt.Sprintf("the name of a command cannot be read: the structures of %s are not those of %v", s.target.exe, s.layout))
			break
		}
	}
	if unanswered > 0 {
		all = append(all, fmt.Sprintf("of %d commands it is not known when their replies were written: not whole in their turn, or the kernel did not tell", unanswered))
	}
	if other > 0 && s.layout == nil {
		all = append(all, fmt.Sprintf("%d errors were answered to commands that were refused, or to clients that had been waiting: of whom and for what is not seen", other))
	} else if other > 0 {
		all = append(all, fmt.Sprintf("%d errors belong to no command: clients that had been waiting got them, or those that do not speak the protocol", other))
	}
	return all, nil
}

func (s *callSource) unlink() {
	closeLinks(slices.Concat(s.links, s.phaseLinks))
	s.links, s.phaseLinks = nil, nil
}

func (s *callSource) close() {
	s.unlink()
	s.mem.close()
}
