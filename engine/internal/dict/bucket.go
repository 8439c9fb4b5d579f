package dict

import (
	"math/bits"
	"unsafe"

	"github.com/redscope/redscope/engine/internal/slab"
)

const (
	bucketSlots = 12
	bucketSize  = 64
)

// bucket is one cache line: twelve entries and, for each, a tag of one byte from
// its hash. A lookup compares the twelve tags at once and follows only refs whose
// tag agrees: for an absent key in a full bucket that is one in twenty times a
// single entry, where a chained hash table follows them all.
//
// A bucket that overflows gets a child, 64 bytes from the arena, which may get a
// child itself. The alternative, to probe into neighbouring buckets, would make
// SCAN's cursor and the one-bucket rehash step depend on where an entry ended up
// rather than on its hash.
//
// The tags are two words, not an array, so that matching reads them with the
// width that they were written with.
type bucket struct {
	tags0 uint64   // tags of slots 0 to 7, slot 0 in the lowest byte; 0 is free
	tags1 uint32   // tags of slots 8 to 11
	child slab.Ref // the next bucket of the chain
	refs  [bucketSlots]Ref
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// tagOf maps the hash's top byte, which the bucket's index never uses, to 2…255. 0
// is a free slot, and 1 is left out for match: see there.
func tagOf(hash uint64) uint64 { return (hash>>56)*254>>8 + 2 }

// A slotSet has one bit for each of some slots of a bucket: slot i < 8 at bit 8i,
// slot i >= 8 at bit 8(i-8)+1.
type slotSet uint64

func (s slotSet) first() int {
	p := bits.TrailingZeros64(uint64(s))
	return p>>3 | p&1<<3
}

func (s slotSet) rest() slotSet { return s & (s - 1) }

// match returns the slots whose tag is tag. Above one of these it may also return
// slots whose tag is tag^1, as subtracting borrows from the next byte; they cost a
// comparison of keys. A free slot is never among them, as no tag is 1.
func (b *bucket) match(tag uint64) slotSet {
	x := b.tags0 ^ tag*ones
	y := b.tags1 ^ uint32(tag*ones)
	m := (x - ones) &^ x & highs
	n := (y - ones&(1<<32-1)) &^ y & (highs & (1<<32 - 1))
	return slotSet(m>>7 | uint64(n)>>6)
}

// occupied returns exactly the slots that hold an entry.
func (b *bucket) occupied() slotSet {
	const low = ^uint64(highs)
	x, y := b.tags0, uint64(b.tags1)
	m := (x&low + low | x) & highs
	n := (y&low + low | y) & highs & (1<<32 - 1)
	return slotSet(m>>7 | n>>6)
}

const allSlots = slotSet(ones | ones<<1&(1<<33-1))

func (b *bucket) free() slotSet { return allSlots &^ b.occupied() }

func (b *bucket) set(i int, tag uint64, r Ref) {
	b.setTag(i, tag)
	b.refs[i] = r
}

func (b *bucket) setTag(i int, tag uint64) {
	if i < 8 {
		b.tags0 = b.tags0&^(0xff<<(8*i)) | tag<<(8*i)
	} else {
		b.tags1 = b.tags1&^(0xff<<(8*(i-8))) | uint32(tag)<<(8*(i-8))
	}
}

// ref is &b.refs[i] without the check that a slot of a slotSet does not need.
func (b *bucket) ref(i int) *Ref {
	return (*Ref)(unsafe.Add(unsafe.Pointer(&b.refs), i*4))
}

func (b *bucket) tag(i int) uint64 {
	if i < 8 {
		return b.tags0 >> (8 * i) & 0xff
	}
	return uint64(b.tags1 >> (8 * (i - 8)) & 0xff)
}

func (t *table) bucket(i uint64) *bucket {
	return (*bucket)(unsafe.Add(t.buckets, (i&t.mask)*bucketSize))
}

// next returns the child of a bucket, nil at the end of the chain.
func (d *Dict) next(b *bucket) *bucket {
	if b.child == 0 {
		return nil
	}
	return (*bucket)(d.ptr(b.child))
}

func (d *Dict) ptr(r Ref) unsafe.Pointer { return unsafe.Add(d.base, uintptr(r)*8) }

// insert puts an entry into a chain, which must not hold it yet; false when that
// needs a child bucket and there is no memory.
func (d *Dict) insert(b *bucket, tag uint64, r Ref) bool {
	for {
		if free := b.free(); free != 0 {
			b.set(free.first(), tag, r)
			return true
		}
		if b.child == 0 {
			child, ok := d.arena.Alloc(bucketSize)
			if !ok {
				return false
			}
			*(*bucket)(d.ptr(child)) = bucket{}
			d.children++
			b.child = child
		}
		b = d.next(b)
	}
}

// compact moves entries from the end of a chain into free slots before it and
// frees children that became empty. Entries change places, so it must wait while
// an iterator or a scan is under way.
func (d *Dict) compact(head *bucket) {
	for head.child != 0 {
		parent, last := head, d.next(head)
		for last.child != 0 {
			parent, last = last, d.next(last)
		}
		for b := head; b != last; b = d.next(b) {
			for free := b.free(); free != 0; free = free.rest() {
				from := last.occupied()
				if from == 0 {
					break
				}
				i := from.first()
				b.set(free.first(), last.tag(i), last.refs[i])
				last.set(i, 0, 0)
			}
		}
		if last.occupied() != 0 {
			return
		}
		d.arena.Free(parent.child)
		parent.child = 0
		d.children--
	}
}

func (d *Dict) freeChildren(head *bucket) {
	for c := head.child; c != 0; {
		next := (*bucket)(d.ptr(c)).child
		d.arena.Free(c)
		d.children--
		c = next
	}
	head.child = 0
}
