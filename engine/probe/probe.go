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
}

const (
	symbolPrefix = "github.com/redscope/redscope/engine/probe."
	// The linker appends this to the assembly function, because the wrapper
	// that Go code calls has the plain name.
	symbolSuffix = ".abi0"
)
