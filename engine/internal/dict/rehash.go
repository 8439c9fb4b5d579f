package dict

import (
	"time"
	"unsafe"
)

// Resizing works as in dict.c: a second table is made, every operation moves one
// bucket of the first into it, new entries go to the second only, and lookups ask
// both. No operation then waits for a million entries to move.
//
// A table doubles when it is 4/5 full, that is at 9.6 of 12 entries per bucket.
// Fuller tables are smaller but send more lookups to a child bucket; see
// BenchmarkFill for the figures behind the choice. It shrinks when a tenth
// full, as in Redis, and never fills by a resize beyond 3/5, so that it does not
// soon grow again.
const (
	growFill   = 0.8
	shrinkFill = 0.1
	resizeFill = 0.6

	maxTable = 1 << 32 / bucketSlots // buckets beyond which refs would run out first
)

func (d *Dict) newTable(buckets int) (table, bool) {
	block, ok := d.arena.AllocBlock(buckets * bucketSize)
	slots := float64(buckets * bucketSlots)
	return table{
		buckets: block.Ptr,
		mask:    uint64(buckets - 1),
		growAt:  int(slots * growFill),
		tooFew:  max(1, int(slots*shrinkFill)),
		block:   block,
	}, ok
}

// bucketsFor returns how many buckets a table resized for n entries gets.
func bucketsFor(n int) int {
	buckets := 1
	for float64(n) > float64(buckets*bucketSlots)*resizeFill && buckets < maxTable {
		buckets *= 2
	}
	return buckets
}

// makeRoom prepares for adding an entry: it makes the first table, or begins to
// grow. Failing to grow is no failure, as chains take what does not fit.
func (d *Dict) makeRoom() {
	if d.tables[0].buckets != nil {
		d.resizeIfNeeded()
	} else if t, ok := d.newTable(1); ok {
		d.tables[0] = t
	}
}

// resizeIfNeeded begins to rehash if the table is too small or too large, and gives
// up all memory when the dict is empty.
func (d *Dict) resizeIfNeeded() {
	t := &d.tables[0]
	switch n := d.Len(); {
	case d.paused > 0:
	case n == 0:
		d.releaseTables()
	case d.rehashing:
	case n >= t.growAt || n < t.tooFew && t.mask > 0:
		d.resize(bucketsFor(n))
	}
}

// Reserve makes room for n entries in all, as when a file announces how many
// follow. It is a hint.
func (d *Dict) Reserve(n int) {
	if d.rehashing || d.paused > 0 || n <= d.tables[0].growAt {
		return
	}
	if d.tables[0].buckets != nil {
		d.resize(bucketsFor(n))
	} else if t, ok := d.newTable(bucketsFor(n)); ok {
		d.tables[0] = t
	}
}

func (d *Dict) resize(buckets int) {
	if uint64(buckets-1) == d.tables[0].mask {
		return
	}
	if t, ok := d.newTable(buckets); ok {
		d.tables[1] = t
		d.rehashing = true
		d.rehashIdx = 0
		d.version++
	}
}

func (d *Dict) releaseTables() {
	for i := range d.tables {
		t := &d.tables[i]
		for j := uint64(0); d.children > 0 && t.buckets != nil && j <= t.mask; j++ {
			d.freeChildren(t.bucket(j))
		}
		d.arena.FreeBlock(t.block)
		*t = table{}
	}
	d.arena.FreeBlock(d.expires.block)
	d.expires = expireIndex{}
	d.rehashing, d.rehashIdx = false, 0
	d.version++
}

// maxEmpty bounds the empty buckets that one step passes over.
const maxEmpty = 10

// rehashStep moves one bucket, unless paused.
func (d *Dict) rehashStep() {
	if d.paused == 0 {
		d.Rehash(1)
	}
}

