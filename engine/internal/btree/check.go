package btree

import (
	"fmt"

	"github.com/redscope/redscope/engine/internal/slab"
)

// Check returns an error when the tree is not as it should be. It is for tests.
func (t *Tree) Check() error {
	c := checker{t: t}
	if t.root != 0 {
		if err := c.below(t.root, t.height); err != nil {
			return err
		}
	}
	if c.n != t.length || c.leaf != t.last || c.bytes != t.bytes {
		return fmt.Errorf("btree: %d entries in %d bytes end with leaf %#x, not %d in %d with %#x", c.n, c.bytes, c.leaf, t.length, t.bytes, t.last)
	}
	if t.root == 0 && t.first != 0 || t.height > 0 && t.node(t.root).n < 2 {
		return fmt.Errorf("btree: the root has no children to choose from")
	}
	return nil
}

// checker walks over a tree in order.
type checker struct {
	t     *Tree
	leaf  slab.Ref // the last that was seen
	n     int      // entries so far
	bytes int64
}

func (c *checker) below(r slab.Ref, level int) error {
	t, x := c.t, c.t.node(r)
	c.bytes += int64(t.arena.SlotSize(r))
	if x.n == 0 || x.n > x.room {
		return fmt.Errorf("btree: a node at level %d has %d of %d", level, x.n, x.room)
	}
	if level > 0 {
		for i, child := range x.children()[:x.n] {
			y, before := t.node(child), c.n
			if y.scores()[0] != x.scores()[i] || y.refs()[0] != x.refs()[i] {
				return fmt.Errorf("btree: child %d at level %d does not begin with %v, but with %v", i, level, x.scores()[i], y.scores()[0])
			}
			if err := c.below(child, level-1); err != nil {
				return err
			}
			if n := c.n - before; n != int(x.counts()[i]) {
				return fmt.Errorf("btree: %d entries below child %d at level %d, not %d", n, i, level, x.counts()[i])
			}
		}
		return nil
	}
	if x.prev != c.leaf || c.leaf == 0 && t.first != r || c.leaf != 0 && t.node(c.leaf).next != r {
		return fmt.Errorf("btree: leaf %#x comes after %#x, not %#x", r, c.leaf, x.prev)
	}
	for i := range int(x.n) {
		here := position(r, i)
		if prev := t.Prev(here); prev != 0 {
			a, b := t.Score(prev), t.Score(here)
			if a > b || a == b && string(t.Member(prev)) >= string(t.Member(here)) {
				return fmt.Errorf("btree: (%v %q) comes after (%v %q)", b, t.Member(here), a, t.Member(prev))
			}
		}
	}
	c.leaf = r
	c.n += int(x.n)
	return nil
}
