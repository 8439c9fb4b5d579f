// Package quicklist is Redis's quicklist (quicklist.c): a list of strings as a
// doubly linked list of listpacks, of which the inner ones may be compressed. How
// elements are divided between nodes is visible in DUMP and RDB files, so nodes are
// filled, split and merged exactly as Redis 7.0 does.
//
// Everything lives in a slab arena, without a Go pointer: a list is a header of
// HeaderSize bytes, which its owner keeps wherever it likes, and a node is one slot
// that holds its links and its listpack. A listpack too long for a slot is a large
// value of the arena.
//
// The package must never leave a list in between: an operation that is refused
// memory returns false and has changed nothing that can be read, except that of
// several elements some may be deleted. Merging and compressing are given up
// quietly instead, since a list is right without.
// It is not safe for concurrent use.
package quicklist

import (
	"encoding/binary"
	"math"
	"strconv"
	"unsafe"

	"github.com/redscope/redscope/engine/internal/listpack"
	"github.com/redscope/redscope/engine/internal/slab"
)

const (
	// HeaderSize is the bytes of a list's header.
	HeaderSize = 24

	// sizeSafetyLimit is SIZE_SAFETY_LIMIT: the most bytes of a node whose size is
	// limited by the number of its elements.
	sizeSafetyLimit = 8192
	// estimatedOverhead is SIZE_ESTIMATE_OVERHEAD: what Redis takes an element to
	// need besides its bytes when it decides whether a node is full.
	estimatedOverhead = 8
	// mergeSaves is by how much Redis takes two nodes to become smaller when they are
	// merged; it really is emptyListpack.
	mergeSaves = 11
	// maxOverhead is what a listpack really needs at most for an element, besides
	// its bytes.
	maxOverhead = 10

	// DefaultPackedThreshold is packed_threshold: elements from this size on, in
	// bytes, are kept plain, each in a node of its own.
	DefaultPackedThreshold = 1 << 30
)

// levels are the sizes in bytes that the fills -1 to -5 stand for.
var levels = [...]int{4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10}

// Space is what the lists of an arena have in common.
type Space struct {
	arena *slab.Arena

	// PackedThreshold is the size in bytes from which on elements are kept plain.
	PackedThreshold int

	raw []byte // a compressed node that is read; see view
	end []byte // what End returned, or Rotate moves, where it is no view
	out []byte // what is put together before it gets a slot
}

// keptScratch bounds the scratch memory that a Space keeps between operations.
const keptScratch = 128 << 10

// NewSpace returns the Space for lists in arena.
func NewSpace(arena *slab.Arena) *Space {
	return &Space{arena: arena, PackedThreshold: DefaultPackedThreshold}
}

// List is a view of a list, valid as long as its header stays where it is.
type List struct {
	s *Space
	h *[HeaderSize]byte
}

// At returns the list whose header is in the first HeaderSize bytes of value.
func (s *Space) At(value []byte) List { return List{s, (*[HeaderSize]byte)(value)} }

// New makes value the header of an empty list. fill and depth are
// list-max-listpack-size and list-compress-depth, which stay those of the list.
func (s *Space) New(value []byte, fill, depth int) List {
	l := s.At(value)
	*l.h = [HeaderSize]byte{}
	binary.LittleEndian.PutUint16(l.h[12:], uint16(max(-len(levels), min(fill, math.MaxInt16))))
	binary.LittleEndian.PutUint16(l.h[14:], uint16(max(0, min(depth, math.MaxUint16))))
	return l
}

// The header is a head, a tail and a number of nodes, fill, depth and a number of
// elements. It may begin at any address.

func (l List) head() slab.Ref { return slab.Ref(binary.LittleEndian.Uint32(l.h[0:])) }
func (l List) tail() slab.Ref { return slab.Ref(binary.LittleEndian.Uint32(l.h[4:])) }

func (l List) setHead(r slab.Ref) { binary.LittleEndian.PutUint32(l.h[0:], uint32(r)) }
func (l List) setTail(r slab.Ref) { binary.LittleEndian.PutUint32(l.h[4:], uint32(r)) }

