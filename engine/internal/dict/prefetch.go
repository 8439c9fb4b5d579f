package dict

import "unsafe"

// A server that has parsed several commands can ask for their keys' memory before it
// executes the first: Prefetch for all of them, then PrefetchEntry for all of them.
// The cache misses then overlap, where lookups one after the other wait for each: see
// BenchmarkPrefetch.

// Prefetch begins to load the bucket of a hash.
func (d *Dict) Prefetch(hash uint64) {
	for i := d.firstTable(hash); i < len(d.tables); i++ {
		if t := &d.tables[i]; t.used != 0 {
			prefetch(unsafe.Pointer(t.bucket(hash)))
		}
	}
}

// PrefetchEntry begins to load the entry that a hash probably belongs to. It reads
// the bucket, which Prefetch should have been called for.
func (d *Dict) PrefetchEntry(hash uint64) {
	tag := tagOf(hash)
	for i := d.firstTable(hash); i < len(d.tables); i++ {
		t := &d.tables[i]
		if t.used == 0 {
			continue
		}
		if b := t.bucket(hash); b.match(tag) != 0 {
			prefetch(d.ptr(*b.ref(b.match(tag).first())))
			return
		}
	}
}

// PrefetchRef begins to load an entry.
func (d *Dict) PrefetchRef(r Ref) { prefetch(d.ptr(r)) }
