package quicklist

import (
	"math/bits"
	"unsafe"

	"github.com/redscope/redscope/engine/internal/listpack"
	"github.com/redscope/redscope/engine/internal/lzf"
	"github.com/redscope/redscope/engine/internal/slab"
)

// node is what a node's slot begins with. Behind it comes, after a gap, what the node
// holds: a listpack, or one plain element; if compressed, its length and the
// compressed bytes; if outside, the number of a large value that is all that.
//
// The gap lets a list grow and shrink at its head without moving the other elements
// of the node, which in Redis are moved each time. A compressed node has none.
type node struct {
	prev, next slab.Ref
	size       uint32 // bytes of the listpack or element, before compression
	meta       uint32 // number of elements, and flags
	gap        uint32 // bytes
}

const (
	nodeSize   = int(unsafe.Sizeof(node{}))
	numberSize = 4 // bytes of a compressed length, or of a large value's number

	flagPlain      = 1 << 31 // QUICKLIST_NODE_CONTAINER_PLAIN
	flagCompressed = 1 << 30 // QUICKLIST_NODE_ENCODING_LZF
	flagOutside    = 1 << 29
	countMask      = flagOutside - 1

	emptyListpack = 7 // bytes

	// minCompress and minGain are MIN_COMPRESS_BYTES and MIN_COMPRESS_IMPROVE.
	minCompress = 48
	minGain     = 8
)

func (x *node) count() int { return int(x.meta & countMask) }

func (l List) node(r slab.Ref) *node { return (*node)(l.s.arena.Ptr(r)) }

// number is where a slot holds the number of its large value, or the length of its
// compressed bytes.
func (l List) number(r slab.Ref) *uint32 {
	return (*uint32)(unsafe.Add(l.s.arena.Ptr(r), nodeSize))
}

// stored returns the bytes that a node holds, compressed if they are, with the room
// behind them as capacity.
func (l List) stored(r slab.Ref) []byte {
	x := l.node(r)
	switch x.meta & (flagCompressed | flagOutside) {
	case 0, flagOutside:
		gap := int(x.gap)
		return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(l.place(r)), gap)), l.capacity(r)-gap)[:x.size]
	case flagCompressed:
		return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(x), nodeSize+numberSize)), *l.number(r))
	}
	return l.s.arena.Large(*l.number(r))
}

// place is where the gap of a node that is not compressed begins.
func (l List) place(r slab.Ref) *byte {
	if x := l.node(r); x.meta&flagOutside == 0 {
		return (*byte)(unsafe.Add(unsafe.Pointer(x), nodeSize))
	}
	return unsafe.SliceData(l.s.arena.Large(*l.number(r)))
}

// capacity returns how many bytes a node that is not compressed can hold where it is.
func (l List) capacity(r slab.Ref) int {
	if l.node(r).meta&flagOutside == 0 {
		return l.s.arena.SlotSize(r) - nodeSize
	}
	return cap(l.s.arena.Large(*l.number(r)))
}

// setGap moves what a node that is not compressed holds so that the gap is as given.
func (l List) setGap(r slab.Ref, gap int) {
	copy(unsafe.Slice(l.place(r), l.capacity(r))[gap:], l.stored(r))
	l.node(r).gap = uint32(gap)
}

// view returns what a node holds, to be read until the next call.
func (l List) view(r slab.Ref) []byte {
	data := l.stored(r)
	x := l.node(r)
	if x.meta&flagCompressed == 0 {
		return data
	}
	raw, err := lzf.Decompress(l.s.raw[:0], data, int(x.size))
	if err != nil {
		panic("quicklist: a node does not decompress")
	}
	if cap(raw) <= keptScratch {
		l.s.raw = raw
	}
	return raw
}

// keep keeps scratch memory for the next operation.
func (s *Space) keep(out []byte) {
	if cap(out) <= keptScratch {
		s.out = out[:0]
	}
}

