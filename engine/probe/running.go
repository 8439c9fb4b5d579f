//go:build amd64 || arm64

package probe

import "unsafe"

// running says what the event loop is at. A sampler reads it in the middle of
// whatever the loop's thread does, on that thread, so that what it points to is
// still there. It holds numbers only: a pointer would need a write barrier.
//
// Several servers in one process overwrite each other's; go:norace says to the
// race detector that nobody is hurt by that.
var running struct {
	command uint64  // of RunningMark; 0 while it is being looked up, or unknown
	args    uintptr // address of the arguments, slices of bytes; 0 for no command
	count   int     // of the arguments
}

// BeginCommand says that the command with these arguments begins. They must stay
// where they are until EndCommand.
//
//go:norace
func BeginCommand(args [][]byte) {
	running.count = len(args)
	running.args = uintptr(unsafe.Pointer(unsafe.SliceData(args)))
}

// NameCommand says which one it is, by its RunningMark.
//
//go:norace
func NameCommand(mark uint64) { running.command = mark }

// EndCommand says that it has been executed or refused.
//
//go:norace
func EndCommand() { running.command, running.args = 0, 0 }
