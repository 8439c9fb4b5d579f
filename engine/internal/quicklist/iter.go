package quicklist

import (
	"github.com/redscope/redscope/engine/internal/listpack"
	"github.com/redscope/redscope/engine/internal/slab"
)

// seek returns the node of the element with this index, and its place in it; no node
// when there is no such element. Only the nodes on the nearer side are walked.
func (l List) seek(index int64) (slab.Ref, int) {
	n := l.Len()
	if index < 0 || index >= n {
		return 0, 0
	}
	if index < n/2 {
		r := l.head()
		for {
			x := l.node(r)
			if count := int64(x.count()); index >= count {
				index -= count
			} else {
				return r, int(index)
			}
			r = x.next
		}
	}
	r := l.tail()
	for back := n - 1 - index; ; { // elements behind the one
		x := l.node(r)
		count := int64(x.count())
		if back < count {
			return r, int(count - 1 - back)
		}
		back -= count
		r = x.prev
	}
}

// Iter is at an element of a list, or beyond its end. Changing the list, or using
// another Iter, makes it void.
type Iter struct {
	l         List
	node      slab.Ref
	data      []byte // of the node, not compressed
	pos       int    // in data
	index     int    // in the node
	plain     bool
	backwards bool
}

// From returns an Iter at the element with this index, which goes towards the tail
// or backwards to the head.
func (l List) From(index int64, backwards bool) Iter {
	it := Iter{l: l, backwards: backwards}
	it.node, it.index = l.seek(index)
	if it.node != 0 {
		it.load()
		if !it.plain {
			it.pos = listpack.Seek(it.data, it.index)
		}
	}
	return it
}

func (it *Iter) load() {
	it.data = it.l.view(it.node)
	it.plain = it.l.node(it.node).meta&flagPlain != 0
}

// Valid reports whether the Iter is at an element.
func (it *Iter) Valid() bool { return it.node != 0 }

// Next goes to the next element.
func (it *Iter) Next() {
	switch {
	case it.plain:
	case it.backwards:
		it.index--
		if it.pos = listpack.Prev(it.data, it.pos); it.pos >= 0 {
			return
		}
	default:
		it.index++
		if it.pos = listpack.Next(it.data, it.pos); it.pos >= 0 {
			return
		}
	}
	it.nextNode()
}

func (it *Iter) nextNode() {
	x := it.l.node(it.node)
	it.node = x.next
	if it.backwards {
		it.node = x.prev
	}
	if it.node == 0 {
		return
	}
	it.load()
	it.index = 0
	if it.backwards {
		it.index = it.l.node(it.node).count() - 1
	}
	switch {
	case it.plain:
	case it.backwards:
		it.pos = listpack.Last(it.data)
	default:
		it.pos = listpack.First(it.data)
	}
}

// Get returns the element, a view that is valid until the list changes: a string, or
// an integer.
func (it *Iter) Get() (v []byte, n int64, isInt bool) {
	if it.plain {
		return it.data, 0, false
	}
	return listpack.Get(it.data, it.pos)
}

// Equal reports whether the element, as a string, equals v.
func (it *Iter) Equal(v []byte) bool {
	if it.plain {
		return string(it.data) == string(v)
	}
	return listpack.Compare(it.data, it.pos, v)
}

// Node is what a node holds.
type Node struct {
	Data       []byte // a listpack, or one element when Plain; compressed when Compressed
	Size       int    // of Data, in bytes, when it is not compressed
	Plain      bool
	Compressed bool
}

// EachNode calls f with each node from head to tail until it returns false. The data
// is a view, valid during the call.
func (l List) EachNode(f func(Node) bool) {
	for r := l.head(); r != 0; {
		x := l.node(r)
		next := x.next
		if !f(Node{l.stored(r), int(x.size), x.meta&flagPlain != 0, x.meta&flagCompressed != 0}) {
			return
		}
		r = next
	}
}

// AppendNode adds a node at the tail: a valid listpack that is not empty, or one
// plain element.
func (l List) AppendNode(data []byte, plain bool) bool {
	meta := uint32(1 | flagPlain)
	if !plain {
		meta = uint32(listpack.Len(data))
	}
	r, ok := l.create(data, len(data), meta)
	if !ok {
		return false
	}
	last := l.tail()
	l.link(r, last, true)
	l.settle(last, r)
	return true
}
