// Package btree is the ordered half of Redis's large sorted sets (Redis's zskiplist):
// entries in order of score, and of member where scores are equal, in a B+ tree that
// counts, so that ranks cost O(log n) too. A node is a few cache lines of scores side
// by side, where a skip list would load a node for each score that it looks at.
//
// The other half is a dict, which the tree belongs to: an entry of the tree names the
// dict's entry whose key is its member. Nodes are slots of a slab arena and hold no
// Go pointer.
//
// The package knows nothing of commands or of the encodings of a sorted set. It must
// never hold a member of its own, never keep a slice it was given, and never change
// anything when memory runs out. It is not safe for concurrent use.
package btree

import (
	"unsafe"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/slab"
)

// Tests make nodes smaller, to have high trees soon.
var (
	leafRoom  = 82 // entries of a leaf, which fill a slot of 1000 bytes
	innerRoom = 49 // children of an inner node, which fill the same
)

const (
	firstRoom = 4 // entries of a tree's first leaf, which doubles until it is a whole one

	// maxHeight is more than inner nodes of which one in two is a quarter full can have.
	maxHeight = 16

	slotUnit = 8 // bytes that one step of a slab.Ref stands for
)

// Tree is an ordered set of a dict's entries. Use New.
type Tree struct {
	arena  *slab.Arena
	base   unsafe.Pointer // of the arena
	dict   *dict.Dict
	root   slab.Ref // 0 when the tree is empty
	first  slab.Ref // leaf
	last   slab.Ref // leaf
	height int      // levels above the leaves
	length int
	bytes  int64 // of all slots
}

// node is the head of a slot. Behind it are room scores, then as many dict.Refs: in a
// leaf those of the entries, in an inner node the first below each child. An inner
// node has children and their counts of entries behind that.
type node struct {
	n    uint16 // used of room
	room uint16
	prev slab.Ref // the leaf before, 0 for the first; an inner node has neither
	next slab.Ref
	_    uint32 // the scores are aligned to 8 bytes
}

const (
	nodeSize   = int(unsafe.Sizeof(node{}))
	leafEntry  = 8 + 4
	innerEntry = leafEntry + 4 + 4
)

func (t *Tree) node(r slab.Ref) *node { return (*node)(unsafe.Add(t.base, uintptr(r)*slotUnit)) }

func (x *node) scores() []float64 {
	return unsafe.Slice((*float64)(unsafe.Add(unsafe.Pointer(x), nodeSize)), x.room)
}

// words returns the i-th array behind the scores.
func words[T ~uint32](x *node, i int) []T {
	return unsafe.Slice((*T)(unsafe.Add(unsafe.Pointer(x), nodeSize+(8+4*i)*int(x.room))), x.room)
}

func (x *node) refs() []dict.Ref     { return words[dict.Ref](x, 0) }
func (x *node) children() []slab.Ref { return words[slab.Ref](x, 1) }
func (x *node) counts() []uint32     { return words[uint32](x, 2) }

// New returns an empty tree of members of d, which lives in arena.
func New(arena *slab.Arena, d *dict.Dict) *Tree {
	return &Tree{arena: arena, base: arena.Base(), dict: d}
}

// Free gives the tree's memory back, and leaves the dict alone. The tree is empty.
func (t *Tree) Free() {
	if t.root != 0 {
		t.freeBelow(t.root, t.height)
	}
	*t = Tree{arena: t.arena, base: t.base, dict: t.dict}
}

func (t *Tree) freeBelow(r slab.Ref, level int) {
	if level > 0 {
		x := t.node(r)
		for _, child := range x.children()[:x.n] {
			t.freeBelow(child, level-1)
		}
	}
	t.free(r)
}

func (t *Tree) free(r slab.Ref) {
	t.bytes -= int64(t.arena.SlotSize(r))
	t.arena.Free(r)
}

// alloc returns an empty node whose entries have size bytes.
func (t *Tree) alloc(room, size int) (slab.Ref, bool) {
	r, ok := t.arena.Alloc(nodeSize + room*size)
	if ok {
		t.bytes += int64(t.arena.SlotSize(r))
		*t.node(r) = node{room: uint16(room)}
	}
	return r, ok
}

