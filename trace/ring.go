package trace

import (
	"sync/atomic"

	"golang.org/x/sys/cpu"
)

// A ring carries records from one producer, the event-loop thread, to one
// consumer. Neither waits for the other: a full ring refuses the record and
// counts it.
//
// A channel would do the same with a lock and, when the consumer sleeps, a
// futex call per event on the event-loop thread. Several producers are not
// possible, and not needed: one goroutine owns the key space.
type ring struct {
	records []record // a power of two
	mask    uint64

	_ cpu.CacheLinePad // keeps what the producer writes off the lines around it

	// The producer's. head counts the records ever put in; it is stored last,
	// which publishes the record.
	next     uint64 // = head, without the atomic load
	tailSeen uint64 // tail when it was last looked at: spares a miss per record
	lostRead uint64 // the read that lost an event
	head     atomic.Uint64
	dropped  atomic.Uint64 // records refused

	_ cpu.CacheLinePad

	// The consumer's: the number of records ever taken out.
	tail atomic.Uint64

	_ cpu.CacheLinePad
}

func newRing(size int) *ring {
	return &ring{records: make([]record, size), mask: uint64(size - 1)}
}

// slot returns where the next record of the given read goes, or nil when it is
// lost. A read that lost one event loses what follows, too: a tree is whole or
// absent, except that its last writes may be missing.
func (r *ring) slot(read uint64) *record {
	if read == r.lostRead {
		r.dropped.Store(r.dropped.Load() + 1) // one writer: cheaper than Add
		return nil
	}
	if r.next-r.tailSeen == uint64(len(r.records)) {
		r.tailSeen = r.tail.Load()
		if r.next-r.tailSeen == uint64(len(r.records)) {
			r.lostRead = read
			r.dropped.Store(r.dropped.Load() + 1)
			return nil
		}
	}
	return &r.records[r.next&r.mask]
}

// publish hands the record that slot returned to the consumer.
func (r *ring) publish() {
	r.next++
	r.head.Store(r.next)
}

// drain calls f with each record that is in the ring now, in order, and returns
// how many there were. f must not keep the record.
func (r *ring) drain(f func(*record)) int {
	tail, head := r.tail.Load(), r.head.Load()
	for i := tail; i != head; i++ {
		f(&r.records[i&r.mask])
		// One by one, so that f, which may wait for the exporter, does not
		// withhold the room it has already made.
		r.tail.Store(i + 1)
	}
	return int(head - tail)
}
