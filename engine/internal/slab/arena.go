// Package slab hands out memory that the garbage collector never looks at: slots
// of up to 16 KiB in an arena outside the Go heap, named by 32-bit refs, and
// around them larger blocks and values, all accounted to the byte.
//
// A server that keeps ten million keys as Go objects spends its time marking
// them, and pays 16 bytes per slice header and 8 per pointer. Here a key costs
// its bytes, and a reference to it four.
//
// The package must never store a Go pointer in a slot, never move a slot behind
// its owner's back, and never panic for want of memory: allocation returns false.
// It is not safe for concurrent use; one goroutine owns an arena.
package slab

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"
)

// Ref names a slot: its offset from the arena's base in units of 8 bytes, so
// that 32 bits reach 32 GiB and following a ref is one shift and one addition.
// 0 is no slot. A table of chunks behind the ref would lift the limit and cost a
// dependent load on every access.
type Ref uint32

const (
	unit = 8 // bytes that one step of a Ref stands for

	// Memory is opened for use in chunks of the size of a huge page, and given to
	// size classes in spans. A span is large enough to hold eight slots of the
	// largest class; because classes fill it front to back, an almost empty
	// arena with every class in use still touches few pages.
	chunkSize = 2 << 20
	spanSize  = 128 << 10
	spanUnits = spanSize / unit

	maxRange = 1 << 32 * unit
	minRange = 64 << 20

	// hugeFrom is where huge pages begin. Below it a small server keeps its
	// memory to 4 KiB pages; above it a huge page is at most an eighth of what is
	// in use already. With a million keys of 16 bytes huge pages throughout took a
	// sixth off a random lookup (237 to 200 ns, in a virtual machine, where a TLB
	// miss walks two page tables), for 1 % more resident memory. The price is
	// that whoever touches a new one waits while 2 MiB are zeroed, about a
	// millisecond on that machine, once in 65,000 entries. What Redis fears of
	// them, copies of 2 MiB after fork, does not arise, as nothing here forks.
	hugeFrom = 16 << 20
)

// ErrOutOfMemory is returned by users of an arena when an allocation was refused.
var ErrOutOfMemory = errors.New("slab: out of memory")

// Arena is a set of slots, blocks and large values. Use New.
type Arena struct {
	base unsafe.Pointer // of the range; 2 MiB aligned

	partial [len(classes.size)]uint32 // per class, the first span that has a free slot
	spans   unsafe.Pointer            // [range/spanSize]span
	empty   uint32                    // first span that belongs to no class
	next    uint32                    // first span never used; span 0 is kept out so that Ref 0 is none

	slotBytes, blockBytes, largeBytes int64 // live
	limit                             int64

	committed uintptr // bytes from base on that may be touched
	size      uintptr // of the range in bytes

	large  [][]byte
	vacant []uint32 // indices of large that are free
	mapped map[unsafe.Pointer]int64

	reserved     unsafe.Pointer // what reserve returned, for Close
	reservedSize uintptr

	live map[Ref]struct{} // with -tags invariants
}