// Nodes returns the number of nodes.
func (l List) Nodes() int { return int(binary.LittleEndian.Uint32(l.h[8:])) }

func (l List) addNodes(n int) { binary.LittleEndian.PutUint32(l.h[8:], uint32(l.Nodes()+n)) }

// Fill is the list's list-max-listpack-size.
func (l List) Fill() int { return int(int16(binary.LittleEndian.Uint16(l.h[12:]))) }

// Depth returns how many nodes at each end stay uncompressed, 0 when all do.
func (l List) Depth() int { return int(binary.LittleEndian.Uint16(l.h[14:])) }

// Len returns the number of elements.
func (l List) Len() int64 { return int64(binary.LittleEndian.Uint64(l.h[16:])) }

func (l List) addLen(n int) { binary.LittleEndian.PutUint64(l.h[16:], uint64(l.Len()+int64(n))) }

// end returns the first or the last node.
func (l List) end(head bool) slab.Ref {
	if head {
		return l.head()
	}
	return l.tail()
}

// isLarge reports whether an element of n bytes is kept plain.
func (s *Space) isLarge(n int) bool { return n >= s.PackedThreshold }

// sizeAllowed reports whether a node may have n bytes by a fill that limits bytes.
func sizeAllowed(n, fill int) bool { return fill < 0 && n <= levels[-fill-1] }

// allowsInsert is _quicklistNodeAllowInsert: whether an element of n bytes goes into
// the node r, which may be none.
func (l List) allowsInsert(r slab.Ref, n int) bool {
	if r == 0 {
		return false
	}
	x := l.node(r)
	if x.meta&flagPlain != 0 || l.s.isLarge(n) {
		return false
	}
	size, fill := int(x.size)+n+estimatedOverhead, l.Fill()
	return sizeAllowed(size, fill) || size <= sizeSafetyLimit && x.count() < fill
}

// allowsMerge is _quicklistNodeAllowMerge.
func (l List) allowsMerge(r, other slab.Ref) bool {
	if r == 0 || other == 0 {
		return false
	}
	a, b := l.node(r), l.node(other)
	if (a.meta|b.meta)&flagPlain != 0 {
		return false
	}
	size, fill := int(a.size)+int(b.size)-mergeSaves, l.Fill()
	return sizeAllowed(size, fill) || size <= sizeSafetyLimit && a.count()+b.count() <= fill
}

// Push adds v at the head, or else at the tail.
func (l List) Push(v []byte, head bool) bool {
	end := l.end(head)
	if l.allowsInsert(end, len(v)) {
		return l.add(end, v, head)
	}
	r, ok := l.newNode(v)
	if !ok {
		return false
	}
	if end != 0 {
		end = l.trim(end) // it is full
	}
	l.link(r, end, !head)
	l.settle(end, r)
	return true
}

// add puts v at the head or the tail of the listpack of r, and counts it.
func (l List) add(r slab.Ref, v []byte, head bool) bool {
	compressed := l.node(r).meta&flagCompressed != 0
	if compressed {
		var ok bool
		if r, _, ok = l.open(r); !ok {
			return false
		}
	}
	to, ok := r, false
	if head {
		to, ok = l.prepend(r, v)
	} else {
		to, ok = l.append(r, v)
	}
	if ok && compressed {
		l.compress(to)
	}
	return ok
}

// append is add at the tail of a node that is not compressed.
func (l List) append(r slab.Ref, v []byte) (slab.Ref, bool) {
	lp := l.stored(r)
	if len(lp)+len(v)+maxOverhead > cap(lp) {
		var ok bool
		if r, ok = l.room(r, len(lp)+listpack.EntrySize(v)); !ok {
			return r, false
		}
		lp = l.stored(r)
	}
	l.put(r, listpack.Append(lp, v), 1)
	return r, true
}

// prepend is add at the head of a node that is not compressed.
func (l List) prepend(r slab.Ref, v []byte) (slab.Ref, bool) {
	for {
		x := l.node(r)
		end := x.gap + x.size
		if gap, ok := listpack.PrependBefore(unsafe.Slice(l.place(r), end), int(x.gap), v); ok {
			x.gap, x.size = uint32(gap), end-uint32(gap)
			x.meta++
			l.addLen(1)
			return r, true
		}
		var ok bool
		if r, ok = l.room(r, int(x.size)+listpack.EntrySize(v)); !ok {
			return r, false
		}
		l.setGap(r, l.capacity(r)-int(l.node(r).size)) // all the room that there is
	}
}

