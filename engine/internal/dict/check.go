package dict

import (
	"fmt"

	"github.com/redscope/redscope/engine/internal/slab"
)

// check verifies everything that holds between operations. Tests call it after each
// operation in a -tags invariants build, and now and then otherwise.
func (d *Dict) check() error {
	var bytes int64
	children, expiring := 0, 0
	seen := map[string]bool{}
	for i := range d.tables {
		t := &d.tables[i]
		if (t.buckets == nil) != (t.block.Size == 0) || t.buckets == nil && t.used != 0 {
			return fmt.Errorf("table %d: %+v", i, *t)
		}
		entries := 0
		for j := uint64(0); t.buckets != nil && j <= t.mask; j++ {
			for b := t.bucket(j); b != nil; b = d.next(b) {
				if b.child != 0 {
					children++
				}
				if i == 0 && j < d.rehashIdx && (b.occupied() != 0 || b.child != 0) {
					return fmt.Errorf("bucket %d is behind the rehash index %d and not empty", j, d.rehashIdx)
				}
				if b.occupied()&b.free() != 0 || b.occupied()|b.free() != allSlots {
					return fmt.Errorf("bucket %d: slot sets overlap", j)
				}
				for k, r := range b.refs {
					if (r == 0) != (b.tag(k) == 0) {
						return fmt.Errorf("bucket %d slot %d: ref %#x, tag %#x", j, k, r, b.tag(k))
					}
					if r == 0 {
						continue
					}
					entries++
					bytes += d.MemoryUsage(r)
					if err := d.checkEntry(r, j, t.mask, b.tag(k)); err != nil {
						return fmt.Errorf("table %d bucket %d slot %d: %w", i, j, k, err)
					}
					if _, ok := d.Expire(r); ok {
						expiring++
					}
					key := string(d.Key(r))
					if seen[key] {
						return fmt.Errorf("key %q twice", key)
					}
					seen[key] = true
				}
			}
		}
		if entries != t.used {
			return fmt.Errorf("table %d: %d entries, counted %d", i, entries, t.used)
		}
	}
	switch {
	case children != d.children:
		return fmt.Errorf("%d child buckets, counted %d", children, d.children)
	case bytes != d.bytes:
		return fmt.Errorf("entries take %d bytes, counted %d", bytes, d.bytes)
	case expiring != d.expires.n:
		return fmt.Errorf("%d entries expire, index has %d", expiring, d.expires.n)
	case !d.rehashing && (d.tables[1] != table{} || d.rehashIdx != 0):
		return fmt.Errorf("not rehashing, but a second table or an index %d", d.rehashIdx)
	case d.Len() == 0 && d.paused == 0 && d.Used() != 0:
		return fmt.Errorf("empty, but uses %d bytes", d.Used())
	case d.Used() > d.arena.Used():
		return fmt.Errorf("uses %d bytes of an arena of %d", d.Used(), d.arena.Used())
	}
	return nil
}

func (d *Dict) checkEntry(r Ref, index, mask, tag uint64) error {
	e := d.entry(r)
	hash := Hash(d.key(e))
	if hash&mask != index || tagOf(hash) != tag {
		return fmt.Errorf("key %.40q does not belong here", d.key(e))
	}
	if len(d.key(e)) != e.keyLen() || len(d.value(e)) != e.valueLen() {
		return fmt.Errorf("key %.40q: lengths differ", d.key(e))
	}
	s := shapeOf(e.keyLen(), e.valueLen(), e.flags()&flagExpire != 0)
	if want := s.flags; e.flags() != want && e.flags() != want|flagWide && e.flags() != want|flagWide|flagLargeValue {
		return fmt.Errorf("key %.40q: flags %#x, want %#x", d.key(e), e.flags(), want)
	}
	if s.flags == e.flags() && s.size > d.arena.SlotSize(r) {
		return fmt.Errorf("key %.40q: %d bytes in a slot of %d", d.key(e), s.size, d.arena.SlotSize(r))
	}
	if e.flags()&flagExpire != 0 {
		i := int(*e.expireIndex())
		if i >= d.expires.n || *d.expires.at(i) != r {
			return fmt.Errorf("key %.40q: not at position %d of the index of expires", d.key(e), i)
		}
	}
	if uint64(r)*8 >= uint64(d.arena.Stats().Committed) {
		return fmt.Errorf("ref %#x lies outside the arena", slab.Ref(r))
	}
	return nil
}
