package engine

import (
	"strings"
	"testing"

	"github.com/redscope/redscope/engine/internal/monotonic"
	"github.com/redscope/redscope/engine/probe"
)

// watchTurns makes the server do for its commands what it does while somebody is
// attached to loop_turn.
func (s *directServer) watchTurns() *loopTurn {
	s.turn = newLoopTurn(s.Server)
	s.turn.wake, s.turn.nanos = monotonic.Kernel()
	return s.turn
}

// TestNoAllocationsWhileWatched: records are kept and passed without allocations,
// also when a turn has more than there is room for.
func TestNoAllocationsWhileWatched(t *testing.T) {
	s := newDirectServer(t)
	turn := s.watchTurns()
	var commands [][][]byte
	for _, command := range []string{"SET key xxx", "GET key"} {
		var argv [][]byte
		for _, a := range strings.Fields(command) {
			argv = append(argv, []byte(a))
		}
		commands = append(commands, argv)
	}
	run := func() {
		for range turnSize {
			for _, argv := range commands {
				s.run(argv)
			}
		}
		turn.written(s.c)
		turn.end()
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestTurnRecords holds the records of a turn against what was executed.
func TestTurnRecords(t *testing.T) {
	s := newDirectServer(t)
	s.do("SET", "before", "1")
	turn := s.watchTurns()
	if turn.calls != 1 || turn.refused != 0 {
		t.Errorf("begins at %d calls, %d refused", turn.calls, turn.refused)
	}
	turn.readNothing()
	turn.parsed = turn.now()
	s.do("SET", "a key of more than thirty-two bytes", "value")
	s.do("INCR", "a key of more than thirty-two bytes")
	s.do("GET")
	s.do("NONSENSE", "x")
	s.do("QUIT")
	s.c.flags &^= clientCloseAfterReply
	s.do("CLIENT", "REPLY", "OFF")
	s.do("LPUSH", "before", "x")
	turn.writeStart = turn.now()
	turn.written(s.c)

	type want struct {
		name  string
		flags uint32
		reply int
		err   string
		key   string
		keys  uint32
		args  uint32
	}
	const key = "a key of more than thirty-two by"
	all := []want{
		{"SET", 0, len("+OK\r\n"), "", key, 35, 3},
		{"INCR", probe.CommandFailed, len(shared.notinterr), "ERR", key, 35, 2},
		{"GET", probe.CommandFailed | probe.CommandRefused, 50, "ERR", "", 0, 1},
		{"", probe.CommandFailed | probe.CommandRefused, 65, "ERR", "", 0, 2},
		{"CLIENT REPLY", 0, 0, "", "", 0, 3},
		{"LPUSH", probe.CommandFailed, 0, "WRONGTYPE", "before", 6, 3},
	}
	if turn.n != len(all) {
		t.Fatalf("%d records, want %d", turn.n, len(all))
	}
	last := turn.nanos
	for i, w := range all {
		r := &turn.records[i]
		got := want{flags: r.Flags, reply: int(r.ReplyBytes), err: beforeZero(r.Error[:]), key: beforeZero(r.Key[:]), keys: r.KeyLen, args: r.Args}
		if r.Command >= 0 {
			got.name = s.CommandName(int(r.Command))
		}
		if got != w {
			t.Errorf("record %d: got %+v, want %+v", i, got, w)
		}
		if r.Client != s.c.id || r.Wake != turn.nanos || r.ReadStart < r.Wake || r.ReadEnd < r.ReadStart || r.Parsed < r.ReadEnd ||
			r.Start < last || r.End < r.Start || (r.WriteEnd != 0) != (r.ReplyBytes != 0) || r.WriteEnd != 0 && r.WriteEnd < r.WriteStart {
			t.Errorf("record %d: %+v", i, r)
		}
		last = r.End
	}
	turn.end()
	if turn.calls != 5 || turn.refused != 2 || turn.n != 0 {
		t.Errorf("ends at %d calls, %d refused, %d records", turn.calls, turn.refused, turn.n)
	}
	// What a client remembers of records that have been passed is forgotten.
	s.do("CLIENT", "REPLY", "ON")
	turn.end()
	s.do("PING")
	if turn.written(s.c); turn.earlier[0] != 0 || turn.records[0].WriteEnd == 0 {
		t.Error("a record is behind one that was passed")
	}
}

// beforeZero is the text before the first zero.
func beforeZero(b []byte) string { return string(cString(b)) }
