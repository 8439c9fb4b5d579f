package engine

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// replies sends stream to a new server in pieces of the given size, one read
// each, and returns what it replies.
func replies(t *testing.T, stream []byte, piece int) []byte {
	t.Helper()
	s := newDirectServer(t)
	var all []byte
	for len(stream) > 0 && s.c.fd >= 0 && s.c.flags&(clientCloseASAP|clientCloseAfterReply) == 0 {
		n := min(piece, len(stream))
		if _, err := unix.Write(s.peer, stream[:n]); err != nil {
			t.Fatal(err)
		}
		stream = stream[n:]
		readQueryFromClient(&s.c.connection)
		all = append(all, s.c.buf...)
		s.c.buf = s.c.buf[:0]
	}
	return all
}

// Wherever reads cut a stream, the replies are the same: a batch ends in the
// middle of a command, of a run of empty ones, or before an error.
func FuzzCuts(f *testing.F) {
	for _, stream := range []string{
		"*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n",
		"\r\n\r\nPING\r\n\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\n*0\r\n",
		"SET k v\r\nGET k\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*01\r\n",
		"SET k \"\r\nPING\r\n",
		strings.Repeat("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n10\r\n*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n", 20),
		"*2\r\n$3\r\nGET\r\n$-1\r\n",
	} {
		f.Add([]byte(stream), uint16(1))
		f.Add([]byte(stream), uint16(7))
	}
	f.Fuzz(func(t *testing.T, stream []byte, piece uint16) {
		// Commands that tell the time or the buffers may differ, and those that
		// stop the server or a client for a while are of no use here.
		lower := bytes.ToLower(stream)
		for _, word := range []string{"time", "info", "list", "client", "shutdown", "config", "random", "debug", "hello", "object", "ex", "px"} {
			if bytes.Contains(lower, []byte(word)) {
				return
			}
		}
		stream = stream[:min(len(stream), inputSize)]
		whole := replies(t, stream, inputSize)
		if cut := replies(t, stream, int(piece%128)+1); !bytes.Equal(whole, cut) {
			t.Fatalf("in pieces of %d: %q, whole: %q", piece%128+1, cut, whole)
		}
	})
}
