// Package skiplist is the ordered half of Redis's sorted set (zskiplist): nodes in
// order of score, and of member where scores are equal, with at each level the
// distance to the next node, so that ranks cost O(log n) too.
//
// The other half is a dict, which the list belongs to: a node names the entry
// whose key is its member. Nodes are slots of a slab arena, of exactly the size
// that their level needs, and hold no Go pointer.
//
// The package knows nothing of commands or of the encodings of a sorted set. It
// must never hold a member of its own, never keep a slice it was given, and never
// change anything when memory runs out. It is not safe for concurrent use.
package skiplist

import (
	"math/bits"
	"math/rand/v2"
	"unsafe"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/slab"
)

// maxLevel is ZSKIPLIST_MAXLEVEL: enough for 2^64 nodes, when one node in four
// (ZSKIPLIST_P) goes a level higher.
const maxLevel = 32

// Node names a node until it is deleted. 0 is none.
type Node = slab.Ref

// List is a skip list. Use New.
type List struct {
	arena *slab.Arena
	base  unsafe.Pointer // of the arena
	dict  *dict.Dict

	head   *node // of maxLevel levels, before the first; its score and member mean nothing
	ref    Node  // of head
	tail   Node  // 0 when the list is empty
	length int
	level  int   // of the highest node, at least 1
	bytes  int64 // of all slots, head included
}

// node is a slot. Behind it are as many levels as the node has.
type node struct {
	score    float64
	member   dict.Ref
	backward Node // 0 for the first node
}

// level is a node's place in the list of those nodes that are at least so high.
type level struct {
	forward Node
	span    uint32 // nodes to forward, or to the end of the list when that is 0
}

const (
	nodeSize  = int(unsafe.Sizeof(node{}))
	levelSize = int(unsafe.Sizeof(level{}))

	slotUnit = 8 // bytes that one step of a slab.Ref stands for
)

func (n *node) level(i int) *level {
	return (*level)(unsafe.Add(unsafe.Pointer(n), nodeSize+i*levelSize))
}

func (l *List) node(r Node) *node { return (*node)(unsafe.Add(l.base, uintptr(r)*slotUnit)) }

// New returns an empty list of members of d, which lives in arena; false when
// there is no memory.
func New(arena *slab.Arena, d *dict.Dict) (*List, bool) {
	ref, ok := arena.Alloc(nodeSize + maxLevel*levelSize)
	if !ok {
		return nil, false
	}
	l := &List{arena: arena, base: arena.Base(), dict: d, ref: ref, level: 1}
	l.head = l.node(ref)
	*l.head = node{}
	for i := range maxLevel {
		*l.head.level(i) = level{}
	}
	l.bytes = int64(arena.SlotSize(ref))
	return l, true
}

// Free gives the list's memory back, and leaves the dict alone. The list is gone.
func (l *List) Free() {
	for r := l.head.level(0).forward; r != 0; {
		next := l.node(r).level(0).forward
		l.arena.Free(r)
		r = next
	}
	l.arena.Free(l.ref)
	*l = List{}
}

// Len returns the number of nodes.
func (l *List) Len() int { return l.length }

// Used returns the bytes that the list occupies in the arena.
func (l *List) Used() int64 { return l.bytes }

// First returns the node with the lowest score, 0 when the list is empty.
func (l *List) First() Node { return l.head.level(0).forward }

// Last returns the node with the highest score, 0 when the list is empty.
func (l *List) Last() Node { return l.tail }

// Next returns the node behind n, 0 when n is the last.
func (l *List) Next(n Node) Node { return l.node(n).level(0).forward }

// Prev returns the node before n, 0 when n is the first.
func (l *List) Prev(n Node) Node { return l.node(n).backward }

// Collect fills nodes with n and those that follow, or with reverse precede, it, and
// begins to load their members, so that the cache misses overlap. There must be as
// many. It returns the node that comes next, 0 at the end.
func (l *List) Collect(n Node, reverse bool, nodes []Node) Node {
	for i := range nodes {
		nodes[i] = n
		x := l.node(n)
		l.dict.PrefetchRef(x.member)
		if reverse {
			n = x.backward
		} else {
			n = x.level(0).forward
		}
	}
	return n
}

// Score returns a node's score.
func (l *List) Score(n Node) float64 { return l.node(n).score }

// Ref returns the dict's entry of a node.
func (l *List) Ref(n Node) dict.Ref { return l.node(n).member }

// Member returns a node's member, a view as dict.Key gives it.
func (l *List) Member(n Node) []byte { return l.dict.Key(l.node(n).member) }

// randomLevel returns a height: 1 for three nodes in four, 2 for three in four of
// the others, and so on.
func randomLevel() int { return min(1+bits.TrailingZeros64(rand.Uint64())/2, maxLevel) }

// path is where a search turned down, at each level.
type path struct {
	at   [maxLevel]*node
	rank [maxLevel]uint32 // of at, the head's being 0
}

// search fills p with the last nodes before score and member.
func (l *List) search(score float64, member []byte, p *path) {
	x, rank, seen := l.head, uint32(0), Node(0)
	for i := l.level - 1; i >= 0; i-- {
		for {
			lv := x.level(i)
			// What was too far a level higher, be it the end, is not looked at again.
			if lv.forward == seen {
				break
			}
			// Where the search goes if this node is too far: both are likely not in the
			// cache, and so come together.
			if i > 0 {
				if below := x.level(i - 1).forward; below != lv.forward && below != seen {
					l.dict.PrefetchRef(below)
				}
			}
			next := l.node(lv.forward)
			if next.score > score || next.score == score && string(l.dict.Key(next.member)) >= string(member) {
				seen = lv.forward
				break
			}
			rank += lv.span
			x = next
		}
		p.at[i], p.rank[i] = x, rank
	}
}

