package dict

import (
	"unsafe"

	"github.com/redscope/redscope/engine/internal/slab"
)

const maxSlot = slab.MaxSlot

// Find returns the entry of key, 0 if there is none.
func (d *Dict) Find(key []byte) Ref { return d.FindHash(Hash(key), key) }

// FindHash is Find for a caller that has the key's hash.
func (d *Dict) FindHash(hash uint64, key []byte) Ref {
	if d.rehashing {
		d.rehashStep()
	}
	tag := tagOf(hash)
	for i := d.firstTable(hash); i < len(d.tables); i++ {
		t := &d.tables[i]
		if t.used == 0 {
			continue
		}
		for b := t.bucket(hash); ; b = (*bucket)(d.ptr(b.child)) {
			for m := b.match(tag); m != 0; m = m.rest() {
				r := *b.ref(m.first())
				e := d.entry(r)
				if narrow, off := e.isNarrow(len(key)); narrow {
					if string(unsafe.Slice(e.byte(off), len(key))) == string(key) {
						return r
					}
				} else if e.flags()&flagWide != 0 && string(d.key(e)) == string(key) {
					return r
				}
			}
			if b.child == 0 {
				break
			}
		}
	}
	return 0
}

// firstTable returns the table in which to look first: not the old one for a bucket that
// a rehash has passed, which would cost a cache miss, or a page fault if it was given
// back already.
func (d *Dict) firstTable(hash uint64) int {
	if hash&d.tables[0].mask < d.rehashIdx {
		return 1
	}
	return 0
}

// locate finds where the ref of an entry is: a bucket, the slot in it, and the chain's
// head. It compares refs and touches no entry.
func (d *Dict) locate(hash uint64, r Ref) (b *bucket, slot int, t *table, head *bucket) {
	tag := tagOf(hash)
	for i := d.firstTable(hash); i < len(d.tables); i++ {
		t = &d.tables[i]
		if t.used == 0 {
			continue
		}
		head = t.bucket(hash)
		for b = head; b != nil; b = d.next(b) {
			for m := b.match(tag); m != 0; m = m.rest() {
				if slot = m.first(); b.refs[slot] == r {
					return b, slot, t, head
				}
			}
		}
	}
	panic("dict: ref of an entry that is not in the dict")
}

// Add adds an entry for a key that must be absent.
func (d *Dict) Add(key, value []byte, meta uint32) (Ref, error) {
	return d.AddHash(Hash(key), key, value, meta)
}

// AddHash is Add for a caller that has the key's hash.
func (d *Dict) AddHash(hash uint64, key, value []byte, meta uint32) (Ref, error) {
	if d.rehashing {
		d.rehashStep()
	}
	r, err := d.newEntry(key, value, meta)
	if err != nil {
		return 0, err
	}
	if d.Len() >= d.tables[0].growAt {
		d.makeRoom()
		if d.tables[0].buckets == nil {
			d.freeEntry(r)
			return 0, ErrOutOfMemory
		}
	}
	t := &d.tables[0]
	if d.rehashing {
		t = &d.tables[1]
	}
	if !d.insert(t.bucket(hash), tagOf(hash), r) {
		d.freeEntry(r)
		return 0, ErrOutOfMemory
	}
	t.used++
	d.version++
	return r, nil
}

func (d *Dict) newEntry(key, value []byte, meta uint32) (Ref, error) {
	if len(key) > MaxLength || len(value) > MaxLength {
		return 0, ErrTooLong
	}
	s := shapeOf(len(key), len(value), false)
	r, ok := d.arena.Alloc(s.size)
	if !ok {
		return 0, ErrOutOfMemory
	}
	e := d.entry(r)
	e.init(s, meta, len(key), len(value))
	if s.flags&flagLargeKey == 0 {
		copy(e.storedKey(), key)
	} else {
		n, ok := d.arena.AllocLarge(key)
		if !ok {
			d.arena.Free(r)
			return 0, ErrOutOfMemory
		}
		*e.largeKey() = n
	}
	if s.flags&flagLargeValue == 0 {
		copy(unsafe.Slice(e.byte(e.valueAt()), len(value)), value)
	} else {
		n, ok := d.arena.AllocLarge(value)
		if !ok {
			if s.flags&flagLargeKey != 0 {
				d.arena.FreeLarge(*e.largeKey())
			}
			d.arena.Free(r)
			return 0, ErrOutOfMemory
		}
		*e.largeValue() = n
	}
	d.bytes += d.MemoryUsage(r)
	return r, nil
}

// freeEntry frees an entry that is in no bucket and not in the index of expires.
func (d *Dict) freeEntry(r Ref) {
	d.bytes -= d.MemoryUsage(r)
	e := d.entry(r)
	if e.flags()&flagLargeKey != 0 {
		d.arena.FreeLarge(*e.largeKey())
	}
	if e.flags()&flagLargeValue != 0 {
		d.arena.FreeLarge(*e.largeValue())
	}
	d.arena.Free(r)
}

// Delete deletes the entry of key and reports whether there was one.
func (d *Dict) Delete(key []byte) bool { return d.DeleteHash(Hash(key), key) }

// DeleteHash is Delete for a caller that has the key's hash.
func (d *Dict) DeleteHash(hash uint64, key []byte) bool {
	r := d.FindHash(hash, key)
	if r != 0 {
		d.remove(hash, r)
	}
	return r != 0
}

// DeleteRefHash is DeleteRef for a caller that has the hash of the entry's key.
func (d *Dict) DeleteRefHash(hash uint64, r Ref) {
	if d.rehashing {
		d.rehashStep()
	}
	d.remove(hash, r)
}

// DeleteRef deletes an entry.
func (d *Dict) DeleteRef(r Ref) {
	if d.rehashing {
		d.rehashStep()
	}
	d.remove(Hash(d.key(d.entry(r))), r)
}

func (d *Dict) remove(hash uint64, r Ref) {
	b, slot, t, head := d.locate(hash, r)
	b.set(slot, 0, 0)
	t.used--
	d.version++
	if d.entry(r).flags()&flagExpire != 0 {
		d.expires.remove(d, r)
	}
	d.freeEntry(r)
	if d.paused > 0 {
		return
	}
	if head.child != 0 {
		d.compact(head)
	}
	if d.Len() < d.tables[0].tooFew {
		d.resizeIfNeeded()
	}
}
