package bpf

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cilium/ebpf"

	"github.com/redscope/redscope/engine/probe"
)

// Labels say what a thread was at, for the server's users rather than for the
// reader of its code.
type Labels struct {
	// Command is the command that was executed, as "GET" or "CONFIG SET", of those
	// that a script or EXEC calls the one that it was at; between commands it is
	// Phase in parentheses.
	Command string
	// Phase is "execute" in a command's function, "process" on the way there and
	// back, or what else a server does: "read", "parse", "write", "sleep" and so on.
	Phase string
	// Key is the beginning of the command's first key, up to the separator;
	// NoPrefix for a key without, OtherPrefixes for those that came when there were
	// too many to tell apart, empty for none.
	Key string
}

// What Labels.Key is in place of a prefix.
const (
	NoPrefix      = "(none)"
	OtherPrefixes = "(other)"
)

// ErrNoCommands reports that a process is no server whose commands are known here.
var ErrNoCommands = errors.New("it is neither a redscope server nor a Redis, Valkey or KeyDB server with its symbols")

// labeler finds the labels of a server's samples: of the command in its memory, read
// at the sample, of the rest in the functions on the stack.
type labeler struct {
	target    *process
	constants map[string]any // for c/client.h
	limits    []string

	names  []string // of our server's commands, by index
	known  map[string]bool
	layout *serverLayout
	mem    *memory
	stock  map[uint64]string // names of a stock server's commands, by the address of the structure
}

// label_source in c/client.h.
const (
	labelRunning = 1 + iota
	labelClient
)

// maxPrefixes is how many pairs of command and prefix are told apart: clients make
// them up. c/client.h has room for commands beside them.
var maxPrefixes uint32 = 1024

func newLabeler(p *process, separator byte) (*labeler, error) {
	exe, err := p.main()
	if err != nil {
		return nil, err
	}
	defer exe.close()
	l := &labeler{target: p, known: map[string]bool{}, constants: map[string]any{}}
	var at map[string]any
	if l.names, err = p.commandNames(); err == nil {
		at, err = l.findRunning(exe)
	} else if _, unknown := exe.cFunction("call"); unknown != nil {
		return nil, fmt.Errorf("pid %d (%s): %w", p.pid, p.comm, ErrNoCommands)
	} else {
		at, err = l.findClient(exe)
	}
	if err != nil {
		// The stack tells the command's function.
		l.limits = append(l.limits, fmt.Sprintf("the commands are told by their functions on the stack, without keys: %v", err))
		return l, nil
	}
	for _, name := range l.names {
		l.known[name] = true
	}
	for _, name := range l.stock {
		l.known[name] = true
	}
	l.constants = at
	at[profileVarMaxTexts] = maxPrefixes
	if separator != 0 {
		at[profileVarLabelKeys], at[profileVarLabelSeparator] = uint8(1), separator
	}
	return l, nil
}

func (l *labeler) findRunning(exe *image) (map[string]any, error) {
	addr, err := l.target.variableAddress(exe, probe.RunningSymbol)
	return map[string]any{profileVarLabelSource: uint8(labelRunning), profileVarRunningAddr: addr}, err
}

func (l *labeler) findClient(exe *image) (at map[string]any, err error) {
	if l.mem, err = l.target.memory(); err != nil {
		return nil, err
	}
	if l.layout, err = l.target.layout(exe, l.mem); err != nil {
		return nil, err
	}
	server, _, err := exe.object("server")
	if err != nil {
		return nil, err
	}
	bias, err := l.target.bias(exe)
	if err != nil {
		return nil, err
	}
	at = l.layout.labelConstants()
	at[profileVarCurrentClientAddr] = server + bias + l.layout.serverCurrentClient
	if lua, _, err := exe.object("lctx"); err == nil {
		at[profileVarScriptClientAddr] = lua + bias + l.layout.scriptClient
	}
	// While it lives; commands that are parts of others are elsewhere, and read at
	// the end.
	table, size, err := exe.object("redisCommandTable")
	if err != nil {
		return nil, err
	}
	l.stock = map[uint64]string{}
	for addr := table + bias; addr < table+bias+size; addr += uint64(l.layout.commandSize) {
		l.stockName(addr)
	}
	return at, nil
}

// stockName is the name of the command whose structure is at addr, "" when it
// cannot be read.
func (l *labeler) stockName(addr uint64) string {
	name, known := l.stock[addr]
	if !known {
		name = commandName(l.mem, addr, l.layout)
		l.stock[addr] = name
	}
	return name
}

func (l *labeler) close() {
	if l != nil && l.mem != nil {
		l.mem.close()
	}
}

// read reads the labels that the samples refer to by number.
func (l *labeler) read(coll *ebpf.Collection) (map[uint32]profileLabel, error) {
	labels := map[uint32]profileLabel{}
	var label profileLabel
	var number uint32
	all := coll.Maps[profileMapLabels].Iterate()
	for all.Next(&label, &number) {
		labels[number] = label
	}
	if err := all.Err(); err != nil {
		return nil, fmt.Errorf("reading the samples' labels: %w", err)
	}
	return labels, nil
}

// command is the name of the command that a label is about: "" when it cannot be
// told, parentheses when there is none of that name.
func (l *labeler) command(label profileLabel) string {
	if label.Command == 0 {
		name := strings.ToUpper(cName(label.Name[:]))
		if !l.known[name] {
			return "(unknown command)"
		}
		return name
	}
	if l.layout != nil {
		return l.stockName(label.Command)
	}
	if i := label.Command - 1; i < uint64(len(l.names)) {
		return l.names[i]
	}
	return ""
}

// What c/client.h says of a key.
const (
	keyPlain = 1 + iota
	keyPrefix
	keyOther
)

