package engine

import (
	"unsafe"

	"github.com/redscope/redscope/engine/internal/monotonic"
	"github.com/redscope/redscope/engine/probe"
)

// This file is where the path of a command meets those who watch it: the hooks
// of a sampled read, and the markers. Every function here begins with the
// question whether anybody looks, and is small enough to be inlined up to it.

// clientTrace is what is known of a client's sampled read while it lasts.
type clientTrace struct {
	sampled bool   // the read under way is reported
	replies bool   // replies of a sampled read wait in the client's buffer
	read    uint64 // the newest sampled read
	before  int    // length of the reply buffer when the command began
	parse   int64  // when parsing of the next command began, stamp
	written int64  // when the write under way began, stamp
	readEv  ReadEvent
	event   CommandEvent
}

func stamp() int64 { return monotonic.Stamp(monotonic.Ticks()) }

func (t *clientTrace) beginRead(c *client) {
	if sample := c.srv.hooks.SampleRead; watching && sample != nil && sample(c.id) {
		t.startRead(c)
	}
}

func (t *clientTrace) startRead(c *client) {
	t.sampled = true
	t.readEv = ReadEvent{Client: c.id, Loop: c.srv.el.Turn, Start: stamp(), Peer: c.peer, Local: c.local}
}

func (t *clientTrace) readDone(c *client, bytes int) {
	if watching && t.sampled {
		t.numberRead(c, bytes)
	}
}

// numberRead comes after the read: one that finds nothing has no number, and the
// replies that wait keep theirs.
func (t *clientTrace) numberRead(c *client, bytes int) {
	c.srv.sampledReads++
	t.read = c.srv.sampledReads
	t.readEv.Read, t.readEv.ReadEnd, t.readEv.Bytes = t.read, stamp(), bytes
}

func (t *clientTrace) endRead(c *client) {
	if watching && t.sampled {
		t.finishRead(c)
	}
}

func (t *clientTrace) finishRead(c *client) {
	t.sampled = false
	t.replies = c.hasReply()
	t.readEv.End, t.readEv.DB = stamp(), c.db.id
	if done := c.srv.hooks.ReadDone; done != nil {
		done(t.readEv)
	}
}

func (t *clientTrace) beginParse() {
	if watching && t.sampled {
		t.parse = stamp()
	}
}

func (t *clientTrace) beginCommand(c *client) {
	if watching && t.sampled {
		t.startCommand(c)
	}
}

func (t *clientTrace) startCommand(c *client) {
	t.event = CommandEvent{
		Read: t.read, Client: c.id, Loop: c.srv.el.Turn, Batch: t.readEv.Commands,
		Command: -1, Args: len(c.argv), DB: c.db.id, Parse: t.parse, Process: stamp(),
	}
	t.before = len(c.buf)
}

func (t *clientTrace) endCommand(c *client) {
	if watching && t.sampled {
		t.finishCommand(c)
	}
}

func (t *clientTrace) finishCommand(c *client) {
	t.readEv.Commands++
	e := &t.event
	e.End = stamp()
	e.ReplySize = len(c.buf) - t.before
	if c.cmd != nil {
		e.Command = c.cmd.id
		if i := c.firstKey(); i != 0 {
			e.KeyPos, e.KeyLen = i, len(c.argv[i])
			copy(e.Key[:], c.argv[i])
		}
	}
	if done := c.srv.hooks.CommandDone; done != nil {
		done(*e)
	}
}

func (t *clientTrace) beginProc(ticks int64) {
	if watching && t.sampled {
		t.event.ProcStart = monotonic.Stamp(ticks)
		t.event.CallStart = t.event.ProcStart
	}
}

func (t *clientTrace) endProc(ticks int64) {
	if watching && t.sampled {
		t.event.ProcEnd = monotonic.Stamp(ticks)
	}
}

func (t *clientTrace) endCall() {
	if watching && t.sampled {
		t.event.CallEnd = stamp()
	}
}

// noteError keeps the code of the first error of the command under way.
func (t *clientTrace) noteError(code []byte) {
	if watching && t.sampled && t.event.ErrLen == 0 {
		t.event.ErrLen = copy(t.event.Err[:], code)
	}
}

func (t *clientTrace) beginWrite() {
	if watching && t.replies {
		t.written = stamp()
	}
}

func (t *clientTrace) endWrite(c *client, n int, failed bool) {
	if watching && t.replies {
		t.finishWrite(c, n, failed)
	}
}

func (t *clientTrace) finishWrite(c *client, n int, failed bool) {
	t.replies = !failed && c.sent+n < len(c.buf)
	if written := c.srv.hooks.ReplyWritten; written != nil {
		written(WriteEvent{Read: t.read, Client: c.id, Loop: c.srv.el.Turn, Start: t.written, End: stamp(), Bytes: max(n, 0), Failed: failed})
	}
}

// firstKey returns the position of the first key among the arguments of the
// client's command, 0 when it has none.
func (c *client) firstKey() int {
	if i := c.cmd.legacyKeys.index; i < len(c.argv) {
		return i
	}
	return 0
}

// commandMark passes the markers command_start and command_done.
type commandMark struct {
	ticks  int64
	errors int64
	reply  int
}

//go:noinline
func (m *commandMark) start(c *client) {
	m.ticks, m.errors, m.reply = monotonic.Ticks(), c.srv.stat.errorReplies, len(c.buf)
	if !probe.CommandStartEnabled() {
		return
	}
	id, key := -1, []byte(nil)
	if c.cmd != nil {
		id = c.cmd.id
		if i := c.firstKey(); i != 0 {
			key = c.argv[i]
		}
	}
	probe.CommandStart(c.id, id, unsafe.SliceData(key), len(key), len(c.argv), c.batch)
}

//go:noinline
func (m *commandMark) done(c *client) {
	if m.ticks == 0 {
		return // attached between the two
	}
	id, failed := -1, 0
	if c.cmd != nil {
		id = c.cmd.id
	}
	if c.srv.stat.errorReplies > m.errors {
		failed = 1
	}
	probe.CommandDone(c.id, id, failed, len(c.buf)-m.reply, monotonic.Nanos(monotonic.Ticks()-m.ticks))
}

// worthTelling is how long, in ns, the loop's own work must last to be told.
const worthTelling = 10_000

// passWork passes the marker loop_work, for work from start to end in ticks.
//
//go:noinline
func passWork(kind int, start, end int64, amount int) {
	duration := monotonic.Nanos(end - start)
	if duration < worthTelling {
		return
	}
	ticks, nanos := monotonic.Kernel()
	probe.LoopWork(kind, nanos-monotonic.Nanos(ticks-start), duration, amount)
}
