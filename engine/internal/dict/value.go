package dict

import "unsafe"

// SetValue replaces an entry's value. The entry moves, and the ref changes, when
// its slot does not suit the new size. On an error the entry is as before.
func (d *Dict) SetValue(r Ref, value []byte) (Ref, error) {
	e := d.entry(r)
	if len(value) > MaxLength {
		return r, ErrTooLong
	}
	if len(value) != e.valueLen() {
		s := shapeOf(e.keyLen(), len(value), e.flags()&flagExpire != 0)
		switch {
		case s.flags != e.flags() || !d.suits(r, s.size):
			return d.reshape(r, s, value, len(value))
		case s.flags&flagLargeValue != 0 && !suitsLarge(cap(d.value(e)), len(value)):
			n, ok := d.arena.AllocLarge(value)
			if !ok {
				return r, ErrOutOfMemory
			}
			d.bytes -= d.arena.LargeSize(*e.largeValue())
			d.arena.FreeLarge(*e.largeValue())
			*e.largeValue() = n
			d.bytes += d.arena.LargeSize(n)
			e.setValueLen(len(value))
			return r, nil
		case s.flags&flagLargeValue != 0:
			d.arena.ResizeLarge(*e.largeValue(), len(value))
		}
		e.setValueLen(len(value))
	}
	copy(d.value(e), value)
	return r, nil
}

// Grow sets the length of an entry's value to n; bytes beyond the old length are
// zero. The ref may change. A large value gets room to grow further, in proportion
// to its length. On an error the entry is as before.
func (d *Dict) Grow(r Ref, n int) (Ref, error) {
	e := d.entry(r)
	if n > MaxLength {
		return r, ErrTooLong
	}
	old := e.valueLen()
	s := shapeOf(e.keyLen(), n, e.flags()&flagExpire != 0)
	if s.flags != e.flags() || !d.suits(r, s.size) {
		v := d.value(e)
		return d.reshape(r, s, v[:min(old, n)], n)
	}
	if s.flags&flagLargeValue != 0 {
		d.bytes -= d.arena.LargeSize(*e.largeValue())
		ok := d.arena.ResizeLarge(*e.largeValue(), n)
		d.bytes += d.arena.LargeSize(*e.largeValue())
		if !ok {
			return r, ErrOutOfMemory
		}
		e.setValueLen(n)
		return r, nil
	}
	e.setValueLen(n)
	if n > old {
		clear(d.value(e)[old:])
	}
	return r, nil
}

// Truncate cuts an entry's value to its first n bytes, no more than it has. The ref
// may change. It cannot fail, as what gives memory back must not for want of it:
// then the entry stays in a slot that is too large for it.
func (d *Dict) Truncate(r Ref, n int) Ref {
	e := d.entry(r)
	s := shapeOf(e.keyLen(), n, e.flags()&flagExpire != 0)
	if s.flags != e.flags() || !d.suits(r, s.size) {
		if moved, err := d.reshape(r, s, d.value(e)[:n], n); err == nil {
			return moved
		}
	}
	if e.flags()&flagLargeValue != 0 {
		d.bytes -= d.arena.LargeSize(*e.largeValue())
		d.arena.ResizeLarge(*e.largeValue(), n) // does not fail to make it shorter
		d.bytes += d.arena.LargeSize(*e.largeValue())
	}
	e.setValueLen(n)
	return r
}

// suits reports whether an entry of size bytes may stay in the slot of r: it fits,
// and does not waste half of a slot that is worth moving out of.
func (d *Dict) suits(r Ref, size int) bool {
	slot := d.arena.SlotSize(r)
	return size <= slot && (slot <= 64 || size >= slot/2)
}

func suitsLarge(room, n int) bool { return n <= room && n >= room/2 }

// reshape moves an entry to a new slot of shape s. Its value becomes value, which
// may be a view of the old one, followed by zeroes up to n bytes. A value that is
// large before and after stays where it is: then only the expire time comes or
// goes.
func (d *Dict) reshape(r Ref, s shape, value []byte, n int) (Ref, error) {
	e := d.entry(r)
	moved, ok := d.arena.Alloc(s.size)
	if !ok {
		return r, ErrOutOfMemory
	}
	to := d.entry(moved)
	to.init(s, *e.meta(), e.keyLen(), n)
	copy(to.storedKey(), e.storedKey())
	if e.flags()&s.flags&flagExpire != 0 {
		*to.expireTime() = *e.expireTime()
		*to.expireIndex() = *e.expireIndex()
	}
	before := d.MemoryUsage(r)
	switch {
	case e.flags()&s.flags&flagLargeValue != 0:
		*to.largeValue() = *e.largeValue()
	case s.flags&flagLargeValue != 0:
		var number uint32
		if n > len(value) {
			number, ok = d.arena.AllocLargeGrowing(value, n)
		} else {
			number, ok = d.arena.AllocLarge(value)
		}
		if !ok {
			d.arena.Free(moved)
			return r, ErrOutOfMemory
		}
		*to.largeValue() = number
	default:
		v := unsafe.Slice(to.byte(to.valueAt()), n)
		clear(v[copy(v, value):])
		if e.flags()&flagLargeValue != 0 {
			d.arena.FreeLarge(*e.largeValue())
		}
	}
	d.bytes += d.MemoryUsage(moved) - before
	b, slot, _, _ := d.locate(Hash(d.key(to)), r)
	b.refs[slot] = moved
	if e.flags()&s.flags&flagExpire != 0 {
		*d.expires.at(int(*to.expireIndex())) = moved
	}
	d.arena.Free(r)
	d.version++
	return moved, nil
}
