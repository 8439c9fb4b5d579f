package slab

import (
	"fmt"
	"unsafe"
)

// span describes spanSize bytes of slots of one class. The descriptors live
// beside the arena, not in it: freeing a slot then touches 16 bytes that stay in
// cache, and the slot itself.
//
// Free slots are kept per span rather than per class, so that a span whose last
// slot was freed can leave its class at once, without searching a long list for
// the slots that it takes along.
type span struct {
	free       uint16 // offset in units of the first freed slot, noSlot if none; each holds the next
	fresh      uint16 // offset in units from which on slots were never used
	live       uint16 // slots handed out
	class      uint8
	state      uint8
	next, prev uint32 // in the list of the class's partial spans, or of the empty ones
}

const noSlot = 1<<16 - 1

const (
	spanUnused = iota
	spanInUse
	spanDirty // empty, pages may be resident
	spanClean // empty, pages given back
)

func (a *Arena) span(i uint32) *span {
	return (*span)(unsafe.Add(a.spans, uintptr(i)*unsafe.Sizeof(span{})))
}

// Alloc returns a slot of at least n bytes, 0 < n <= MaxSlot, with undefined
// contents. It returns false when the memory or the limit is exhausted.
func (a *Arena) Alloc(n int) (Ref, bool) {
	class := classOf(n)
	size := int(classes.size[class])
	if !a.fits(int64(size)) {
		return 0, false
	}
	i := a.partial[class]
	if i == 0 {
		if i = a.takeSpan(class); i == 0 {
			return 0, false
		}
	}
	s := a.span(i)
	var offset uint16
	if s.free != noSlot {
		offset = s.free
		s.free = *(*uint16)(a.Ptr(Ref(i*spanUnits + uint32(offset))))
	} else {
		offset = s.fresh
		s.fresh += uint16(size / unit)
	}
	s.live++
	if s.free == noSlot && int(s.fresh)+size/unit > spanUnits {
		a.unlink(s, &a.partial[class])
	}
	a.slotBytes += int64(size)
	r := Ref(i*spanUnits + uint32(offset))
	if invariants {
		a.noteAlloc(r)
	}
	return r, true
}

// Free takes a slot back.
func (a *Arena) Free(r Ref) {
	if invariants {
		a.noteFree(r)
	}
	i := uint32(r) / spanUnits
	s := a.span(i)
	size := int(classes.size[s.class])
	full := s.free == noSlot && int(s.fresh)+size/unit > spanUnits
	*(*uint16)(a.Ptr(r)) = s.free
	s.free = uint16(uint32(r) % spanUnits)
	s.live--
	a.slotBytes -= int64(size)
	if full {
		a.link(i, s, &a.partial[s.class])
	}
	if s.live == 0 {
		a.unlink(s, &a.partial[s.class])
		s.state = spanDirty
		a.link(i, s, &a.empty)
		if a.Used() == 0 && a.committed > chunkSize {
			a.Reset()
		}
	}
}

// SlotSize returns the bytes of a slot.
func (a *Arena) SlotSize(r Ref) int {
	return int(classes.size[a.span(uint32(r)/spanUnits).class])
}

// takeSpan gives an empty span to a class and returns its number, 0 if there is
// no memory.
func (a *Arena) takeSpan(class uint8) uint32 {
	i := a.empty
	if i != 0 {
		a.unlink(a.span(i), &a.empty)
	} else {
		if !a.commitTo((uintptr(a.next) + 1) * spanSize) {
			return 0
		}
		i = a.next
		a.next++
	}
	s := a.span(i)
	*s = span{free: noSlot, class: class, state: spanInUse}
	a.link(i, s, &a.partial[class])
	return i
}

// commitTo makes the first n bytes of the range usable.
func (a *Arena) commitTo(n uintptr) bool {
	if n <= a.committed {
		return true
	}
	if a.committed+chunkSize > a.size {
		return false
	}
	chunk := unsafe.Add(a.base, a.committed)
	if commit(chunk, chunkSize) != nil {
		return false
	}
	if a.committed >= hugeFrom {
		adviseHuge(chunk, chunkSize)
	}
	a.committed += chunkSize
	return true
}

func (a *Arena) link(i uint32, s *span, list *uint32) {
	s.prev, s.next = 0, *list
	if s.next != 0 {
		a.span(s.next).prev = i
	}
	*list = i
}

func (a *Arena) unlink(s *span, list *uint32) {
	if s.next != 0 {
		a.span(s.next).prev = s.prev
	}
	if s.prev != 0 {
		a.span(s.prev).next = s.next
	} else {
		*list = s.next
	}
}

// Trim returns the memory of empty spans to the system, as Redis's MEMORY PURGE
// does, and reports how many bytes. It is not done span by span as they become
// empty, because a busy server takes them again at once and would pay a system
// call and 32 page faults each time.
func (a *Arena) Trim() int64 {
	var trimmed int64
	for i := uint32(1); i < a.next; {
		if a.span(i).state != spanDirty {
			i++
			continue
		}
		first := i
		for ; i < a.next && a.span(i).state == spanDirty; i++ {
			a.span(i).state = spanClean
		}
		n := uintptr(i-first) * spanSize
		release(unsafe.Add(a.base, uintptr(first)*spanSize), n)
		trimmed += int64(n)
	}
	return trimmed
}

func (a *Arena) noteAlloc(r Ref) {
	if _, twice := a.live[r]; twice {
		panic(fmt.Sprintf("slab: slot %#x handed out twice", r))
	}
	a.live[r] = struct{}{}
}

func (a *Arena) noteFree(r Ref) {
	if _, ok := a.live[r]; !ok {
		panic(fmt.Sprintf("slab: slot %#x freed but not live", r))
	}
	delete(a.live, r)
	size := a.SlotSize(r)
	for i, s := 0, unsafe.Slice((*byte)(a.Ptr(r)), size); i < size; i++ {
		s[i] = 0xDD // so that a stale view shows
	}
}