// New reserves an arena. limit bounds the bytes it hands out, 0 meaning only the
// address range does: 32 GiB, or less where the system refuses twice that much.
func New(limit int64) (*Arena, error) {
	if limit <= 0 {
		limit = math.MaxInt64
	}
	a := &Arena{limit: limit}
	var err error
	for a.size = maxRange; a.size >= minRange; a.size /= 2 {
		// Twice that must be there: what the arena takes of a limited address space,
		// the Go heap lacks for large values, and the runtime dies for want of it.
		a.reservedSize = a.size + chunkSize
		if a.reserved, err = reserve(2 * a.reservedSize); err == nil {
			unmap(unsafe.Add(a.reserved, a.reservedSize), a.reservedSize)
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("slab: cannot reserve %d MiB of address space (raise ulimit -v): %w", 2*minRange>>20, err)
	}
	align := -uintptr(a.reserved) & (chunkSize - 1)
	a.base = unsafe.Add(a.reserved, align)
	if a.spans, err = mapZeroed(a.spanTableSize()); err != nil {
		unmap(a.reserved, a.reservedSize)
		return nil, fmt.Errorf("slab: cannot map the span table: %w", err)
	}
	a.init()
	return a, nil
}

func (a *Arena) spanTableSize() uintptr {
	return a.size / spanSize * unsafe.Sizeof(span{})
}

func (a *Arena) init() {
	a.next = 1
	a.empty = 0
	a.partial = [len(classes.size)]uint32{}
	a.mapped = map[unsafe.Pointer]int64{}
	if invariants {
		a.live = map[Ref]struct{}{}
	}
}

// Base is where Ref 0 would be. It never changes, so a hot path may keep it.
func (a *Arena) Base() unsafe.Pointer { return a.base }

// Ptr returns the first byte of a slot.
func (a *Arena) Ptr(r Ref) unsafe.Pointer { return unsafe.Add(a.base, uintptr(r)*unit) }

// Stats are an arena's sizes in bytes.
type Stats struct {
	Slots     int64 // live slots, at the size of their class
	Blocks    int64 // live blocks that have a mapping of their own
	Large     int64 // live large values, at their capacity
	Committed int64 // address range opened for slots; an upper bound of what they hold resident
	Idle      int64 // of Committed, spans that belong to no class
}

// Stats returns the arena's sizes.
func (a *Arena) Stats() Stats {
	s := Stats{Slots: a.slotBytes, Blocks: a.blockBytes, Large: a.largeBytes, Committed: int64(a.committed)}
	for i := a.empty; i != 0; i = a.span(i).next {
		s.Idle += spanSize
	}
	return s
}

// ClassStats describe the slots of one size class.
type ClassStats struct {
	Size  int   // of a slot, in bytes
	Spans int   // that the class holds
	Live  int64 // slots handed out
}

// Classes describes the classes that hold spans, by size. It takes a walk over
// all spans.
func (a *Arena) Classes() []ClassStats {
	var all [len(classes.size)]ClassStats
	for i := uint32(1); i < a.next; i++ {
		if s := a.span(i); s.state == spanInUse {
			class := &all[s.class]
			class.Size = int(classes.size[s.class])
			class.Spans++
			class.Live += int64(s.live)
		}
	}
	return slices.DeleteFunc(all[:], func(c ClassStats) bool { return c.Spans == 0 })
}

// Used returns the bytes handed out and not given back: slots, blocks and large
// values.
func (a *Arena) Used() int64 { return a.slotBytes + a.blockBytes + a.largeBytes }

// SetLimit changes the bound given to New. What is already handed out stays.
func (a *Arena) SetLimit(limit int64) {
	if limit <= 0 {
		limit = math.MaxInt64
	}
	a.limit = limit
}

func (a *Arena) fits(n int64) bool { return a.Used()+n <= a.limit }

// HasRoom reports whether n more bytes surely fit, however they are divided
// between slots, blocks and large values.
func (a *Arena) HasRoom(n int64) bool {
	// Each class may need a span of its own, and leaves less than half of it over.
	slots := 2*n + int64(len(classes.size))*spanSize
	return a.fits(n) && int64(a.next)*spanSize+slots <= int64(a.size)
}

// Reset takes back everything that was ever handed out, and returns the memory
// to the system. Its cost depends on the memory, not on the number of slots.
func (a *Arena) Reset() {
	decommit(a.base, max(a.committed, chunkSize))
	release(a.spans, a.spanTableSize())
	for p, size := range a.mapped {
		unmap(p, uintptr(size))
	}
	a.large, a.vacant = nil, nil
	a.slotBytes, a.blockBytes, a.largeBytes, a.committed = 0, 0, 0, 0
	a.init()
}

// Close is Reset, and gives the address range back too. The arena and everything
// in it is gone.
func (a *Arena) Close() {
	for p, size := range a.mapped {
		unmap(p, uintptr(size))
	}
	unmap(a.spans, a.spanTableSize())
	unmap(a.reserved, a.reservedSize)
	*a = Arena{}
}
