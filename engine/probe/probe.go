// Package probe holds the markers: named places on a command's path where
// another process can attach a uprobe. A marker is an assembly function that
// holds one nop and a return, so it costs less to probe than any real
// instruction (docs/bpf.md has the figures), and its arguments are where an
// eBPF program finds them without debug information.
//
// A call site asks first, so that the arguments are not even computed while
// nobody looks:
//
//	if probe.CommandStartEnabled() {
//		probe.CommandStart(client, command, key, keyLen, args, batch)
//	}
//
// The question is one load and one branch. What it reads is a semaphore that
// the kernel raises while a uprobe is attached and lowers afterwards, also when
// the observer is killed. Some tools place their probes without one; for these,
// Hold raises all of them by one. This package must never write one in another
// way, since the kernel takes back what it added, and must import nothing but the
// standard library.
//
// On architectures other than amd64 and arm64 the questions are constantly
// false and the markers do nothing.
package probe

import (
	"strings"
	"sync/atomic"
)

// Marker describes one marker to those who attach to it or document it.
type Marker struct {
	Name      string // "command_start"
	Symbol    string // name of the function in the ELF symbol table
	Semaphore int    // index into the array of uint16 called SemaphoreSymbol
	Fires     string // when it fires, as a phrase
	Args      []Arg  // in order; argument i is at 8+8*i bytes above the stack pointer
}

// Arg describes one argument of a marker. Every argument fills 8 bytes.
type Arg struct {
	Name string
	Type string // Go's type: uint64, int64 or *byte
	Unit string // what it counts or identifies
}

// SemaphoreSymbol is the ELF name of the array of uint16 that holds the
// semaphores.
const SemaphoreSymbol = "github.com/redscope/redscope/engine/probe.semaphores"

// Indices into semaphores.
const (
	commandStart = iota
	commandDone
	socketRead
	replyWritten
	loopTurn
	loopWork
	markerCount
)

// Markers lists all markers, in the order in which a command passes them. It is
// the only description of them: the eBPF loader and the documentation are made
// from it. It must not be changed.
var Markers = []Marker{
	{
		Name: "socket_read", Symbol: symbolPrefix + "SocketRead" + symbolSuffix, Semaphore: socketRead,
		Fires: "after a read(2) from a client that returned data",
		Args: []Arg{
			{"client", "uint64", "CLIENT ID"},
			{"fd", "int64", "file descriptor of the connection"},
			{"bytes", "int64", "bytes read"},
		},
	},
	{
		Name: "command_start", Symbol: symbolPrefix + "CommandStart" + symbolSuffix, Semaphore: commandStart,
		Fires: "when a complete command has been parsed, before it is checked",
		Args: []Arg{
			{"client", "uint64", "CLIENT ID"},
			{"command", "int64", "index for Server.CommandName, -1 for an unknown command"},
			{"key", "*byte", "address of the first key, 0 when there is none"},
			{"key_len", "int64", "length of the first key in bytes"},
			{"args", "int64", "number of arguments, the command's name included"},
			{"batch", "int64", "position within the socket read, from 0"},
		},
	},
	{
		Name: "command_done", Symbol: symbolPrefix + "CommandDone" + symbolSuffix, Semaphore: commandDone,
		Fires: "when a command has been executed or refused, before its reply goes to the socket",
		Args: []Arg{
			{"client", "uint64", "CLIENT ID"},
			{"command", "int64", "as in command_start"},
			{"failed", "int64", "1 when the reply is an error, else 0"},
			{"reply_bytes", "int64", "bytes of reply"},
			{"duration", "int64", "nanoseconds since command_start"},
		},
	},
	{
		Name: "reply_written", Symbol: symbolPrefix + "ReplyWritten" + symbolSuffix, Semaphore: replyWritten,
		Fires: "after a write(2) to a client that accepted data",
		Args: []Arg{
			{"client", "uint64", "CLIENT ID"},
			{"fd", "int64", "file descriptor of the connection"},
			{"bytes", "int64", "bytes written"},
		},
	},
	{
		Name: "loop_turn", Symbol: symbolPrefix + "LoopTurn" + symbolSuffix, Semaphore: loopTurn,
		Fires: "once per turn of the event loop, after its replies were written; several times when there were more than 128 commands",
		Args: []Arg{
			{"records", "uint64", "address of the records, each a `Command`"},
			{"count", "int64", "how many, 0 to 128"},
			{"calls", "int64", "calls that INFO commandstats counts since the start, up to these"},
			{"refused", "int64", "commands refused, up to these"},
			{"wake", "int64", "CLOCK_MONOTONIC in ns, when the turn began: the loop came back from epoll_wait"},
			{"idle", "int64", "ns that the loop waited for it, 0 when that is not known"},
			{"ready", "int64", "events that the turn began with"},
		},
	},
	{
		Name: "loop_work", Symbol: symbolPrefix + "LoopWork" + symbolSuffix, Semaphore: loopWork,
		Fires: "after work of the event loop's own that took 10 µs or more",
		Args: []Arg{
			{"kind", "int64", "what it was: 0 serverCron with all in it, 1 deleting expired keys, 2 rehashing"},
			{"start", "int64", "CLOCK_MONOTONIC in ns, when it began"},
			{"duration", "int64", "ns"},
			{"amount", "int64", "keys deleted, for 1; else 0"},
		},
	},
}

