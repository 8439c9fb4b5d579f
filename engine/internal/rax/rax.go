// Package rax is a radix tree whose nodes are divided as those of Redis's rax.c,
// so that it has as many of them: XINFO STREAM tells clients the number. A run of
// nodes with one child each is one compressed node; a key that ends or branches
// off within it splits it, and deleting that key merges the parts again.
//
// Keys are bytes, ordered as bytes, and may have any length. The tree lives on the
// Go heap. The package must never keep a key that it was given, nor allocate while
// looking up or iterating with an iterator that has been used before. It is not safe
// for concurrent use.
package rax

import (
	"slices"
	"strings"
	"unsafe"
)

// Tree maps keys to values of type V. Use New.
type Tree[V any] struct {
	head  *node[V]
	keys  int
	nodes int
	path  []frame[V] // scratch of Remove
}

// node stands for the string that leads to it. When it is compressed, its only
// child stands for that string and all of chars; otherwise kids[i] stands for the
// string and chars[i], and chars are sorted.
type node[V any] struct {
	chars      string
	kids       []*node[V]
	value      V // of the key that ends here
	isKey      bool
	compressed bool
}

// frame is a step down a path: from n to its child kid.
type frame[V any] struct {
	n   *node[V]
	kid int
}

// compressedLimit is RAX_NODE_MAX_SIZE, the longest run in one node, bytes.
const compressedLimit = 1<<29 - 1

// New returns an empty tree.
func New[V any]() *Tree[V] { return &Tree[V]{head: new(node[V]), nodes: 1} }

// Len returns the number of keys.
func (t *Tree[V]) Len() int { return t.keys }

// Nodes returns the number of nodes. An empty tree has one.
func (t *Tree[V]) Nodes() int { return t.nodes }

// Bytes estimates the memory of the tree, without what values refer to. Beside a
// node there is the pointer to it and its share of the characters.
func (t *Tree[V]) Bytes() int64 {
	return int64(unsafe.Sizeof(*t)) + int64(t.nodes)*int64(unsafe.Sizeof(*t.head)+2*unsafe.Sizeof(t.head))
}

