package trace

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/otel/trace"
)

const (
	// waitForWrites is how long a read waits for the writes that carry its
	// replies, counted from its latest event. A reply normally leaves in the
	// same turn of the loop; a client that does not read delays it for longer,
	// and a command without a reply never has one.
	waitForWrites = time.Second

	// maxHeld bounds the events that reads hold while they wait, 16 MiB of
	// them: beyond it the older ones stop waiting.
	maxHeld = 1 << 16
)

// An assembly is a read whose spans are not built yet.
type assembly struct {
	read     uint64
	trace    trace.TraceID
	root     trace.SpanID
	commands []command
	writes   []record
	done     record    // its readEvent
	haveDone bool      // that came
	replies  int64     // bytes of reply that its commands made
	written  int64     // bytes that its writes carried
	failed   bool      // one of its writes failed, and no other follows
	latest   time.Time // when its latest event was taken from the ring

	older, newer *assembly // in the assembler's list
}

type command struct {
	record
	span   trace.SpanID
	behind spanRef // the command it waited behind, if any
}

// A spanRef names a span; the zero value names none.
type spanRef struct {
	trace trace.TraceID
	span  trace.SpanID
}

// events returns how many events a holds.
func (a *assembly) events() int {
	n := len(a.commands) + len(a.writes)
	if a.haveDone {
		n++
	}
	return n
}

// whole reports whether nothing can follow. Replies of reads that were not
// traced may share the socket's buffer, so that written runs ahead of replies;
// the last write is then taken for a late one. Hooks that told how much is
// still buffered would avoid it and cost every write.
func (a *assembly) whole() bool {
	return a.haveDone && (a.failed || a.replies > 0 && a.written >= a.replies)
}

// end returns when the root span ends, in nanoseconds since the epoch: with the
// last write, if any. The function readQueryFromClient has returned by then, but
// a root that ended with it would end before its child writeToClient begins.
func (a *assembly) end() int64 {
	ns := a.done.at[end]
	for i := range a.writes {
		ns = max(ns, a.writes[i].at[end])
	}
	return ns
}

// duration returns how long the root span lasts.
func (a *assembly) duration() time.Duration {
	return time.Duration(a.end() - a.done.at[start])
}

// An assembler groups events by read. Ids are given when an event arrives, not
// when its span is built, because a command may link to one whose read is still
// waiting for its writes.
//
// It belongs to the goroutine that drains the ring.
type assembler struct {
	reads  map[uint64]*assembly
	oldest *assembly   // the same by arrival
	newest *assembly   //
	spare  []*assembly // finished ones, for their slices

	loop uint64  // turn of the loop of the latest command
	last spanRef // that command

	ids  *ids
	held int // events of assemblies

	finish func(*assembly) // builds the spans, or not
	late   func()          // a write came after its read was finished
}

func newAssembler(ids *ids, finish func(*assembly), late func()) *assembler {
	return &assembler{reads: make(map[uint64]*assembly), ids: ids, finish: finish, late: late}
}

// add takes one event, at the time now.
func (as *assembler) add(r *record, now time.Time) {
	// Events of one read mostly follow one another.
	a := as.newest
	if a == nil || a.read != r.read {
		a = as.reads[r.read]
	}
	if a == nil {
		if r.kind == writeEvent {
			as.late()
			return
		}
		a = as.begin(r.read)
	}
	a.latest = now
	as.held++
	switch r.kind {
	case commandEvent:
		a.commands = grow(a.commands)
		c := &a.commands[len(a.commands)-1]
		r.copyTo(&c.record)
		c.span, c.behind = as.ids.newSpan(), spanRef{}
		if as.loop == r.loop {
			c.behind = as.last
		}
		as.loop = r.loop
		as.last = spanRef{a.trace, c.span}
		a.replies += r.bytes
	case readEvent:
		a.done = *r
		a.haveDone = true
	case writeEvent:
		a.writes = grow(a.writes)
		r.copyTo(&a.writes[len(a.writes)-1])
		a.written += r.bytes
		a.failed = a.failed || r.failed
	}
	if a.whole() {
		as.end(a)
	} else if as.held > maxHeld {
		// Down to half, because this walks over all of them.
		as.expire(func(*assembly) bool { return as.held > maxHeld/2 })
	}
}