// Len returns the number of entries.
func (t *Tree) Len() int { return t.length }

// Used returns the bytes that the tree occupies in the arena.
func (t *Tree) Used() int64 { return t.bytes }

// Pos is the place of an entry, a leaf and an index, until the tree is changed. 0 is
// none.
type Pos uint64

func position(leaf slab.Ref, i int) Pos { return Pos(leaf)<<16 | Pos(i) }

func (p Pos) leaf() slab.Ref { return slab.Ref(p >> 16) }
func (p Pos) index() int     { return int(p & 0xffff) }

// First returns the entry with the lowest score, 0 when the tree is empty.
func (t *Tree) First() Pos { return position(t.first, 0) }

// Last returns the entry with the highest score, 0 when the tree is empty.
func (t *Tree) Last() Pos {
	if t.last == 0 {
		return 0
	}
	return position(t.last, int(t.node(t.last).n)-1)
}

// Next returns the entry behind p, 0 when p is the last.
func (t *Tree) Next(p Pos) Pos {
	x := t.node(p.leaf())
	if p.index()+1 < int(x.n) {
		return p + 1
	}
	return position(x.next, 0)
}

// Prev returns the entry before p, 0 when p is the first.
func (t *Tree) Prev(p Pos) Pos {
	if p.index() > 0 {
		return p - 1
	}
	prev := t.node(p.leaf()).prev
	if prev == 0 {
		return 0
	}
	return position(prev, int(t.node(prev).n)-1)
}

// Collect fills all of places with p and those that follow, or with reverse precede,
// it, and begins to load their members, so that the cache misses overlap. There must
// be as many. It returns the place that comes next, 0 at the end.
func (t *Tree) Collect(p Pos, reverse bool, places []Pos) Pos {
	for i := range places {
		places[i] = p
		t.dict.PrefetchRef(t.Ref(p))
		if reverse {
			p = t.Prev(p)
		} else {
			p = t.Next(p)
		}
	}
	return p
}

// Score returns an entry's score.
func (t *Tree) Score(p Pos) float64 { return t.node(p.leaf()).scores()[p.index()] }

// Ref returns the dict's entry of an entry.
func (t *Tree) Ref(p Pos) dict.Ref { return t.node(p.leaf()).refs()[p.index()] }

// Member returns an entry's member, a view as dict.Key gives it.
func (t *Tree) Member(p Pos) []byte { return t.dict.Key(t.Ref(p)) }

// path is the way to a place: at level 0 the leaf and an index, above it the inner
// nodes and their children on the way.
type path struct {
	node [maxHeight + 1]slab.Ref
	at   [maxHeight + 1]int
}

// scoresBelow returns how many scores come first that are lower.
func scoresBelow(scores []float64, score float64) int {
	low, n := 0, len(scores)
	for n > 0 {
		half := n / 2
		if scores[low+half] < score {
			low += half + 1
			n -= half + 1
		} else {
			n = half
		}
	}
	return low
}

// before returns how many of x's entries come before the one of score and ref, and
// whether that is the next.
func (t *Tree) before(x *node, score float64, ref dict.Ref) (i int, found bool) {
	n := int(x.n)
	scores := x.scores()[:n]
	i = scoresBelow(scores, score)
	if i == n || scores[i] != score {
		return i, false
	}
	refs := x.refs()[:n]
	if refs[i] == ref {
		return i, true
	}
	member := t.dict.Key(ref)
	high := i + 1
	if high < n && scores[high] == score {
		for high = n; scores[high-1] != score; high-- {
		}
	}
	for i < high {
		half := int(uint(i+high) / 2)
		if refs[half] == ref {
			return half, true
		}
		if string(t.dict.Key(refs[half])) < string(member) {
			i = half + 1
		} else {
			high = half
		}
	}
	return i, false
}