// Rehash moves up to n buckets and reports whether some remain. It does nothing
// while paused.
func (d *Dict) Rehash(n int) bool {
	if !d.rehashing || d.paused > 0 {
		return d.rehashing
	}
	d.version++
	from := &d.tables[0]
	for empty := n * maxEmpty; n > 0 && from.used > 0; n-- {
		head := from.bucket(d.rehashIdx)
		for head.occupied() == 0 && head.child == 0 {
			d.passBucket()
			if empty--; empty == 0 {
				return true
			}
			head = from.bucket(d.rehashIdx)
		}
		if !d.moveChain(head) {
			return true
		}
		d.passBucket()
	}
	if from.used > 0 {
		return true
	}
	for ; d.children > 0 && d.rehashIdx <= from.mask; d.passBucket() {
		d.freeChildren(from.bucket(d.rehashIdx))
	}
	d.arena.FreeBlock(from.block)
	d.tables[0], d.tables[1] = d.tables[1], table{}
	d.rehashing, d.rehashIdx = false, 0
	d.resizeIfNeeded()
	return d.rehashing
}

// RehashFor moves buckets for about the given time and reports whether some remain.
func (d *Dict) RehashFor(limit time.Duration) bool {
	const batch = 100 // buckets between looks at the clock
	for end := time.Now().Add(limit); d.Rehash(batch); {
		if d.paused > 0 || !time.Now().Before(end) {
			return true
		}
	}
	return false
}

// moveChain moves the entries of a chain of tables[0] to tables[1]; false when a
// child bucket could not be had. Then the rest stays, is found where it is, and
// moves when there is memory.
func (d *Dict) moveChain(head *bucket) bool {
	from, to := &d.tables[0], &d.tables[1]
	growing := to.mask > from.mask
	if growing {
		// The entries' keys must be hashed. Those of the next bucket are asked for
		// now, while this one's, asked for by the step before, are at hand: it takes
		// two thirds off the time of a rehash.
		d.prefetchEntries(from.bucket(d.rehashIdx + 1))
	}
	for b := head; b != nil; b = d.next(b) {
		for m := b.occupied(); m != 0; m = m.rest() {
			i := m.first()
			r := b.refs[i]
			// A smaller table's index is part of the larger one's: shrinking need
			// not look at the entries.
			index := d.rehashIdx
			if growing {
				index = Hash(d.key(d.entry(r)))
			}
			if !d.insert(to.bucket(index), b.tag(i), r) {
				return false
			}
			b.set(i, 0, 0)
			from.used--
			to.used++
		}
	}
	d.freeChildren(head)
	return true
}

// releaseStep is how much of the old table is given back at a time.
const releaseStep = 2 << 20

// passBucket goes on to the next bucket of the table being left. A large table's
// memory is given back as its buckets are passed: the two tables together then
// need little more than one, and freeing the old one at the end is short.
func (d *Dict) passBucket() {
	d.rehashIdx++
	if passed := int(d.rehashIdx * bucketSize); passed%releaseStep == 0 {
		d.arena.ReleaseBlock(d.tables[0].block, passed-releaseStep, passed)
	}
}

// TableStats describe one table, for DEBUG HTSTATS.
type TableStats struct {
	Buckets  int
	Entries  int
	Children int
	Chains   [8]int // buckets by length of their chain: 1, 2, …; the last counts longer ones too
	Fill     [bucketSlots + 1]int
}

// Stats describe a dict, for DEBUG HTSTATS. They take a walk over all buckets.
type Stats struct {
	Tables    [2]TableStats
	Rehashing bool
	RehashIdx uint64
	Paused    int
	Expiring  int
}

// Stats walks over all buckets.
func (d *Dict) Stats() Stats {
	s := Stats{Rehashing: d.rehashing, RehashIdx: d.rehashIdx, Paused: d.paused, Expiring: d.expires.n}
	for i := range d.tables {
		t, ts := &d.tables[i], &s.Tables[i]
		ts.Entries = t.used
		if t.buckets == nil {
			continue
		}
		ts.Buckets = int(t.mask) + 1
		for j := uint64(0); j <= t.mask; j++ {
			length, fill := 0, 0
			for b := t.bucket(j); b != nil; b = d.next(b) {
				length++
				for _, r := range b.refs {
					if r != 0 {
						fill++
					}
				}
			}
			ts.Children += length - 1
			ts.Chains[min(length, len(ts.Chains))-1]++
			ts.Fill[min(fill, bucketSlots)]++
		}
	}
	return s
}

var _ [bucketSize]byte = [unsafe.Sizeof(bucket{})]byte{}

func (d *Dict) prefetchEntries(b *bucket) {
	for m := b.occupied(); m != 0; m = m.rest() {
		prefetch(d.ptr(*b.ref(m.first())))
	}
}