// End returns the first or the last element of a list that has one, as a view that
// is valid until this list changes or End is called again: a string, or an integer.
func (l List) End(head bool) (v []byte, n int64, isInt bool) {
	r := l.end(head)
	data := l.stored(r)
	if l.node(r).meta&flagCompressed != 0 {
		// Memory was out when it should have been opened.
		data = append(l.s.end[:0], l.view(r)...)
		l.s.end = data
	}
	if l.node(r).meta&flagPlain != 0 {
		return data, 0, false
	}
	p := 0
	if head {
		p = listpack.First(data)
	} else {
		p = listpack.Last(data)
	}
	return listpack.Get(data, p)
}

// EndBytes is End for who wants the element as a string.
func (l List) EndBytes(head bool) []byte {
	v, n, isInt := l.End(head)
	if isInt {
		l.s.end = strconv.AppendInt(l.s.end[:0], n, 10)
		return l.s.end
	}
	return v
}

// Drop deletes the first or the last element of a list that has one.
func (l List) Drop(head bool) bool {
	r := l.end(head)
	if l.node(r).count() == 1 {
		l.unlink(r)
		l.settle()
		return true
	}
	r, compressed, ok := l.open(r)
	if !ok {
		return false
	}
	lp := l.stored(r)
	if head {
		n := listpack.DeleteHead(lp)
		l.node(r).gap += uint32(n)
		l.put(r, lp[n:], -1)
	} else {
		l.put(r, listpack.DeleteTail(lp), -1)
	}
	r = l.shrink(r)
	if compressed {
		l.compress(r)
	}
	return true
}

// Rotate moves the first, or else the last, element of a list that has one to the
// head, or else to the tail, of the same list.
func (l List) Rotate(fromHead, toHead bool) bool {
	v := append(l.s.end[:0], l.EndBytes(fromHead)...)
	if cap(v) <= keptScratch {
		l.s.end = v
	}
	// Once it is dropped there is no way back.
	if room := 2*(len(v)+int(l.node(l.end(toHead)).size)) + slab.MaxSlot; !l.s.arena.HasRoom(int64(room)) {
		return false
	}
	return l.Drop(fromHead) && l.Push(v, toHead)
}

// Insert puts v before or after the element at at, which is void afterwards.
func (l List) Insert(at *Iter, v []byte, after bool) bool {
	r, ok := l.insert(at, v, after)
	l.settleAround(r)
	return ok
}

// insert is _quicklistInsert without the compression. It returns where the node of
// at is now.
func (l List) insert(at *Iter, v []byte, after bool) (slab.Ref, bool) {
	r := at.node
	x := l.node(r)
	beside, atEnd := x.prev, at.index == 0
	if after {
		beside, atEnd = x.next, at.index == x.count()-1
	}
	large := l.s.isLarge(len(v))
	switch {
	case !large && l.allowsInsert(r, len(v)):
		r, _, ok := l.open(r)
		if !ok {
			return r, false
		}
		if r, ok = l.room(r, len(l.stored(r))+listpack.EntrySize(v)); !ok {
			return r, false
		}
		lp, _ := listpack.Insert(l.stored(r), at.pos, v, after)
		l.put(r, lp, 1)
		return r, true
	case !large && atEnd && l.allowsInsert(beside, len(v)):
		return r, l.add(beside, v, after)
	case atEnd:
		added, ok := l.newNode(v)
		if ok {
			l.link(added, r, after)
		}
		return r, ok
	}
	return l.split(r, at, v, after)
}