// search fills p with the way to the place of score and ref, which may be in the tree.
func (t *Tree) search(score float64, ref dict.Ref, p *path) {
	r := t.root
	for level := t.height; level > 0; level-- {
		x := t.node(r)
		i, found := t.before(x, score, ref)
		if !found && i > 0 {
			i--
		}
		p.node[level], p.at[level] = r, i
		r = x.children()[i]
	}
	p.node[0] = r
	p.at[0], _ = t.before(t.node(r), score, ref)
}

// insert puts v at i of a, of which n are used.
func insert[T any](a []T, n, i int, v T) {
	copy(a[i+1:n+1], a[i:n])
	a[i] = v
}

// firstChanged tells the nodes above the node of p at a level that its first entry is
// another.
func (t *Tree) firstChanged(p *path, level int) {
	x := t.node(p.node[level])
	score, ref := x.scores()[0], x.refs()[0]
	for level++; level <= t.height; level++ {
		above, i := t.node(p.node[level]), p.at[level]
		above.scores()[i], above.refs()[i] = score, ref
		if i > 0 {
			return
		}
	}
}

// Insert adds an entry of the dict that the tree does not have yet; false when there
// is no memory.
func (t *Tree) Insert(score float64, ref dict.Ref) bool {
	if t.root == 0 {
		r, ok := t.alloc(firstRoom, leafEntry)
		if !ok {
			return false
		}
		t.root, t.first, t.last = r, r, r
	}
	var p path
	t.search(score, ref, &p)
	return t.insertAt(&p, score, ref)
}

func (t *Tree) full(r slab.Ref) bool {
	x := t.node(r)
	return x.n == x.room
}

// insertAt is Insert when the place is known. The path is spent.
func (t *Tree) insertAt(p *path, score float64, ref dict.Ref) bool {
	if t.full(p.node[0]) {
		if t.height == 0 && int(t.node(t.root).room) < leafRoom {
			if !t.growRoot() {
				return false
			}
			p.node[0] = t.root
		} else {
			return t.insertSplitting(p, score, ref)
		}
	}
	x := t.node(p.node[0])
	n, i := int(x.n), p.at[0]
	insert(x.scores(), n, i, score)
	insert(x.refs(), n, i, ref)
	x.n++
	for level := 1; level <= t.height; level++ {
		t.node(p.node[level]).counts()[p.at[level]]++
	}
	if i == 0 {
		t.firstChanged(p, 0)
	}
	t.length++
	return true
}

// growRoot doubles the room of the only leaf.
func (t *Tree) growRoot() bool {
	x := t.node(t.root)
	r, ok := t.alloc(min(2*int(x.room), leafRoom), leafEntry)
	if !ok {
		return false
	}
	to := t.node(r)
	to.n = x.n
	copy(to.scores(), x.scores())
	copy(to.refs(), x.refs())
	t.free(t.root)
	t.root, t.first, t.last = r, r, r
	return true
}

