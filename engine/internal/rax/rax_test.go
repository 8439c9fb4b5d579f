package rax

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// check verifies what holds between operations.
func (t *Tree[V]) check() error {
	keys, nodes := 0, 0
	var visit func(n *node[V], head bool) error
	visit = func(n *node[V], head bool) error {
		nodes++
		if n.isKey {
			keys++
		} else if len(n.kids) == 0 && !head {
			return fmt.Errorf("a leaf that is no key")
		}
		switch {
		case n.compressed && (len(n.chars) < 2 || len(n.kids) != 1):
			return fmt.Errorf("a compressed node of %d characters and %d children", len(n.chars), len(n.kids))
		case !n.compressed && len(n.chars) != len(n.kids):
			return fmt.Errorf("%d characters and %d children", len(n.chars), len(n.kids))
		case !n.compressed && !slices.IsSorted([]byte(n.chars)):
			return fmt.Errorf("the characters %q are not in order", n.chars)
		}
		for _, kid := range n.kids {
			if err := visit(kid, false); err != nil {
				return err
			}
		}
		return nil
	}
	if err := visit(t.head, true); err != nil {
		return err
	}
	if keys != t.keys || nodes != t.nodes {
		return fmt.Errorf("counted %d keys and %d nodes; there are %d and %d", t.keys, t.nodes, keys, nodes)
	}
	return nil
}

// model is a tree with a sorted list of the same keys.
type model struct {
	t    *Tree[int]
	keys []string
	vals map[string]int
	it   Iterator[int]
}

func newModel() *model { return &model{t: New[int](), vals: map[string]int{}} }

func (m *model) at() string {
	if !m.it.Valid() {
		return "nowhere"
	}
	return fmt.Sprintf("%q=%d", m.it.Key(), m.it.Value())
}

func (m *model) want(i int) string {
	if i < 0 || i >= len(m.keys) {
		return "nowhere"
	}
	return fmt.Sprintf("%q=%d", m.keys[i], m.vals[m.keys[i]])
}

func (m *model) step(op byte, key []byte, value int) error {
	i, found := slices.BinarySearch(m.keys, string(key))
	if old, ok := m.t.Find(key); ok != found || ok && old != m.vals[string(key)] {
		return fmt.Errorf("find %q: %d %t", key, old, ok)
	}
	switch op % 8 {
	case 0, 1, 2:
		added := false
		if op%8 == 2 {
			added = m.t.TryInsert(key, value)
		} else {
			added = m.t.Insert(key, value)
		}
		if added == found {
			return fmt.Errorf("insert %q: %t", key, added)
		}
		if !found {
			m.keys = slices.Insert(m.keys, i, string(key))
		}
		if !found || op%8 != 2 {
			m.vals[string(key)] = value
		}
	case 3, 4:
		old, ok := m.t.Remove(key)
		if ok != found || old != m.vals[string(key)] {
			return fmt.Errorf("remove %q: %d %t", key, old, ok)
		}
		if found {
			m.keys = slices.Delete(m.keys, i, i+1)
			delete(m.vals, string(key))
		}
	default:
		m.it.Reset(m.t)
		order := Order(value % 5)
		if order == Equal && !found || order == Less || order == LessOrEqual && !found {
			i--
		}
		if order == Equal && !found {
			i = -1
		}
		if order == Greater && found {
			i++
		}
		m.it.Seek(order, key)
		if m.at() != m.want(i) {
			return fmt.Errorf("seek %d %q: %s, want %s", order, key, m.at(), m.want(i))
		}
		forward := op%8 == 5
		for n := 0; m.it.Valid() && n < 20; n++ {
			if forward {
				m.it.Next()
				i++
			} else {
				m.it.Prev()
				i--
			}
			if m.at() != m.want(i) {
				return fmt.Errorf("after seek %d %q forward %t: %s, want %s", order, key, forward, m.at(), m.want(i))
			}
		}
		if m.it.First(); m.at() != m.want(0) {
			return fmt.Errorf("first: %s", m.at())
		}
		if m.it.Last(); m.at() != m.want(len(m.keys)-1) {
			return fmt.Errorf("last: %s", m.at())
		}
	}
	if m.t.Len() != len(m.keys) {
		return fmt.Errorf("%d keys, want %d", m.t.Len(), len(m.keys))
	}
	return m.t.check()
}

