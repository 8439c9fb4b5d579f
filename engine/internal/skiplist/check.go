package skiplist

import "fmt"

// Check returns an error when the list is not as it should be. It is for tests.
func (l *List) Check() error {
	position := map[Node]int{0: l.length} // the head's is 0
	prev, n, bytes := Node(0), 0, int64(l.arena.SlotSize(l.ref))
	for r := l.First(); r != 0; r = l.Next(r) {
		n++
		position[r] = n
		x := l.node(r)
		bytes += int64(l.arena.SlotSize(r))
		if x.backward != prev {
			return fmt.Errorf("skiplist: node %d goes back to %#x, not %#x", n, x.backward, prev)
		}
		if prev != 0 {
			p := l.node(prev)
			if p.score > x.score || p.score == x.score && string(l.Member(prev)) >= string(l.Member(r)) {
				return fmt.Errorf("skiplist: node %d (%v %q) comes after (%v %q)", n, x.score, l.Member(r), p.score, l.Member(prev))
			}
		}
		prev = r
	}
	if n != l.length || prev != l.tail || bytes != l.bytes {
		return fmt.Errorf("skiplist: %d nodes of %d bytes end with %#x, not %d of %d with %#x", n, bytes, prev, l.length, l.bytes, l.tail)
	}
	for i := range maxLevel {
		x, at := l.head, 0
		if i >= l.level {
			if x.level(i).forward != 0 {
				return fmt.Errorf("skiplist: level %d is in use above %d", i, l.level)
			}
			continue
		}
		for {
			lv := x.level(i)
			to, ok := position[lv.forward]
			if !ok || to-at != int(lv.span) {
				return fmt.Errorf("skiplist: level %d spans %d from node %d to node %d", i, lv.span, at, to)
			}
			if lv.forward == 0 {
				break
			}
			x, at = l.node(lv.forward), to
		}
		if i > 0 && i == l.level-1 && l.head.level(i).forward == 0 {
			return fmt.Errorf("skiplist: the highest level, %d, is empty", i)
		}
	}
	return nil
}