// insertSplitting is insertAt when the leaf is full.
func (t *Tree) insertSplitting(p *path, score float64, ref dict.Ref) bool {
	// All the memory first: a node for each that is full, and for a new root.
	var spare [maxHeight + 1]slab.Ref
	levels := 1
	for levels <= t.height && t.full(p.node[levels]) {
		levels++
	}
	for i := range levels + 1 {
		ok := true
		switch {
		case i == 0:
			spare[i], ok = t.alloc(leafRoom, leafEntry)
		case i < levels || levels > t.height:
			spare[i], ok = t.alloc(innerRoom, innerEntry)
		}
		if !ok {
			for _, r := range spare[:i] {
				t.free(r)
			}
			return false
		}
	}
	if levels > t.height {
		r := spare[levels]
		x, below := t.node(r), t.node(t.root)
		x.n = 1
		x.scores()[0], x.refs()[0] = below.scores()[0], below.refs()[0]
		x.children()[0], x.counts()[0] = t.root, uint32(t.length)
		t.height++
		t.root = r
		p.node[t.height], p.at[t.height] = r, 0
	}
	leaf := p.node[0]
	right := spare[0]
	x, y := t.node(leaf), t.node(right)
	// A half each, but where entries come in order, or as in an RDB file in the reverse,
	// leaves are left full.
	keep, ascending := leafRoom/2, p.at[0] == leafRoom && x.next == 0
	switch {
	case ascending:
		keep = leafRoom
	case p.at[0] == 0 && x.prev == 0:
		keep = 0
	}
	split(x, y, keep, 0)
	y.prev, y.next = leaf, x.next
	x.next = right
	if y.next != 0 {
		t.node(y.next).prev = right
	} else {
		t.last = right
	}
	to, i := x, p.at[0]
	if i > keep || ascending {
		to, i = y, i-keep
	}
	insert(to.scores(), int(to.n), i, score)
	insert(to.refs(), int(to.n), i, ref)
	to.n++
	if p.at[0] == 0 {
		t.firstChanged(p, 0)
	}
	t.length++

	// Each level above counts one more, and takes in the node that came to be below it.
	for level := 1; level <= t.height; level++ {
		x, i := t.node(p.node[level]), p.at[level]
		x.counts()[i]++
		if right == 0 {
			continue
		}
		child, count := right, t.entries(right, level-1)
		x.counts()[i] -= count
		i++
		right = 0
		if level < levels {
			right = spare[level]
			y := t.node(right)
			keep := innerRoom / 2
			if ascending {
				keep = innerRoom
			}
			split(x, y, keep, level)
			if i > keep || ascending {
				x, i = y, i-keep
			}
		}
		from, n := t.node(child), int(x.n)
		insert(x.scores(), n, i, from.scores()[0])
		insert(x.refs(), n, i, from.refs()[0])
		insert(x.children(), n, i, child)
		insert(x.counts(), n, i, count)
		x.n++
	}
	return true
}

// entries returns how many entries are below a node.
func (t *Tree) entries(r slab.Ref, level int) (n uint32) {
	x := t.node(r)
	if level == 0 {
		return uint32(x.n)
	}
	for _, count := range x.counts()[:x.n] {
		n += count
	}
	return n
}

// split moves what x has from keep on to y, which is empty.
func split(x, y *node, keep, level int) {
	move(x, y, keep, level)
	x.n = uint16(keep)
}

// move appends what x has from i on to y.
func move(x, y *node, i, level int) {
	to, n := int(y.n), int(x.n)
	copy(y.scores()[to:], x.scores()[i:n])
	copy(y.refs()[to:], x.refs()[i:n])
	if level > 0 {
		copy(y.children()[to:], x.children()[i:n])
		copy(y.counts()[to:], x.counts()[i:n])
	}
	y.n += uint16(n - i)
}

// remove closes the gap of n entries at i.
func remove(x *node, i, n, level int) {
	end := int(x.n)
	copy(x.scores()[i:], x.scores()[i+n:end])
	copy(x.refs()[i:], x.refs()[i+n:end])
	if level > 0 {
		copy(x.children()[i:], x.children()[i+n:end])
		copy(x.counts()[i:], x.counts()[i+n:end])
	}
	x.n -= uint16(n)
}

// deleteAt deletes n entries of a leaf. The path is spent.
func (t *Tree) deleteAt(p *path, n int) {
	x := t.node(p.node[0])
	remove(x, p.at[0], n, 0)
	t.length -= n
	for level := 1; level <= t.height; level++ {
		t.node(p.node[level]).counts()[p.at[level]] -= uint32(n)
	}
	if p.at[0] == 0 && x.n > 0 {
		t.firstChanged(p, 0)
	}
	for level := 0; level < t.height && t.shrink(p, level); level++ {
	}
	for t.height > 0 && t.node(t.root).n == 1 {
		child := t.node(t.root).children()[0]
		t.free(t.root)
		t.root = child
		t.height--
	}
	if t.length == 0 {
		t.Free()
	}
}

