//go:build !amd64 && !arm64

package probe

// CommandStartEnabled is false: there are no markers on this architecture.
func CommandStartEnabled() bool { return false }

// CommandDoneEnabled is false: there are no markers on this architecture.
func CommandDoneEnabled() bool { return false }

// SocketReadEnabled is false: there are no markers on this architecture.
func SocketReadEnabled() bool { return false }

// ReplyWrittenEnabled is false: there are no markers on this architecture.
func ReplyWrittenEnabled() bool { return false }

// LoopTurnEnabled is false: there are no markers on this architecture.
func LoopTurnEnabled() bool { return false }

// LoopWorkEnabled is false: there are no markers on this architecture.
func LoopWorkEnabled() bool { return false }

// CommandStart does nothing on this architecture.
func CommandStart(client uint64, command int, key *byte, keyLen, args, batch int) {}

// CommandDone does nothing on this architecture.
func CommandDone(client uint64, command, failed, replyBytes int, duration int64) {}

// SocketRead does nothing on this architecture.
func SocketRead(client uint64, fd, bytes int) {}

// ReplyWritten does nothing on this architecture.
func ReplyWritten(client uint64, fd, bytes int) {}

// LoopTurn does nothing on this architecture.
func LoopTurn(records uint64, count int, calls, refused, wake, idle int64, ready int) {}

// LoopWork does nothing on this architecture.
func LoopWork(kind int, start, duration int64, amount int) {}

// BeginCommand does nothing on this architecture.
func BeginCommand(args [][]byte) {}

// NameCommand does nothing on this architecture.
func NameCommand(mark uint64) {}

// EndCommand does nothing on this architecture.
func EndCommand() {}

// Hold does nothing on this architecture.
func Hold() {}

// Release does nothing on this architecture.
func Release() {}