// create makes a node that holds data, which may be longer later: up to room bytes.
// It is not linked.
func (l List) create(data []byte, room int, meta uint32) (slab.Ref, bool) {
	a := l.s.arena
	head := nodeSize
	if meta&flagCompressed != 0 {
		head += numberSize
	}
	if head+room <= slab.MaxSlot {
		r, ok := a.Alloc(head + room)
		if !ok {
			return 0, false
		}
		*l.node(r) = node{size: uint32(len(data)), meta: meta}
		if meta&flagCompressed != 0 {
			*l.number(r) = uint32(len(data))
		}
		copy(unsafe.Slice((*byte)(unsafe.Add(a.Ptr(r), head)), len(data)), data)
		return r, true
	}
	r, ok := a.Alloc(nodeSize + numberSize)
	if !ok {
		return 0, false
	}
	var number uint32
	if room > len(data) {
		number, ok = a.AllocLargeGrowing(data, room)
	} else {
		number, ok = a.AllocLarge(data)
	}
	if !ok {
		a.Free(r)
		return 0, false
	}
	*l.node(r) = node{size: uint32(len(data)), meta: meta | flagOutside}
	*l.number(r) = number
	return r, true
}

// newNode makes a node of one element.
func (l List) newNode(v []byte) (slab.Ref, bool) {
	if l.s.isLarge(len(v)) {
		return l.create(v, len(v), 1|flagPlain)
	}
	lp := listpack.Append(listpack.AppendNew(l.s.out[:0]), v)
	l.s.keep(lp)
	return l.create(lp, len(lp), 1)
}

// release frees a node that is not linked, or no longer.
func (l List) release(r slab.Ref) {
	if l.node(r).meta&flagOutside != 0 {
		l.s.arena.FreeLarge(*l.number(r))
	}
	l.s.arena.Free(r)
}

// link puts the node r into the list, before or after beside, which is 0 when the
// list is empty, and counts its elements.
func (l List) link(r, beside slab.Ref, after bool) {
	x := l.node(r)
	x.prev, x.next = 0, 0
	switch {
	case beside == 0:
	case after:
		x.prev, x.next = beside, l.node(beside).next
	default:
		x.prev, x.next = l.node(beside).prev, beside
	}
	l.relink(r)
	l.addNodes(1)
	l.addLen(x.count())
}

// relink tells the neighbours of a node where it is.
func (l List) relink(r slab.Ref) {
	x := l.node(r)
	if x.prev != 0 {
		l.node(x.prev).next = r
	} else {
		l.setHead(r)
	}
	if x.next != 0 {
		l.node(x.next).prev = r
	} else {
		l.setTail(r)
	}
}

// unlink takes a node out of the list and frees it.
func (l List) unlink(r slab.Ref) {
	x := l.node(r)
	if x.prev != 0 {
		l.node(x.prev).next = x.next
	} else {
		l.setHead(x.next)
	}
	if x.next != 0 {
		l.node(x.next).prev = x.prev
	} else {
		l.setTail(x.prev)
	}
	l.addNodes(-1)
	l.addLen(-x.count())
	l.release(r)
}

// put makes lp, which is the changed l.stored(r) in the same place, what the node
// holds; n more elements are in it, or fewer.
func (l List) put(r slab.Ref, lp []byte, n int) {
	x := l.node(r)
	x.size = uint32(len(lp))
	x.meta += uint32(n)
	l.addLen(n)
}

// replaceNode puts a node that is not linked in the place of r, which is freed.
func (l List) replaceNode(r, by slab.Ref) {
	x := l.node(by)
	x.prev, x.next = l.node(r).prev, l.node(r).next
	l.relink(by)
	l.release(r)
}

// move gives a node that is not compressed a slot with room for n bytes.
func (l List) move(r slab.Ref, n int) (slab.Ref, bool) {
	to, ok := l.create(l.stored(r), n, l.node(r).meta&^flagOutside)
	if !ok {
		return r, false
	}
	l.replaceNode(r, to)
	return to, true
}

