package dict

import "math/bits"

// Scan visits the entries of one bucket and returns the cursor for the next call;
// it begins with cursor 0 and is complete when 0 comes back. It keeps no state
// between calls, and yet every entry that is in the dict from the first call to the
// last is visited at least once, even if the table was resized in between. Some may
// be visited twice.
//
// The method is Pieter Noordhuis's, from dict.c. The cursor is a bucket's index, but
// it counts with its bits reversed: the carry runs from the highest bit of the mask
// down. Consider a table of 8 buckets and a cursor that has passed those whose low
// two bits are 00. If the table grows to 16, what was in those buckets is now in
// buckets whose low two bits are 00 still, and all of them lie before the cursor,
// since in reversed order low bits weigh most: none is visited again and none of the
// others is missed. If it shrinks to 4, bucket 100 not yet visited folds into 00
// together with what was visited, and 00 is visited again: an entry may come twice,
// never not at all.
//
// While rehashing an entry is in one of two tables. The bucket of the smaller one is
// visited, and all buckets of the larger one that it expands to, in one call, so that
// where in between the entries are does not matter.
//
// All of a chain is visited in one call, as an entry may change its place within the
// chain between calls.
//
// fn may delete the entry that it is given, or any other, change values, and add
// entries; those added may or may not be visited.
func (d *Dict) Scan(cursor uint64, fn func(Ref)) uint64 {
	if d.Len() == 0 {
		return 0
	}
	d.PauseRehash()
	small, large := &d.tables[0], &d.tables[1]
	if !d.rehashing {
		d.visit(small, cursor, fn)
		cursor = nextCursor(cursor, small.mask)
	} else {
		if small.mask > large.mask {
			small, large = large, small
		}
		d.visit(small, cursor, fn)
		for {
			d.visit(large, cursor, fn)
			cursor = nextCursor(cursor, large.mask)
			if cursor&(small.mask^large.mask) == 0 {
				break
			}
		}
	}
	d.ResumeRehash()
	return cursor
}

// nextCursor adds one to the cursor in reversed order of bits.
func nextCursor(cursor, mask uint64) uint64 {
	// With the bits above the mask set, the addition carries through them to the
	// mask's highest bit.
	return bits.Reverse64(bits.Reverse64(cursor|^mask) + 1)
}

func (d *Dict) visit(t *table, index uint64, fn func(Ref)) {
	if t == &d.tables[0] && index&t.mask < d.rehashIdx {
		return
	}
	head := t.bucket(index)
	for b := head; b != nil; b = d.next(b) {
		for i := range b.refs {
			if r := b.refs[i]; r != 0 {
				fn(r)
			}
		}
	}
	// Only this scan's pause keeps the holes that fn left.
	if d.paused == 1 && head.child != 0 {
		d.compact(head)
	}
}