// split puts v between the elements of r: a large one into a node of its own,
// another into the smaller part, which is then merged with what it fits.
func (l List) split(r slab.Ref, at *Iter, v []byte, after bool) (slab.Ref, bool) {
	r, _, ok := l.open(r)
	if !ok {
		return r, false
	}
	large := l.s.isLarge(len(v))
	k := at.index // elements of the first part
	if after {
		k++
	}
	lp := l.stored(r)
	all := l.node(r).count()
	// The part that is to be a node of its own.
	part := append(l.s.out[:0], lp...)
	if after {
		part = listpack.DeleteRange(part, 0, k)
	} else {
		part = listpack.DeleteRange(part, k, all-k)
	}
	count := all - k
	if !after {
		count = k
	}
	if !large {
		count++
		if after {
			part = listpack.Prepend(part, v)
		} else {
			part = listpack.Append(part, v)
		}
	}
	l.s.keep(part)
	added, ok := l.create(part, len(part), uint32(count))
	if !ok {
		return r, false
	}
	var plain slab.Ref
	if large {
		if plain, ok = l.newNode(v); !ok {
			l.release(added)
			return r, false
		}
	}
	if after {
		lp = listpack.DeleteRange(lp, k, all-k)
		l.put(r, lp, k-all)
	} else {
		lp = listpack.DeleteRange(lp, 0, k)
		l.put(r, lp, -k)
	}
	r = l.shrink(r)
	l.link(added, r, after)
	if large {
		l.link(plain, r, after)
		l.compressInner(added)
		return r, true
	}
	return l.mergeAround(r), true
}

// mergeAround is _quicklistMergeNodes: it merges the nodes around center, and center
// with them, where that is allowed. It returns the node that center has become.
func (l List) mergeAround(center slab.Ref) slab.Ref {
	if p := l.node(center).prev; p != 0 {
		l.merge(l.node(p).prev, p)
	}
	if n := l.node(center).next; n != 0 {
		l.merge(n, l.node(n).next)
	}
	if r, ok := l.merge(l.node(center).prev, center); ok {
		center = r
	}
	center, _ = l.merge(center, l.node(center).next)
	return center
}

// merge appends the elements of b, which follows it, to a, when that is allowed. It
// returns where a is then.
func (l List) merge(a, b slab.Ref) (slab.Ref, bool) {
	if !l.allowsMerge(a, b) {
		return a, false
	}
	a, _, ok := l.open(a)
	if !ok {
		return a, false
	}
	more := l.view(b)
	a, ok = l.room(a, len(l.stored(a))+len(more)-emptyListpack)
	if !ok {
		return a, false
	}
	// The elements stay in the list.
	n := l.node(b).count()
	l.put(a, listpack.Merge(l.stored(a), more), n)
	l.unlink(b)
	return a, true
}

// Replace puts v in place of the element at at, which is void afterwards.
func (l List) Replace(at *Iter, v []byte) bool {
	r := at.node
	large, plain := l.s.isLarge(len(v)), l.node(r).meta&flagPlain != 0
	if !large && !plain {
		r, _, ok := l.open(r)
		if !ok {
			return false
		}
		lp := l.stored(r)
		if r, ok = l.room(r, listpack.ReplacedSize(lp, at.pos, v)); !ok {
			l.settleAround(r)
			return false
		}
		lp, _ = listpack.Replace(l.stored(r), at.pos, v)
		l.put(r, lp, 0)
		l.settleAround(l.shrink(r))
		return true
	}
	r, _, ok := l.open(r)
	if !ok {
		return false
	}
	at.node = r
	// Redis adds the new element behind, and then deletes the old one.
	r, ok = l.insert(at, v, true)
	if !ok {
		l.settleAround(r)
		return false
	}
	if l.node(r).count() == 1 {
		next := l.node(r).next
		l.unlink(r)
		l.settleAround(next)
		return true
	}
	lp := l.stored(r)
	l.put(r, listpack.DeleteTail(lp), -1)
	l.settleAround(l.shrink(r))
	return true
}

