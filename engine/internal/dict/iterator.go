package dict

import "errors"

// Iterator walks over all entries:
//
//	it := d.SafeIterator()
//	for it.Next() {
//		… it.Ref() …
//	}
//	it.Release()
//
// A safe iterator pauses rehashing, so that the dict may be changed in any way but
// Clear while it runs: each entry is visited once, those deleted before their turn
// not at all, those added maybe.
//
// An unsafe iterator pauses nothing and costs nothing. In return the dict must not
// change, and as a lookup may move a bucket, not even be searched, until Release,
// which tells whether that was kept. Redis takes a fingerprint of the tables'
// addresses, sizes and counts for it; the dict counts its changes instead, which
// also notices a deletion that an addition made up for.
type Iterator struct {
	d       *Dict
	table   int
	index   uint64 // of the next bucket
	bucket  *bucket
	slot    int // next slot in bucket
	ref     Ref
	safe    bool
	version uint64
}

// ErrChanged is what Release returns if the dict changed under an unsafe iterator.
var ErrChanged = errors.New("dict: changed under an unsafe iterator")

// SafeIterator returns an iterator that lets the dict change. It must be released,
// or the dict will never rehash again.
func (d *Dict) SafeIterator() Iterator {
	d.PauseRehash()
	return Iterator{d: d, safe: true, index: d.rehashIdx}
}

// UnsafeIterator returns an iterator under which the dict must not change.
func (d *Dict) UnsafeIterator() Iterator {
	return Iterator{d: d, version: d.version, index: d.rehashIdx}
}

// Next goes on to the next entry and reports whether there is one.
func (it *Iterator) Next() bool {
	for {
		for it.bucket != nil {
			for it.slot < bucketSlots {
				it.ref = it.bucket.refs[it.slot]
				it.slot++
				if it.ref != 0 {
					return true
				}
			}
			it.bucket = it.d.next(it.bucket)
			it.slot = 0
		}
		t := &it.d.tables[it.table]
		if t.buckets != nil && it.index <= t.mask {
			it.bucket = t.bucket(it.index)
			it.index++
			it.slot = 0
			continue
		}
		if it.table == 1 {
			it.ref = 0
			return false
		}
		it.table, it.index = 1, 0
	}
}

// Ref returns the entry that Next found.
func (it *Iterator) Ref() Ref { return it.ref }

// Release ends the iteration. An unsafe iterator returns ErrChanged if the dict was
// changed since it was made.
func (it *Iterator) Release() error {
	if it.safe {
		it.d.ResumeRehash()
		return nil
	}
	if it.d.version != it.version {
		return ErrChanged
	}
	return nil
}
