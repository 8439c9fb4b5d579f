package rax

// Iterator is a position in a tree: at a key, or nowhere. The zero Iterator is
// nowhere; Reset gives it a tree. A change to the tree other than SetValue makes
// its position void until the next seek.
type Iterator[V any] struct {
	t   *Tree[V]
	n   *node[V]   // what key leads to; nil when nowhere
	up  []frame[V] // the steps from the head to n
	key []byte
}

// Order says what Seek looks for, relative to the key it is given.
type Order uint8

const (
	Equal Order = iota
	GreaterOrEqual
	Greater
	LessOrEqual
	Less
)

// Reset makes t the tree to iterate. The iterator is nowhere.
func (it *Iterator[V]) Reset(t *Tree[V]) {
	it.t = t
	it.rewind()
	it.n = nil
}

// Release has the iterator forget its tree, which could not be collected otherwise.
func (it *Iterator[V]) Release() {
	clear(it.up[:cap(it.up)])
	it.t, it.n, it.up = nil, nil, it.up[:0]
}

func (it *Iterator[V]) rewind() {
	it.n, it.up, it.key = it.t.head, it.up[:0], it.key[:0]
}

// Valid reports whether the iterator is at a key.
func (it *Iterator[V]) Valid() bool { return it.n != nil }

// Key returns the key, until the iterator moves.
func (it *Iterator[V]) Key() []byte { return it.key }

// Value returns the value of the key.
func (it *Iterator[V]) Value() V { return it.n.value }

// SetValue replaces the value of the key.
func (it *Iterator[V]) SetValue(v V) { it.n.value = v }

// First goes to the first key.
func (it *Iterator[V]) First() bool {
	it.rewind()
	return it.n.isKey || it.Next()
}

// Last goes to the last key.
func (it *Iterator[V]) Last() bool {
	it.rewind()
	return it.deepest()
}

// Seek goes to the key nearest to key in the given order.
func (it *Iterator[V]) Seek(order Order, key []byte) bool {
	it.rewind()
	matched := 0
	for matched < len(key) && len(it.n.chars) > 0 {
		if it.n.compressed {
			rest := key[matched:]
			limit := min(len(rest), len(it.n.chars))
			i := 0
			for i < limit && rest[i] == it.n.chars[i] {
				i++
			}
			switch {
			case i == len(it.n.chars):
				matched += i
				it.down(0)
				continue
			case i < len(rest) && rest[i] > it.n.chars[i]:
				return it.between(order, 1)
			}
			return it.between(order, 0)
		}
		kid, ok := it.n.edge(key[matched])
		if !ok {
			return it.between(order, kid)
		}
		matched++
		it.down(kid)
	}
	if matched < len(key) {
		return it.between(order, 0) // a leaf, which the key goes beyond
	}
	if it.n.isKey && order != Greater && order != Less {
		return true
	}
	switch order {
	case Greater, GreaterOrEqual:
		return it.Next()
	case Less, LessOrEqual:
		return it.Prev()
	}
	return it.end()
}

// between goes to the neighbour of a place where there is no key: below the
// current node, before its child kid.
func (it *Iterator[V]) between(order Order, kid int) bool {
	switch order {
	case Greater, GreaterOrEqual:
		if kid == len(it.n.kids) {
			return it.after()
		}
		it.down(kid)
		return it.n.isKey || it.Next()
	case Less, LessOrEqual:
		if kid > 0 {
			it.down(kid - 1)
			return it.deepest()
		}
		return it.n.isKey || it.Prev()
	}
	return it.end()
}

// Next goes to the next key.
func (it *Iterator[V]) Next() bool {
	if it.n == nil {
		return false
	}
	for len(it.n.kids) > 0 {
		it.down(0)
		if it.n.isKey {
			return true
		}
	}
	return it.after()
}

// after goes to the first key beyond those that begin with the current one.
func (it *Iterator[V]) after() bool {
	for len(it.up) > 0 {
		kid := it.climb() + 1
		if kid == len(it.n.kids) {
			continue
		}
		it.down(kid)
		return it.n.isKey || it.Next()
	}
	return it.end()
}

// Prev goes to the previous key.
func (it *Iterator[V]) Prev() bool {
	if it.n == nil {
		return false
	}
	for len(it.up) > 0 {
		kid := it.climb()
		if kid > 0 {
			it.down(kid - 1)
			return it.deepest()
		}
		if it.n.isKey {
			return true
		}
	}
	return it.end()
}

// deepest goes to the last key that begins with what leads to the current node.
func (it *Iterator[V]) deepest() bool {
	for len(it.n.kids) > 0 {
		it.down(len(it.n.kids) - 1)
	}
	return it.n.isKey || it.end() // only the head of an empty tree is no key
}

func (it *Iterator[V]) end() bool {
	it.n = nil
	return false
}

// down goes to a child.
func (it *Iterator[V]) down(kid int) {
	n := it.n
	if n.compressed {
		it.key = append(it.key, n.chars...)
	} else {
		it.key = append(it.key, n.chars[kid])
	}
	it.up = append(it.up, frame[V]{n, kid})
	it.n = n.kids[kid]
}

// climb goes to the parent and returns which of its children it came from.
func (it *Iterator[V]) climb() int {
	f := it.up[len(it.up)-1]
	it.up = it.up[:len(it.up)-1]
	size := 1
	if f.n.compressed {
		size = len(f.n.chars)
	}
	it.key = it.key[:len(it.key)-size]
	it.n = f.n
	return f.kid
}