// edge returns where the child for char is, or would be inserted.
func (n *node[V]) edge(char byte) (int, bool) {
	lo, hi := 0, len(n.chars)
	for lo < hi {
		mid := (lo + hi) / 2
		if n.chars[mid] < char {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(n.chars) && n.chars[lo] == char
}

// walk follows key as far as it goes. It returns the node where that ends, how much
// of key led there or into it, how far into a compressed node the walk came, and
// the parent with the index of the node (nil for the head).
func (t *Tree[V]) walk(key []byte) (n *node[V], matched, split int, parent frame[V]) {
	n = t.head
	for len(n.chars) > 0 && matched < len(key) {
		kid := 0
		if n.compressed {
			rest := key[matched:]
			limit := min(len(rest), len(n.chars))
			for split = 0; split < limit && rest[split] == n.chars[split]; split++ {
			}
			matched += split
			if split < len(n.chars) {
				return n, matched, split, parent
			}
		} else {
			var ok bool
			if kid, ok = n.edge(key[matched]); !ok {
				break
			}
			matched++
		}
		parent = frame[V]{n, kid}
		n = n.kids[kid]
		split = 0
	}
	return n, matched, split, parent
}

// Find returns the value of key.
func (t *Tree[V]) Find(key []byte) (value V, ok bool) {
	n, matched, split, _ := t.walk(key)
	if matched == len(key) && split == 0 && n.isKey {
		return n.value, true
	}
	return value, false
}

// Insert sets the value of key and reports whether the key is new. Of one that is
// not, the value is replaced.
func (t *Tree[V]) Insert(key []byte, value V) bool { return t.insert(key, value, true) }

// TryInsert is Insert that leaves a key which exists alone.
func (t *Tree[V]) TryInsert(key []byte, value V) bool { return t.insert(key, value, false) }

func (t *Tree[V]) insert(key []byte, value V, overwrite bool) bool {
	n, matched, split, parent := t.walk(key)
	if matched == len(key) && split == 0 {
		if n.isKey {
			if overwrite {
				n.value = value
			}
			return false
		}
		n.isKey, n.value = true, value
		t.keys++
		return true
	}
	t.keys++
	if n.compressed {
		if matched == len(key) {
			t.splitAtEnd(n, split, value)
			return true
		}
		n = t.splitAtBranch(n, split, parent)
	}
	for matched < len(key) {
		child := new(node[V])
		if len(n.chars) == 0 && len(key)-matched > 1 {
			run := min(len(key)-matched, compressedLimit)
			n.chars, n.compressed = string(key[matched:matched+run]), true
			n.kids = []*node[V]{child}
			matched += run
		} else {
			at, _ := n.edge(key[matched])
			n.chars = n.chars[:at] + string(key[matched:matched+1]) + n.chars[at:]
			n.kids = slices.Insert(n.kids, at, child)
			matched++
		}
		t.nodes++
		n = child
	}
	n.isKey, n.value = true, value
	return true
}

// splitAtEnd cuts the compressed node n after split characters, where a new key
// ends.
func (t *Tree[V]) splitAtEnd(n *node[V], split int, value V) {
	postfix := &node[V]{chars: n.chars[split:], kids: n.kids, compressed: len(n.chars)-split > 1, value: value, isKey: true}
	n.chars, n.compressed = n.chars[:split], split > 1
	n.kids = []*node[V]{postfix}
	t.nodes++
}

// splitAtBranch cuts out of the compressed node n the character at split, where
// a new key differs, and returns the node that has it and can take another.
func (t *Tree[V]) splitAtBranch(n *node[V], split int, parent frame[V]) *node[V] {
	rest := n.kids[0]
	if split+1 < len(n.chars) {
		rest = &node[V]{chars: n.chars[split+1:], kids: n.kids, compressed: len(n.chars)-split-1 > 1}
		t.nodes++
	}
	branch := &node[V]{chars: n.chars[split : split+1], kids: []*node[V]{rest}}
	if split > 0 {
		n.chars, n.compressed = n.chars[:split], split > 1
		n.kids = []*node[V]{branch}
		t.nodes++
		return branch
	}
	branch.isKey, branch.value = n.isKey, n.value
	t.relink(parent, branch)
	return branch
}

// relink makes n the child that parent names.
func (t *Tree[V]) relink(parent frame[V], n *node[V]) {
	if parent.n == nil {
		t.head = n
		return
	}
	parent.n.kids[parent.kid] = n
}

// single reports whether n has one child and ends no key: such nodes in a row are
// one compressed node.
func (n *node[V]) single() bool { return !n.isKey && (n.compressed || len(n.chars) == 1) }

// Remove deletes key and returns the value it had.
func (t *Tree[V]) Remove(key []byte) (value V, ok bool) {
	path := t.path[:0]
	defer func() {
		clear(path[:cap(path)])
		t.path = path[:0]
	}()
	n, matched := t.head, 0
	for matched < len(key) {
		kid := 0
		if n.compressed {
			if !strings.HasPrefix(unsafe.String(&key[matched], len(key)-matched), n.chars) {
				return value, false
			}
			matched += len(n.chars)
		} else {
			if kid, ok = n.edge(key[matched]); !ok {
				return value, false
			}
			matched++
		}
		path = append(path, frame[V]{n, kid})
		n = n.kids[kid]
	}
	if !n.isKey {
		return value, false
	}
	value = n.value
	var none V
	n.isKey, n.value = false, none
	t.keys--
	compress := len(n.chars) == 1
	if len(n.chars) == 0 && len(path) > 0 {
		// The nodes that led only here go.
		var last frame[V]
		for len(path) > 0 {
			last = path[len(path)-1]
			path = path[:len(path)-1]
			t.nodes--
			if !last.n.single() {
				break
			}
		}
		n = last.n
		if n.compressed {
			n.chars, n.kids, n.compressed = "", nil, false
		} else {
			n.chars = n.chars[:last.kid] + n.chars[last.kid+1:]
			n.kids = slices.Delete(n.kids, last.kid, last.kid+1)
		}
		compress = len(n.chars) == 1 && !n.isKey
	}
	if compress {
		t.compress(n, path)
	}
	return value, true
}

// compress makes one node of n and the nodes above and below it that have one
// child each. path leads to n.
func (t *Tree[V]) compress(n *node[V], path []frame[V]) {
	for len(path) > 0 && path[len(path)-1].n.single() {
		n = path[len(path)-1].n
		path = path[:len(path)-1]
	}
	size, count := len(n.chars), 1
	next := n.kids[0]
	for next.single() && size+len(next.chars) <= compressedLimit {
		size += len(next.chars)
		next = next.kids[0]
		count++
	}
	if count == 1 {
		return
	}
	run := make([]byte, 0, size)
	for from := n; from != next; from = from.kids[0] {
		run = append(run, from.chars...)
	}
	n.chars, n.compressed = string(run), true
	n.kids = []*node[V]{next}
	t.nodes -= count - 1
}