// DeleteRange deletes n elements, or as many as there are, from index on. index is
// not negative.
func (l List) DeleteRange(index, n int64) bool {
	r, offset := l.seek(index)
	n = min(n, l.Len()-index)
	for r != 0 && n > 0 {
		x := l.node(r)
		next, count := x.next, x.count()
		k := int(min(n, int64(count-offset)))
		if k == count {
			l.unlink(r)
		} else {
			opened, _, ok := l.open(r)
			if !ok {
				l.settle(r)
				return false
			}
			r = opened
			l.put(r, listpack.DeleteRange(l.stored(r), offset, k), -k)
			r = l.shrink(r)
			// The neighbours stay where they are.
			l.compressInner(r)
		}
		n -= int64(k)
		r, offset = next, 0
	}
	l.settle()
	return true
}

// Remove deletes the first n elements that equal v, the last ones when n is
// negative, all when it is 0. It returns how many there were, and false when memory
// ran out before it was done.
func (l List) Remove(v []byte, n int64) (removed int64, ok bool) {
	backwards := n < 0
	left := n
	switch {
	case n == 0:
		left = math.MaxInt64
	case n == math.MinInt64:
		left = math.MaxInt64
	case backwards:
		left = -n
	}
	ok = true
	for r := l.end(!backwards); r != 0 && left > 0 && ok; {
		x := l.node(r)
		next := x.next
		if backwards {
			next = x.prev
		}
		var k int64
		k, ok = l.removeFrom(r, v, left, backwards)
		removed, left = removed+k, left-k
		r = next
	}
	l.settle()
	return removed, ok
}

// removeFrom is Remove in one node. No other node moves.
func (l List) removeFrom(r slab.Ref, v []byte, n int64, backwards bool) (removed int64, ok bool) {
	data := l.view(r)
	if l.node(r).meta&flagPlain != 0 {
		if string(data) != string(v) {
			return 0, true
		}
		l.unlink(r)
		return 1, true
	}
	p := match(data, v, listpack.First, listpack.Last, backwards)
	if p < 0 {
		return 0, true
	}
	r, _, ok = l.open(r)
	if !ok {
		return 0, false
	}
	lp := l.stored(r)
	for p >= 0 && removed < n {
		before := -1
		if backwards {
			before = listpack.Prev(lp, p)
		}
		lp, p = listpack.Delete(lp, p)
		removed++
		if backwards {
			p = before
		}
		p = matchFrom(lp, p, v, backwards)
	}
	l.put(r, lp, -int(removed))
	if l.node(r).count() == 0 {
		l.unlink(r)
	} else {
		l.compressInner(l.shrink(r))
	}
	return removed, true
}

// match returns the position of the first, or last, element of lp that equals v.
func match(lp, v []byte, first, last func([]byte) int, backwards bool) int {
	if backwards {
		return matchFrom(lp, last(lp), v, true)
	}
	return matchFrom(lp, first(lp), v, false)
}

func matchFrom(lp []byte, p int, v []byte, backwards bool) int {
	if !backwards {
		return listpack.Find(lp, p, v, 0)
	}
	for p >= 0 && !listpack.Compare(lp, p, v) {
		p = listpack.Prev(lp, p)
	}
	return p
}

// Free gives back the memory of all nodes; the list is empty then.
func (l List) Free() {
	for r := l.head(); r != 0; {
		next := l.node(r).next
		l.release(r)
		r = next
	}
	l.setHead(0)
	l.setTail(0)
	binary.LittleEndian.PutUint32(l.h[8:], 0)
	binary.LittleEndian.PutUint64(l.h[16:], 0)
}

// CopyTo makes the empty list to a copy of l, with its nodes and their compression.
func (l List) CopyTo(to List) bool {
	copy(to.h[12:16], l.h[12:16])
	for r := l.head(); r != 0; r = l.node(r).next {
		x := l.node(r)
		data := l.stored(r)
		copied, ok := to.create(data, len(data), x.meta&^flagOutside)
		if !ok {
			to.Free()
			return false
		}
		to.node(copied).size = x.size
		to.link(copied, to.tail(), true)
	}
	return true
}

// Memory returns the bytes that the nodes occupy.
func (l List) Memory() int64 {
	n := int64(0)
	for r := l.head(); r != 0; r = l.node(r).next {
		n += int64(l.s.arena.SlotSize(r))
		if l.node(r).meta&flagOutside != 0 {
			n += l.s.arena.LargeSize(*l.number(r))
		}
	}
	return n
}
