#include "textflag.h"

// NOOP is the hint instruction d503201f, which the kernel simulates.

// func CommandStart(client uint64, command int, key *byte, keyLen, args, batch int)
TEXT ·CommandStart(SB), NOSPLIT|NOFRAME, $0-48
	NOOP
	RET

// func CommandDone(client uint64, command, failed, replyBytes int, duration int64)
TEXT ·CommandDone(SB), NOSPLIT|NOFRAME, $0-40
	NOOP
	RET

// func SocketRead(client uint64, fd, bytes int)
TEXT ·SocketRead(SB), NOSPLIT|NOFRAME, $0-24
	NOOP
	RET

// func ReplyWritten(client uint64, fd, bytes int)
TEXT ·ReplyWritten(SB), NOSPLIT|NOFRAME, $0-24
	NOOP
	RET

// func LoopTurn(records uint64, count int, calls, refused, wake, idle int64, ready int)
TEXT ·LoopTurn(SB), NOSPLIT|NOFRAME, $0-56
	NOOP
	RET

// func LoopWork(kind int, start, duration int64, amount int)
TEXT ·LoopWork(SB), NOSPLIT|NOFRAME, $0-32
	NOOP
	RET