// room makes sure that a node that is not compressed can grow to n bytes. It returns
// where the node is then.
func (l List) room(r slab.Ref, n int) (slab.Ref, bool) {
	if n <= l.capacity(r) {
		if n > cap(l.stored(r)) {
			l.setGap(r, 0)
		}
		return r, true
	}
	// A quarter more, so that growing element by element costs O(n); but not beyond
	// what the fill allows, nor into a slot of the next power of two, because most
	// nodes are full just there.
	limit := sizeSafetyLimit
	if fill := l.Fill(); fill < 0 {
		limit = levels[-fill-1]
	}
	power := 1<<bits.Len(uint(n+nodeSize-1)) - nodeSize
	return l.move(r, max(n, min(n+n/4, limit, power)))
}

// shrink moves a node that wastes more than half of its memory.
func (l List) shrink(r slab.Ref) slab.Ref {
	if n, room := int(l.node(r).size), l.capacity(r); room > 64 && n < room/2 {
		r, _ = l.move(r, n+n/4)
	}
	return r
}

// trim moves a node that is full into the smallest slot that holds it.
func (l List) trim(r slab.Ref) slab.Ref {
	x := l.node(r)
	if x.meta&(flagCompressed|flagOutside) == 0 && slab.RoundUp(nodeSize+int(x.size)) < l.s.arena.SlotSize(r) {
		r, _ = l.move(r, int(x.size))
	}
	return r
}

// open makes a node uncompressed so that it can be changed. It returns where the
// node is then and whether it was compressed.
func (l List) open(r slab.Ref) (slab.Ref, bool, bool) {
	x := l.node(r)
	if x.meta&flagCompressed == 0 {
		return r, false, true
	}
	data := l.view(r)
	to, ok := l.create(data, len(data), x.meta&^(flagCompressed|flagOutside))
	if !ok {
		return r, true, false
	}
	l.replaceNode(r, to)
	return to, true, true
}

// compress compresses a node if that is worth it, and returns where it is then.
func (l List) compress(r slab.Ref) slab.Ref {
	x := l.node(r)
	if x.meta&flagCompressed != 0 || x.size < minCompress {
		return r
	}
	data := l.stored(r)
	z := lzf.Compress(l.s.out[:0], data)
	if z == nil {
		return r
	}
	l.s.keep(z)
	if len(z)+minGain >= len(data) {
		return r
	}
	to, ok := l.create(z, len(z), x.meta&^flagOutside|flagCompressed)
	if !ok {
		return r
	}
	l.node(to).size = uint32(len(data))
	l.replaceNode(r, to)
	return to
}

// compressInner compresses a node unless it is near an end.
func (l List) compressInner(r slab.Ref) {
	depth := l.Depth()
	if depth == 0 || l.Nodes() < 2*depth {
		return
	}
	for i, f, b := 0, l.head(), l.tail(); i < depth && f != 0; i++ {
		if f == r || b == r {
			return
		}
		f, b = l.node(f).next, l.node(b).prev
	}
	l.compress(r)
}

// settle is __quicklistCompress, after the nodes of the list have changed: nodes
// near the ends are opened, those behind them and these, 0 being none, compressed.
func (l List) settle(changed ...slab.Ref) {
	depth := l.Depth()
	if depth == 0 || l.Nodes() == 0 {
		return
	}
	if l.Nodes() < 2*depth { // all are near an end
		for r := l.head(); r != 0; r = l.node(r).next {
			r, _, _ = l.open(r)
		}
		return
	}
	for _, r := range changed {
		if r != 0 {
			l.compressInner(r)
		}
	}
	f, b := l.head(), l.tail()
	for range depth {
		if f == b {
			l.open(f)
			return
		}
		f, _, _ = l.open(f)
		b, _, _ = l.open(b)
		if l.node(f).next == b {
			return
		}
		f, b = l.node(f).next, l.node(b).prev
	}
	same := f == b
	l.compress(f)
	if !same {
		l.compress(b)
	}
}

// settleAround is settle for a node and its neighbours.
func (l List) settleAround(r slab.Ref) {
	if l.Depth() == 0 || r == 0 {
		return
	}
	x := l.node(r)
	l.settle(r, x.prev, x.next)
}
