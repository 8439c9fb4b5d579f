package engine

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hooked is a direct server that notes every event of its only client's reads.
type hooked struct {
	*directServer
	reads    []ReadEvent
	commands []CommandEvent
	writes   []WriteEvent
}

func newHooked(t *testing.T) *hooked {
	s := &hooked{directServer: newDirectServer(t)}
	s.hooks = Hooks{
		SampleRead:   func(uint64) bool { return true },
		ReadDone:     func(e ReadEvent) { s.reads = append(s.reads, e) },
		CommandDone:  func(e CommandEvent) { s.commands = append(s.commands, e) },
		ReplyWritten: func(e WriteEvent) { s.writes = append(s.writes, e) },
	}
	return s
}

// send has the server read what a client wrote, "" being nothing.
func (s *hooked) send(t *testing.T, text string) {
	t.Helper()
	if text != "" {
		if n, err := unix.Write(s.peer, []byte(text)); n != len(text) || err != nil {
			t.Fatal(n, err)
		}
	}
	readQueryFromClient(&s.c.connection)
}

// TestHooksOfPostponedCommand wants a command that CLIENT PAUSE held up reported
// once, when it is executed, within a read that ends after it.
func TestHooksOfPostponedCommand(t *testing.T) {
	s := newHooked(t)
	s.pause = pause{until: s.loopClock.unixMs + 100_000, writes: true}
	s.send(t, "GET a\r\nSET a 1\r\nGET a\r\n")
	if len(s.commands) != 1 || len(s.reads) != 1 || s.reads[0].Commands != 1 {
		t.Fatalf("during the pause: %d commands, reads %+v", len(s.commands), s.reads)
	}
	s.pause.until = 1
	resumePostponedClients(s.Server)
	if len(s.commands) != 3 || len(s.reads) != 2 {
		t.Fatalf("after the pause: %d commands, %d reads", len(s.commands), len(s.reads))
	}
	for i, e := range s.commands {
		if e.CallStart == 0 || e.CallEnd == 0 {
			t.Errorf("command %d has no call: %+v", i, e)
		}
	}
	if r := s.reads[1]; r.Commands != 2 || r.Bytes != 0 || s.commands[2].Read != r.Read || r.End < s.commands[2].End {
		t.Errorf("the read of the postponed commands: %+v", r)
	}
	if got := s.lookupCommand([]byte("set")).calls; got != 1 {
		t.Errorf("SET was called %d times", got)
	}
}

// TestReadsAreNumberedOnce wants each number of a read to belong to one ReadDone,
// and writes to bear none but those.
func TestReadsAreNumberedOnce(t *testing.T) {
	s := newHooked(t)
	s.send(t, "PING\r\n")
	s.send(t, "") // nothing to read
	writeToClient(s.c)
	s.send(t, "PING\r\n")
	writeToClient(s.c)
	if len(s.reads) != 2 || s.reads[0].Read != 1 || s.reads[1].Read != 2 {
		t.Errorf("reads: %+v", s.reads)
	}
	if len(s.writes) != 2 || s.writes[0].Read != 1 || s.writes[1].Read != 2 {
		t.Errorf("writes: %+v", s.writes)
	}
}

// TestReadDoneOfRefusedRead has a client send more than the query buffer takes.
func TestReadDoneOfRefusedRead(t *testing.T) {
	s := newHooked(t)
	s.config.QueryBufferLimit = 1000
	s.send(t, "*1\r\n$10000\r\n"+strings.Repeat("x", 2000))
	if len(s.reads) != 1 || s.reads[0].Bytes == 0 || s.reads[0].Commands != 0 {
		t.Errorf("reads: %+v", s.reads)
	}
}

// TestReadIsBounded wants a client that once sent a big value to have no more
// of its small commands executed in one turn than others.
func TestReadIsBounded(t *testing.T) {
	s := newHooked(t)
	unix.SetsockoptInt(s.peer, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<20)
	big := "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n" + strings.Repeat("x", 1e6) + "\r\n"
	for sent := 0; sent < len(big); {
		n, err := unix.Write(s.peer, []byte(big[sent:min(len(big), sent+50_000)]))
		if err != nil {
			t.Fatal(err)
		}
		sent += n
		s.send(t, "")
	}
	if len(s.commands) != 1 {
		t.Fatal("the big value has not been set")
	}
	pipeline := strings.Repeat("PING\r\n", 16_000)
	n, err := unix.Write(s.peer, []byte(pipeline))
	if err != nil || n <= inputSize {
		t.Skip("the socket takes too little", n, err)
	}
	s.send(t, "")
	if got := s.reads[len(s.reads)-1].Bytes; got > inputSize {
		t.Errorf("read %d bytes of a pipeline at once", got)
	}
}

// TestHooksOfQuit wants QUIT, which is answered before all checks, reported by
// its name.
func TestHooksOfQuit(t *testing.T) {
	s := newHooked(t)
	s.send(t, "QUIT\r\n")
	if len(s.commands) != 1 || s.commands[0].Command != s.lookupCommand([]byte("quit")).id || s.commands[0].ReplySize != 5 {
		t.Errorf("%+v", s.commands)
	}
}