// Kinds of work that loop_work tells. One may be within another.
const (
	WorkCron = iota
	WorkExpire
	WorkRehash
)

// TurnRecords is the most records that loop_turn passes at once.
const TurnRecords = 128

// Command is the record of one command that loop_turn passes. Times are
// CLOCK_MONOTONIC in ns, and 0 when it is not known or did not happen. What lies
// between them adds up: waited behind others from Wake to ReadStart, read to
// ReadEnd, parsed to Parsed, queued to Start, executed to End, held back to
// WriteStart, written to WriteEnd.
type Command struct {
	Client     uint64 // CLIENT ID
	Wake       int64  // the turn began
	ReadStart  int64  // read(2) began
	ReadEnd    int64  // read(2) returned
	Parsed     int64  // it was parsed, with others of the same read
	Start      int64  // the command's function began; refused: the refusal
	End        int64  // the function returned
	WriteStart int64  // the write(2) that took the reply began
	WriteEnd   int64  // that returned; 0 when the reply was not written whole in this turn
	ReplyBytes uint32
	KeyLen     uint32   // length of the first key, 0 when there is none
	Args       uint32   // number of arguments, the command's name included; 0 for CommandBlocked
	Batch      uint32   // position within the socket read, from 0
	Command    int32    // index for Server.CommandName, -1 for an unknown command
	Flags      uint32   // CommandFailed and so on
	Error      [16]byte // the first bytes of the error's code, as "WRONGTYPE", then zeros
	Key        [32]byte // the first bytes of the first key
}

// Flags of a Command.
const (
	CommandFailed  = 1 << iota // the reply is an error
	CommandRefused             // by a check: it was not executed, and is no call
	CommandBlocked             // it has waited for a key, and ended with this turn; Start to End is without the wait
)

// commandNames holds the names of all commands by index, a line each. An
// observer reads it from the process's memory, by the name of the symbol.
var commandNames atomic.Pointer[string]

// CommandNamesSymbol is the ELF name of a pointer to a string: the names of all
// commands by index, a line each.
const CommandNamesSymbol = "github.com/redscope/redscope/engine/probe.commandNames"

// SetCommandNames tells observers the names of the commands, by index.
func SetCommandNames(names []string) {
	all := strings.Join(names, "\n")
	commandNames.Store(&all)
}

// RunningSymbol is the ELF name of three words that say which command the event
// loop is at: its RunningMark, 0 while it is being looked up; the address of its
// arguments, a slice of bytes each, 0 for no command; and how many they are.
const RunningSymbol = "github.com/redscope/redscope/engine/probe.running"

// RunningMark is how RunningSymbol names a command, by its index for
// Server.CommandName and by which argument is its first key, 0 for none.
func RunningMark(command, key int) uint64 { return uint64(command+1) | uint64(key)<<32 }

const (
	symbolPrefix = "github.com/redscope/redscope/engine/probe."
	// The linker appends this to the assembly function, because the wrapper
	// that Go code calls has the plain name.
	symbolSuffix = ".abi0"
)