// Insert adds a node for an entry of the dict that has none yet, and returns it;
// false when there is no memory.
func (l *List) Insert(score float64, member dict.Ref) (Node, bool) {
	height := randomLevel()
	r, ok := l.arena.Alloc(nodeSize + height*levelSize)
	if !ok {
		return 0, false
	}
	l.bytes += int64(l.arena.SlotSize(r))
	*l.node(r) = node{score: score, member: member}
	l.link(r, height)
	return r, true
}

// link puts a node that has its score and member into its place.
func (l *List) link(r Node, height int) {
	x := l.node(r)
	var p path
	l.search(x.score, l.dict.Key(x.member), &p)
	for ; l.level < height; l.level++ {
		p.at[l.level], p.rank[l.level] = l.head, 0
		*l.head.level(l.level) = level{span: uint32(l.length)}
	}
	for i := range height {
		before := p.at[i].level(i)
		passed := p.rank[0] - p.rank[i]
		*x.level(i) = level{before.forward, before.span - passed}
		*before = level{r, passed + 1}
	}
	for i := height; i < l.level; i++ {
		p.at[i].level(i).span++
	}
	next := x.level(0).forward
	if next != 0 {
		x.backward = l.node(next).backward
		l.node(next).backward = r
	} else {
		x.backward = l.tail
		l.tail = r
	}
	l.length++
}

// unlink takes a node out, p being the path to it, and returns its height.
func (l *List) unlink(r Node, p *path) (height int) {
	x := l.node(r)
	for i := range l.level {
		before := p.at[i].level(i)
		if before.forward == r {
			*before = level{x.level(i).forward, before.span + x.level(i).span - 1}
			height++
		} else {
			before.span--
		}
	}
	if next := x.level(0).forward; next != 0 {
		l.node(next).backward = x.backward
	} else {
		l.tail = x.backward
	}
	for l.level > 1 && l.head.level(l.level-1).forward == 0 {
		l.level--
	}
	l.length--
	return height
}

func (l *List) free(r Node) {
	l.bytes -= int64(l.arena.SlotSize(r))
	l.arena.Free(r)
}

// Delete deletes the node that an entry of the dict has with this score, and
// leaves the entry alone.
func (l *List) Delete(score float64, member dict.Ref) {
	var p path
	l.search(score, l.dict.Key(member), &p)
	r := p.at[0].level(0).forward
	l.unlink(r, &p)
	l.free(r)
}

// Update changes the score of the node that an entry of the dict has with the old
// score.
func (l *List) Update(old float64, member dict.Ref, score float64) {
	var p path
	l.search(old, l.dict.Key(member), &p)
	r := p.at[0].level(0).forward
	x := l.node(r)
	next := x.level(0).forward
	if (x.backward == 0 || l.node(x.backward).score < score) && (next == 0 || l.node(next).score > score) {
		x.score = score
		return
	}
	height := l.unlink(r, &p)
	x.score = score
	l.link(r, height)
}

// Rank returns how many nodes come before the one that an entry of the dict has
// with this score.
func (l *List) Rank(score float64, member dict.Ref) int {
	key := l.dict.Key(member)
	x, rank, seen := l.head, 0, Node(0)
	for i := l.level - 1; i >= 0; i-- {
		for {
			lv := x.level(i)
			if lv.forward == seen {
				break
			}
			// Where the search goes if this node is too far: both are likely not in the
			// cache, and so come together.
			if i > 0 {
				if below := x.level(i - 1).forward; below != lv.forward && below != seen {
					l.dict.PrefetchRef(below)
				}
			}
			next := l.node(lv.forward)
			if next.score > score || next.score == score && string(l.dict.Key(next.member)) >= string(key) {
				seen = lv.forward
				break
			}
			rank += int(lv.span)
			x = next
		}
	}
	return rank
}

// At returns the node that so many others come before, 0 when there is none.
func (l *List) At(rank int) Node {
	if rank < 0 || rank >= l.length {
		return 0
	}
	x, r, left := l.head, Node(0), uint32(rank+1)
	for i := l.level - 1; left > 0; i-- {
		for {
			lv := x.level(i)
			if lv.forward == 0 || lv.span > left {
				break
			}
			left -= lv.span
			r = lv.forward
			x = l.node(r)
		}
	}
	return r
}

// DeleteRange deletes n nodes, that many others come before the first of, and the
// entries of their members.
func (l *List) DeleteRange(rank, n int) {
	if n <= 0 {
		return
	}
	var p path
	x, at := l.head, 0
	for i := l.level - 1; i >= 0; i-- {
		for {
			lv := x.level(i)
			if lv.forward == 0 || at+int(lv.span) > rank {
				break
			}
			at += int(lv.span)
			x = l.node(lv.forward)
		}
		p.at[i] = x
	}
	for r := p.at[0].level(0).forward; n > 0; n-- {
		next := l.node(r).level(0).forward
		l.unlink(r, &p)
		l.dict.DeleteRef(l.node(r).member)
		l.free(r)
		r = next
	}
}
