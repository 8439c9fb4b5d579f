package dict

import "math/rand/v2"

// RandomEntry returns an entry chosen at random, 0 if there is none: a random bucket
// that is not empty, then an entry of its chain. Entries in sparse buckets come more
// often; FairRandom costs a little more and does not have that fault.
func (d *Dict) RandomEntry() Ref {
	if d.Len() == 0 {
		return 0
	}
	if d.rehashing {
		d.rehashStep()
	}
	for {
		head := d.randomBucket()
		n := 0
		for b := head; b != nil; b = d.next(b) {
			for _, r := range b.refs {
				if r != 0 {
					n++
				}
			}
		}
		if n == 0 {
			continue
		}
		n = rand.IntN(n)
		for b := head; ; b = d.next(b) {
			for _, r := range b.refs {
				if r == 0 {
					continue
				}
				if n == 0 {
					return r
				}
				n--
			}
		}
	}
}

// FairRandom returns an entry, each with the same probability, 0 if there is none.
//
// It throws darts: a random slot of a random bucket's chain, again and again until
// one hits. A chain counts as having fairChain buckets whether they exist or not,
// else slots in short chains would be hit more often. Redis samples some entries in
// neighbouring buckets and takes one of them, which only lessens the fault.
func (d *Dict) FairRandom() Ref {
	if d.rehashing {
		d.rehashStep()
	}
	// A table that was emptied while rehashing is paused may have nothing but
	// holes: after so many misses any entry will do.
	const throws = 1000
	for range throws {
		if d.Len() == 0 {
			return 0
		}
		b := d.randomBucket()
		slot := rand.IntN(fairChain * bucketSlots)
		for ; slot >= bucketSlots && b != nil; slot -= bucketSlots {
			b = d.next(b)
		}
		if b != nil && b.refs[slot] != 0 {
			return b.refs[slot]
		}
	}
	return d.RandomEntry()
}

// fairChain is the length of chain up to which FairRandom is exact. At 4/5 fill one
// chain in 10^10 is longer.
const fairChain = 3

// randomBucket returns a bucket that may hold entries, of either table.
func (d *Dict) randomBucket() *bucket {
	first := d.tables[0].mask + 1 - d.rehashIdx
	n := first
	if d.rehashing {
		n += d.tables[1].mask + 1
	}
	i := rand.Uint64N(n)
	if i < first {
		return d.tables[0].bucket(d.rehashIdx + i)
	}
	return d.tables[1].bucket(i - first)
}
