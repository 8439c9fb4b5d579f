//go:build amd64 || arm64

package probe

// semaphores are written by the kernel, and by addToSemaphores. The last element
// is never used as one: it is there because a variable that is zero everywhere
// would lie in .bss, which has no offset in the file, and a uprobe names its
// semaphore by file offset. Declared in Go rather than assembly, so that the guards inline.
//
// The guards read them as the kernel writes them, without synchronisation: a
// reader that sees the old value for one more command is none the worse. The
// race detector is told so (go:norace).
var semaphores = [markerCount + 1]uint16{markerCount: 0x5253}

// CommandStartEnabled reports whether somebody is attached to command_start.
//
//go:norace
func CommandStartEnabled() bool { return semaphores[commandStart] != 0 }

// CommandDoneEnabled reports whether somebody is attached to command_done.
//
//go:norace
func CommandDoneEnabled() bool { return semaphores[commandDone] != 0 }

// SocketReadEnabled reports whether somebody is attached to socket_read.
//
//go:norace
func SocketReadEnabled() bool { return semaphores[socketRead] != 0 }

// ReplyWrittenEnabled reports whether somebody is attached to reply_written.
//
//go:norace
func ReplyWrittenEnabled() bool { return semaphores[replyWritten] != 0 }

// LoopTurnEnabled reports whether somebody is attached to loop_turn.
//
//go:norace
func LoopTurnEnabled() bool { return semaphores[loopTurn] != 0 }

// LoopWorkEnabled reports whether somebody is attached to loop_work.
//
//go:norace
func LoopWorkEnabled() bool { return semaphores[loopWork] != 0 }

// CommandStart is the marker command_start; Markers describes its arguments.
// key must stay where it is during the call only.
//
//go:noescape
func CommandStart(client uint64, command int, key *byte, keyLen, args, batch int)

// CommandDone is the marker command_done; Markers describes its arguments.
//
//go:noescape
func CommandDone(client uint64, command, failed, replyBytes int, duration int64)

// SocketRead is the marker socket_read; Markers describes its arguments.
//
//go:noescape
func SocketRead(client uint64, fd, bytes int)

// ReplyWritten is the marker reply_written; Markers describes its arguments.
//
//go:noescape
func ReplyWritten(client uint64, fd, bytes int)

// LoopTurn is the marker loop_turn; Markers describes its arguments. The records
// must stay where they are during the call only.
//
//go:noescape
func LoopTurn(records uint64, count int, calls, refused, wake, idle int64, ready int)

// LoopWork is the marker loop_work; Markers describes its arguments.
//
//go:noescape
func LoopWork(kind int, start, duration int64, amount int)