// run takes operations from data: a byte of operation, a byte of length, the key.
func (m *model) run(t *testing.T, data []byte) {
	for n := 0; len(data) > 2; n++ {
		op, size := data[0], min(int(data[1]%24), len(data)-2)
		if err := m.step(op, data[2:2+size], n); err != nil {
			t.Fatal(err)
		}
		data = data[2+size:]
	}
}

func FuzzTree(f *testing.F) {
	f.Add([]byte("\x00\x03abc\x00\x04abcd\x00\x02ab\x03\x04abcd\x05\x01a\x03\x03abc\x00\x03axe"))
	f.Fuzz(func(t *testing.T, data []byte) { newModel().run(t, data) })
}

func TestRandomOperations(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		m := newModel()
		letters := []byte("ab\x00\xff")[:1+r.IntN(4)]
		longest := 1 + r.IntN(20)
		for range 400 {
			key := make([]byte, r.IntN(longest))
			for i := range key {
				key[i] = letters[r.IntN(len(letters))]
			}
			if err := m.step(byte(r.IntN(8)), key, r.IntN(1000)); err != nil {
				t.Fatal(err)
			}
		}
		// What is empty again is as new.
		for _, k := range slices.Clone(m.keys) {
			if err := m.step(3, []byte(k), 0); err != nil {
				t.Fatal(err)
			}
		}
		if m.t.Nodes() != 1 {
			t.Fatalf("%d nodes in an empty tree", m.t.Nodes())
		}
	}
}

// The divisions that rax.c documents.
func TestNodes(t *testing.T) {
	for _, c := range []struct {
		keys  []string
		nodes int
	}{
		{nil, 1},
		{[]string{""}, 1},
		{[]string{"a"}, 2},
		{[]string{"annibale"}, 2},
		{[]string{"annibale", "annibale"}, 2},
		{[]string{"annibale", "annientare"}, 6},
		{[]string{"annibale", "annibal"}, 3},
		{[]string{"annibale", "annibali"}, 4},
		{[]string{"annibale", "ago"}, 6},
		{[]string{"annibale", "cane"}, 5},
	} {
		tree := New[struct{}]()
		for _, k := range c.keys {
			tree.Insert([]byte(k), struct{}{})
		}
		if err := tree.check(); err != nil {
			t.Error(err)
		}
		if tree.Nodes() != c.nodes {
			t.Errorf("%q: %d nodes, want %d", c.keys, tree.Nodes(), c.nodes)
		}
	}
}

func TestRemoveMerges(t *testing.T) {
	tree := New[int]()
	for i, k := range []string{"foobar", "footer", "foo"} {
		tree.Insert([]byte(k), i)
	}
	tree.Remove([]byte("foobar"))
	tree.Remove([]byte("foo"))
	if tree.Nodes() != 2 {
		t.Errorf("%d nodes hold one key", tree.Nodes())
	}
}

func TestSetValue(t *testing.T) {
	tree := New[int]()
	tree.Insert([]byte("x"), 1)
	var it Iterator[int]
	it.Reset(tree)
	it.First()
	it.SetValue(2)
	if v, _ := tree.Find([]byte("x")); v != 2 {
		t.Error(v)
	}
}

func TestNoAllocations(t *testing.T) {
	tree := New[int]()
	var key [16]byte
	for i := range 5000 {
		binary.BigEndian.PutUint64(key[:], uint64(i*i))
		tree.Insert(key[:], i)
	}
	var it Iterator[int]
	sum := 0
	if n := testing.AllocsPerRun(10, func() {
		it.Reset(tree)
		for ok := it.Seek(GreaterOrEqual, key[:4]); ok; ok = it.Next() {
			v, _ := tree.Find(it.Key())
			sum += v
		}
		it.Release()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkInsertRemove(b *testing.B) {
	tree := New[int]()
	var key [16]byte
	b.ReportAllocs()
	for i := range b.N {
		binary.BigEndian.PutUint64(key[:], uint64(i))
		tree.Insert(key[:], i)
		if i >= 1000 {
			binary.BigEndian.PutUint64(key[:], uint64(i-1000))
			tree.Remove(key[:])
		}
	}
}

func BenchmarkIterate(b *testing.B) {
	tree := New[int]()
	var key [16]byte
	for i := range 10000 {
		binary.BigEndian.PutUint64(key[:], uint64(i))
		tree.Insert(key[:], i)
	}
	var it Iterator[int]
	it.Reset(tree)
	for range b.N {
		if !it.Next() {
			it.First()
		}
	}
	if bytes.Equal(it.Key(), nil) {
		b.Fatal("no key")
	}
}
