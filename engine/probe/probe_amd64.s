#include "textflag.h"

// The five-byte nop, 0f 1f 44 00 00, is the one length that Linux 6.18 and
// later replace by a call, and that older kernels emulate. It has to be the
// first instruction: the stack pointer then still points at the return address.
#define NOP5 BYTE $0x0f; BYTE $0x1f; BYTE $0x44; BYTE $0x00; BYTE $0x00

// func CommandStart(client uint64, command int, key *byte, keyLen, args, batch int)
TEXT ·CommandStart(SB), NOSPLIT|NOFRAME, $0-48
	NOP5
	RET

// func CommandDone(client uint64, command, failed, replyBytes int, duration int64)
TEXT ·CommandDone(SB), NOSPLIT|NOFRAME, $0-40
	NOP5
	RET

// func SocketRead(client uint64, fd, bytes int)
TEXT ·SocketRead(SB), NOSPLIT|NOFRAME, $0-24
	NOP5
	RET

// func ReplyWritten(client uint64, fd, bytes int)
TEXT ·ReplyWritten(SB), NOSPLIT|NOFRAME, $0-24
	NOP5
	RET

// func LoopTurn(records uint64, count int, calls, refused, wake, idle int64, ready int)
TEXT ·LoopTurn(SB), NOSPLIT|NOFRAME, $0-56
	NOP5
	RET

// func LoopWork(kind int, start, duration int64, amount int)
TEXT ·LoopWork(SB), NOSPLIT|NOFRAME, $0-32
	NOP5
	RET
