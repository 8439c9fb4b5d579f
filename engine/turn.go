package engine

import (
	"unsafe"

	"github.com/redscope/redscope/engine/internal/monotonic"
	"github.com/redscope/redscope/engine/probe"
)

// loopTurn is what the server keeps for the marker loop_turn while somebody is
// attached to it: a record of every command of the turn. Two markers per command
// would cost the command twice what it takes itself; this costs it some tens of
// nanoseconds, and the marker is passed once per turn.
//
// It begins and ends with a turn, so that a turn is recorded whole or not at all.
// Its memory holds no pointers, and nothing here allocates but the beginning.
type loopTurn struct {
	records [turnSize]probe.Command
	earlier [turnSize]int32 // one more than the record before of the same client, 0 for none
	n       int             // records in use
	passed  uint64          // rises whenever they have been passed and are forgotten

	// Totals since the server's start, without the records in use.
	calls, refused int64

	// The clock: CLOCK_MONOTONIC at wake is nanos.
	wake, nanos int64 // ticks, ns
	slept       int64 // when the turn before ended, ticks; 0 for none
	ready       int

	// The read, the write and the command under way; times are those of Command.
	readStart, readEnd, parsed int64
	writeStart                 int64
	err                        [16]byte
}

// turnSize is how many commands of a turn are recorded until their replies are
// written. A turn of more passes its records earlier, without the times of their
// writes.
const turnSize = 1024

// clientRecords is where a client's newest record is, of those whose reply has not
// been written, if the records have not been passed since.
type clientRecords struct {
	newest int32 // one more than its index, 0 for none
	passed uint64
}

// beginTurn begins the records of a turn, or ends them for good when nobody looks
// any more.
func (s *Server) beginTurn() {
	if !probe.LoopTurnEnabled() {
		s.turn = nil
		return
	}
	t := s.turn
	if t == nil {
		t = newLoopTurn(s)
		s.turn = t
	}
	t.wake, t.nanos = monotonic.Kernel()
	t.ready = s.el.Ready
}

func newLoopTurn(s *Server) *loopTurn {
	_, now := monotonic.Kernel()
	// Never what it was when somebody looked before, which clients remember:
	// passing records takes longer than a nanosecond.
	t := &loopTurn{passed: uint64(now), refused: s.refused}
	for _, cmd := range s.commands.byID {
		t.calls += cmd.calls
	}
	return t
}

// time turns ticks of this turn into CLOCK_MONOTONIC, in ns.
func (t *loopTurn) time(ticks int64) int64 { return t.nanos + monotonic.Nanos(ticks-t.wake) }

func (t *loopTurn) now() int64 { return t.time(monotonic.Ticks()) }

// readNothing is for commands that were held up: nothing is read for them.
func (t *loopTurn) readNothing() {
	t.readStart = t.now()
	t.readEnd = t.readStart
}

// beginCommand comes before a command, or what answers in its stead.
func (t *loopTurn) beginCommand() { t.err[0] = 0 }

// noteError keeps the code of the first error of the command under way.
func (t *loopTurn) noteError(code []byte) {
	if t.err[0] == 0 {
		t.err = [16]byte{}
		copy(t.err[:], code)
	}
}

// called records a call from start to end, in ticks. reply is how long
// the client's reply was before, here and below.
func (t *loopTurn) called(c *client, start, end int64, reply int, failed bool) {
	r := t.next(c, reply, failed)
	r.Start, r.End = t.time(start), t.time(end)
	t.fillRead(r, c)
}

// refuse records a command that a check refused.
func (t *loopTurn) refuse(c *client, start int64, reply int) {
	r := t.next(c, reply, true)
	r.Flags |= probe.CommandRefused
	r.Start = t.time(start)
	r.End = r.Start
	t.fillRead(r, c)
}

// unblocked records a call that had to wait for a key; without the wait it took
// so many ns.
func (t *loopTurn) unblocked(c *client, duration int64, reply int, failed bool) {
	r := t.next(c, reply, failed)
	r.Flags |= probe.CommandBlocked
	r.End = t.now()
	r.Start = r.End - duration
	if keys := c.blocked.keys; len(keys) > 0 {
		r.KeyLen = uint32(len(keys[0]))
		copy(r.Key[:], keys[0])
	}
}

// next begins a record.
func (t *loopTurn) next(c *client, reply int, failed bool) *probe.Command {
	if t.n == turnSize {
		t.pass()
	}
	r := &t.records[t.n]
	t.earlier[t.n] = 0
	if c.records.passed == t.passed {
		t.earlier[t.n] = c.records.newest
	}
	t.n++
	c.records = clientRecords{int32(t.n), t.passed}

	*r = probe.Command{Client: c.id, Wake: t.nanos, Command: -1, ReplyBytes: uint32(max(0, len(c.buf)-reply))}
	if c.cmd != nil {
		r.Command = int32(c.cmd.id)
	}
	if failed {
		r.Flags, r.Error = probe.CommandFailed, t.err
	}
	return r
}

// fillRead adds what is known of a command that came in with the read under way.
func (t *loopTurn) fillRead(r *probe.Command, c *client) {
	r.ReadStart, r.ReadEnd, r.Parsed = t.readStart, t.readEnd, t.parsed
	r.Args, r.Batch = uint32(len(c.argv)), uint32(c.batch)
	if c.cmd == nil {
		return
	}
	if i := c.firstKey(); i != 0 {
		r.KeyLen = uint32(len(c.argv[i]))
		copy(r.Key[:], c.argv[i])
	}
}

// written enters the write that took a client's reply in the client's records.
func (t *loopTurn) written(c *client) {
	if c.records.passed != t.passed {
		return
	}
	end := t.now()
	for i := c.records.newest; i != 0; i = t.earlier[i-1] {
		if r := &t.records[i-1]; r.ReplyBytes > 0 {
			r.WriteStart, r.WriteEnd = t.writeStart, end
		}
	}
	c.records.newest = 0
}

// pass passes the marker with the records, in parts, and forgets them.
func (t *loopTurn) pass() {
	var idle int64
	if t.slept != 0 {
		idle = monotonic.Nanos(t.wake - t.slept)
	}
	for first := 0; first == 0 || first < t.n; first += probe.TurnRecords {
		part := t.records[first:min(first+probe.TurnRecords, t.n)]
		refused := int64(0)
		for i := range part {
			if part[i].Flags&probe.CommandRefused != 0 {
				refused++
			}
		}
		t.refused += refused
		t.calls += int64(len(part)) - refused
		probe.LoopTurn(uint64(uintptr(unsafe.Pointer(&t.records[first]))), len(part), t.calls, t.refused, t.nanos, idle, t.ready)
	}
	t.n = 0
	t.passed++
}

// end passes what is left of the turn.
func (t *loopTurn) end() {
	t.pass()
	t.slept = monotonic.Ticks()
}