// grow returns s with one more element, which may hold anything: large elements
// are filled where they are rather than copied there.
func grow[T any](s []T) []T {
	if len(s) < cap(s) {
		return s[:len(s)+1]
	}
	var zero T
	return append(s, zero)
}

func (as *assembler) begin(read uint64) *assembly {
	var a *assembly
	if n := len(as.spare); n > 0 {
		a = as.spare[n-1]
		as.spare = as.spare[:n-1]
		*a = assembly{commands: a.commands[:0], writes: a.writes[:0]}
	} else {
		a = new(assembly)
	}
	a.read = read
	a.trace, a.root = as.ids.newTrace()
	as.reads[read] = a
	if a.older = as.newest; a.older != nil {
		a.older.newer = a
	} else {
		as.oldest = a
	}
	as.newest = a
	return a
}

func (as *assembler) end(a *assembly) {
	delete(as.reads, a.read)
	if a.older != nil {
		a.older.newer = a.newer
	} else {
		as.oldest = a.newer
	}
	if a.newer != nil {
		a.newer.older = a.older
	} else {
		as.newest = a.older
	}
	as.held -= a.events()
	as.finish(a)
	// Few large ones or many small ones, the spare memory stays below a
	// megabyte or two.
	if len(as.spare) < 64 && cap(a.commands) <= 64 && cap(a.writes) <= 64 {
		as.spare = append(as.spare, a)
	}
}

// expire ends, oldest first, the reads for which over returns true.
func (as *assembler) expire(over func(*assembly) bool) {
	for a := as.oldest; a != nil; {
		newer := a.newer // a may be used again once it has ended
		if over(a) {
			as.end(a)
		}
		a = newer
	}
}

// expireBefore ends the reads that have waited long enough at the time now.
func (as *assembler) expireBefore(now time.Time) {
	as.expire(func(a *assembly) bool { return now.Sub(a.latest) >= waitForWrites })
}

// expireAll ends all reads: nothing follows.
func (as *assembler) expireAll() {
	as.expire(func(*assembly) bool { return true })
}

// ids makes trace and span ids, for one goroutine.
type ids struct {
	random *rand.PCG
	bound  uint64 // upper bound of the 63 bits that a ratio sampler looks at
}

// newIDs returns ids for traces that were sampled with probability p.
//
// Whoever samples by trace id as the SDK's TraceIDRatioBased does, in a
// collector or in another service, decides by the id's last 63 bits but one. A
// trace kept here with probability p gets an id that a sampler of ratio p keeps
// too: the ids are uniform below p·2⁶³ there. So a second sampler of ratio q
// behind ours keeps q/p of the traces, as the specification of consistent
// sampling has it, not q of them.
func newIDs(p float64, random *rand.PCG) *ids {
	i := &ids{random: random, bound: 1 << 63}
	if p < 1 {
		i.bound = max(1, uint64(p*(1<<63)))
	}
	return i
}

func (i *ids) newTrace() (t trace.TraceID, s trace.SpanID) {
	low := rand.New(i.random).Uint64N(i.bound)<<1 | i.random.Uint64()&1
	binary.BigEndian.PutUint64(t[:8], i.random.Uint64()|1) // never all zero
	binary.BigEndian.PutUint64(t[8:], low)
	return t, i.newSpan()
}

func (i *ids) newSpan() (s trace.SpanID) {
	for !s.IsValid() {
		binary.BigEndian.PutUint64(s[:], i.random.Uint64())
	}
	return s
}