// shrink merges a node that is not the root with one beside it, when it is less than
// a quarter full and they fill three quarters at most, and frees it when it is empty.
// It reports whether the node above has a child less.
func (t *Tree) shrink(p *path, level int) bool {
	r := p.node[level]
	x := t.node(r)
	above, i := t.node(p.node[level+1]), p.at[level+1]
	if x.n >= x.room/4 {
		return false
	}
	if x.n == 0 {
		t.takeOut(p, level+1, i)
		return true
	}
	fits := func(i int) bool {
		return i >= 0 && i < int(above.n) && t.node(above.children()[i]).n+x.n <= x.room/4*3
	}
	switch {
	case fits(i + 1):
	case fits(i - 1):
		i--
	default:
		return false
	}
	left, right := t.node(above.children()[i]), t.node(above.children()[i+1])
	move(right, left, 0, level)
	above.counts()[i] += above.counts()[i+1]
	t.takeOut(p, level+1, i+1)
	return true
}

// takeOut frees the i-th child of the node of p at a level, which holds nothing
// anymore.
func (t *Tree) takeOut(p *path, level, i int) {
	x := t.node(p.node[level])
	r := x.children()[i]
	if level == 1 {
		leaf := t.node(r)
		if leaf.prev != 0 {
			t.node(leaf.prev).next = leaf.next
		} else {
			t.first = leaf.next
		}
		if leaf.next != 0 {
			t.node(leaf.next).prev = leaf.prev
		} else {
			t.last = leaf.prev
		}
	}
	t.free(r)
	remove(x, i, 1, level)
	if i == 0 && x.n > 0 {
		t.firstChanged(p, level)
	}
}

// Delete deletes the entry that the dict's has with this score, and leaves that alone.
func (t *Tree) Delete(score float64, ref dict.Ref) {
	var p path
	t.search(score, ref, &p)
	t.deleteAt(&p, 1)
}

// Update changes the score of an entry from old; false when there is no memory.
func (t *Tree) Update(old float64, ref dict.Ref, score float64) bool {
	var from path
	t.search(old, ref, &from)
	x, i := t.node(from.node[0]), from.at[0]
	here := position(from.node[0], i)
	prev, next := t.Prev(here), t.Next(here)
	if (prev == 0 || t.Score(prev) < score) && (next == 0 || t.Score(next) > score) {
		x.scores()[i] = score
		if i == 0 {
			t.firstChanged(&from, 0)
		}
		return true
	}
	var to path
	t.search(score, ref, &to)
	splits := t.full(to.node[0])
	if !t.insertAt(&to, score, ref) {
		return false
	}
	switch {
	case splits:
		t.search(old, ref, &from)
	case to.node[0] == from.node[0] && to.at[0] <= i:
		from.at[0]++
	}
	t.deleteAt(&from, 1)
	return true
}

// Rank returns how many entries come before the one that the dict's has with this
// score.
func (t *Tree) Rank(score float64, ref dict.Ref) int {
	var p path
	t.search(score, ref, &p)
	rank := p.at[0]
	for level := 1; level <= t.height; level++ {
		for _, count := range t.node(p.node[level]).counts()[:p.at[level]] {
			rank += int(count)
		}
	}
	return rank
}

// find fills p with the way to the entry that so many others come before.
func (t *Tree) find(rank int, p *path) {
	r, left := t.root, uint32(rank)
	for level := t.height; level > 0; level-- {
		x := t.node(r)
		i := 0
		for counts := x.counts(); counts[i] <= left; i++ {
			left -= counts[i]
		}
		p.node[level], p.at[level] = r, i
		r = x.children()[i]
	}
	p.node[0], p.at[0] = r, int(left)
}

// At returns the entry that so many others come before, 0 when there is none.
func (t *Tree) At(rank int) Pos {
	if rank < 0 || rank >= t.length {
		return 0
	}
	var p path
	t.find(rank, &p)
	return position(p.node[0], p.at[0])
}

// DeleteRange deletes n entries, that many others come before the first of, and those
// of the dict.
func (t *Tree) DeleteRange(rank, n int) {
	for n > 0 {
		var p path
		t.find(rank, &p)
		x, i := t.node(p.node[0]), p.at[0]
		some := min(n, int(x.n)-i)
		for _, ref := range x.refs()[i : i+some] {
			t.dict.DeleteRef(ref)
		}
		t.deleteAt(&p, some)
		n -= some
	}
}