func (label profileLabel) key() string {
	switch label.Key {
	case keyPlain:
		return NoPrefix
	case keyOther:
		return OtherPrefixes
	case keyPrefix:
		text := make([]byte, 0, len(label.Prefix))
		for _, c := range label.Prefix[:min(int(label.PrefixLen), len(label.Prefix))] {
			text = append(text, byte(c))
		}
		return printable(string(text))
	}
	return ""
}

// printable escapes what is no text: a key may hold any bytes.
func printable(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	return strings.Trim(strconv.Quote(s), `"`)
}

// of gives the labels of a sample with that user stack, leaf first.
func (l *labeler) of(label profileLabel, found bool, stack []Frame) Labels {
	out := Labels{Phase: phaseOf(stack)}
	if found {
		out.Command, out.Key = l.command(label), label.key()
	}
	function, calls := calledFunction(stack)
	// A function library's commands are those of a client that is not known.
	if script := strings.TrimSuffix(out.Command, "_RO"); out.Command == "" || calls > 1 && (script == "FCALL" || script == "EVAL" || script == "EVALSHA") {
		if name := commandOfFunction(function); name != "" {
			out.Command = name
		}
	}
	if out.Command == "" {
		out.Command = "(" + out.Phase + ")"
	}
	return out
}

// calledFunction is what the innermost call on a stack, leaf first, has called, and
// how many there are: EXEC and scripts call other commands.
func calledFunction(stack []Frame) (function string, calls int) {
	for i, f := range stack {
		if plainName(f.Symbol) != "call" {
			continue
		}
		calls++
		if calls > 1 {
			continue
		}
		for _, callee := range slices.Backward(stack[:i]) {
			if strings.HasSuffix(plainName(callee.Symbol), "Command") {
				function = plainName(callee.Symbol)
				break
			}
		}
	}
	return function, calls
}

// commandOfFunction is the command that a function is named after: GET for
// getCommand, and for getGenericCommand, which a compiler may have getCommand jump to.
func commandOfFunction(function string) string {
	name, _ := commandOfSymbol(function)
	return strings.TrimPrefix(strings.TrimSuffix(name, "GENERIC"), "GENERIC")
}

// plainName is the name of a function in C, of one in C++ without its arguments.
func plainName(symbol string) string {
	rest, mangled := strings.CutPrefix(symbol, "_Z")
	if !mangled {
		return symbol
	}
	name := strings.TrimLeft(rest, "0123456789")
	n, err := strconv.Atoi(rest[:len(rest)-len(name)])
	if err != nil || n > len(name) {
		return symbol
	}
	return name[:n]
}

// phaseOf is what the innermost function on a stack, leaf first, is there for of
// those whose purpose is known.
func phaseOf(stack []Frame) string {
	for _, f := range stack {
		if phase := phases[plainName(f.Symbol)]; phase != "" {
			return phase
		}
	}
	return "other"
}

// phases are the functions by which a server's work is told apart, ours and Redis's,
// which have the same names.
var phases = func() map[string]string {
	all := map[string]string{}
	for phase, functions := range map[string][]string{
		"sleep":  {"epoll_wait", "epoll_pwait", "github.com/redscope/redscope/engine/internal/ae.(*EventLoop).poll"},
		"accept": {"acceptTcpHandler", "acceptUnixHandler", "acceptCommonHandler"},
		"read":   {"readQueryFromClient"},
		"parse": {"processInputBuffer", "processMultibulkBuffer", "processInlineBuffer",
			"github.com/redscope/redscope/engine.(*commandBatch).parse", "github.com/redscope/redscope/engine.(*commandBatch).prefetchEntries"},
		"process":   {"processCommandAndResetClient", "processCommand", "commandProcessed", "freeClientArgv", "resetClient"},
		"execute":   {"call"},
		"write":     {"writeToClient", "sendReplyToClient", "handleClientsWithPendingWrites", "handleClientsWithPendingWritesUsingThreads"},
		"unblock":   {"handleClientsBlockedOnKeys", "processUnblockedClients", "handleBlockedClientsTimeout", "clientsArePaused"},
		"close":     {"freeClient", "freeClientAsync", "freeClientsInAsyncFreeQueue"},
		"expire":    {"activeExpireCycle"},
		"evict":     {"performEvictions", "freeMemoryIfNeeded"},
		"cron":      {"serverCron", "clientsCron", "databasesCron"},
		"persist":   {"flushAppendOnlyFile", "feedAppendOnlyFile", "rdbSave", "rdbSaveRio", "rewriteAppendOnlyFile"},
		"replicate": {"replicationCron", "replicationFeedSlaves", "replicationFeedStreamFromMasterStream"},
		"loop":      {"aeMain", "aeProcessEvents", "beforeSleep", "afterSleep"},
		"background": {"bioProcessBackgroundJobs", "IOThreadMain", // and what libraries have threads for
			"background_thread_entry", "je_background_thread_entry"},
		"gc": {"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.gcStart", "runtime.bgsweep", "runtime.bgscavenge",
			"runtime.gcDrain", "runtime.gcMarkTermination", "runtime.(*mspan).sweep", "runtime.(*sweepLocked).sweep"},
		"runtime": {"runtime.mcall", "runtime.schedule", "runtime.findRunnable", "runtime.sysmon", "runtime.mstart", "runtime.mstart1",
			"runtime.newstack", "runtime.goschedImpl", "runtime.sigtramp"},
	} {
		for _, f := range functions {
			all[f] = phase
		}
	}
	return all
}()

// cName turns a C string that fills its room or ends before into a Go string.
func cName(c []int8) string {
	var b strings.Builder
	for _, ch := range c {
		if ch == 0 {
			break
		}
		b.WriteByte(byte(ch))
	}
	return b.String()
}
