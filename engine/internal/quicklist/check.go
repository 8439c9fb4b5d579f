package quicklist

import (
	"fmt"

	"github.com/redscope/redscope/engine/internal/listpack"
	"github.com/redscope/redscope/engine/internal/slab"
)

// Check returns what is wrong with the list, or nil. It reads all of it.
func (l List) Check() error {
	nodes, elements, depth := 0, int64(0), l.Depth()
	prev := slab.Ref(0)
	for r := l.head(); r != 0; r = l.node(r).next {
		x := l.node(r)
		switch {
		case x.prev != prev:
			return fmt.Errorf("node %d: what is before it does not lead to it", nodes)
		case x.count() == 0:
			return fmt.Errorf("node %d is empty", nodes)
		case nodes == l.Nodes():
			return fmt.Errorf("there are more than %d nodes", nodes)
		}
		compressed := x.meta&flagCompressed != 0
		if inside := nodes >= depth && nodes < l.Nodes()-depth; compressed && !inside {
			return fmt.Errorf("node %d of %d is compressed, at depth %d", nodes, l.Nodes(), depth)
		}
		if compressed && x.gap > 0 || !compressed && int(x.gap+x.size) > l.capacity(r) {
			return fmt.Errorf("node %d has a gap of %d bytes", nodes, x.gap)
		}
		if data := l.view(r); len(data) != int(x.size) {
			return fmt.Errorf("node %d has %d bytes, not %d", nodes, len(data), x.size)
		} else if x.meta&flagPlain != 0 {
			if x.count() != 1 {
				return fmt.Errorf("node %d is plain and has %d elements", nodes, x.count())
			}
		} else if !listpack.Valid(data, true) {
			return fmt.Errorf("node %d is no listpack: %.100q", nodes, data)
		} else if n := listpack.Len(data); n != x.count() {
			return fmt.Errorf("node %d has %d elements, not %d", nodes, n, x.count())
		}
		nodes++
		elements += int64(x.count())
		prev = r
	}
	if prev != l.tail() || nodes != l.Nodes() || elements != l.Len() {
		return fmt.Errorf("%d nodes with %d elements, the header says %d and %d", nodes, elements, l.Nodes(), l.Len())
	}
	return nil
}
