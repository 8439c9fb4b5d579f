// Package dict is Redis's hash table (dict.c): two tables, rehashed a bucket at a
// time, with a stateless SCAN, safe and unsafe iterators, random entries and an
// index of the entries that expire. Entries, buckets and indices live in a slab
// arena outside the Go heap, so the garbage collector's work does not depend on
// the number of keys.
//
// A lookup touches two cache lines that are likely cold: the bucket, which holds
// one byte of hash of each of its entries, and the entry that this byte selected.
//
// The package knows nothing of commands, types or clocks: what a value means, and
// what time it is, is the caller's affair. It must never allocate on the Go heap
// while serving an operation on small entries, never keep a slice it was given,
// and never lose an entry when memory runs out: an operation that fails leaves
// things as they were. It is not safe for concurrent use.
package dict

import (
	"errors"
	"hash/maphash"
	"unsafe"

	"github.com/redscope/redscope/engine/internal/slab"
)

// Ref names an entry until that entry is deleted or an operation returns another
// ref for it. 0 is none.
type Ref = slab.Ref

// MaxLength is the longest key or value in bytes. Redis's own limit
// (proto-max-bulk-len, 512 MB) is the caller's to check.
const MaxLength = 1<<32 - 1

// ErrTooLong says that a key or value exceeds MaxLength.
var ErrTooLong = errors.New("dict: key or value too long")

// ErrOutOfMemory says that the arena refused an allocation.
var ErrOutOfMemory = slab.ErrOutOfMemory

// Dict is a hash table from keys to values. Use New.
type Dict struct {
	arena *slab.Arena
	base  unsafe.Pointer // of the arena

	tables    [2]table
	rehashing bool
	rehashIdx uint64 // buckets of tables[0] before it are moved; 0 when not rehashing
	paused    int    // PauseRehash calls without ResumeRehash

	expires expireIndex

	bytes    int64  // of entries: slots and large keys and values
	children int    // child buckets in both tables
	version  uint64 // rises with every change that an unsafe iterator must not see
}

// table is a power-of-two array of buckets.
type table struct {
	buckets unsafe.Pointer // nil when there is no table
	mask    uint64         // number of buckets - 1
	used    int            // entries
	growAt  int            // number of entries from which on the table is too small
	tooFew  int            // number of entries below which it is too large
	block   slab.Block
}

// New returns an empty dict whose memory comes from arena, which it may share
// with others.
func New(arena *slab.Arena) *Dict {
	return &Dict{arena: arena, base: arena.Base()}
}

// seed makes the hash of a key unknowable to clients, who could otherwise send
// keys that all fall into one bucket. One per process lets a caller hash a key
// once for several dicts.
var seed = maphash.MakeSeed()

// Hash returns the hash that the Hash variants of operations take.
func Hash(key []byte) uint64 { return maphash.Bytes(seed, key) }

// Len returns the number of entries.
func (d *Dict) Len() int { return d.tables[0].used + d.tables[1].used }

// Used returns the bytes that the dict occupies outside its own struct: entries,
// buckets and the index of expiring entries.
func (d *Dict) Used() int64 {
	buckets, expires := d.Overhead()
	return d.bytes + buckets + expires
}

// Overhead returns the bytes of the buckets and of the index of expiring entries,
// which the dict takes besides its entries.
func (d *Dict) Overhead() (buckets, expires int64) {
	return int64(d.tables[0].block.Size) + int64(d.tables[1].block.Size) + int64(d.children)*bucketSize, int64(d.expires.block.Size)
}

// Clear deletes every entry. A dict that has its arena to itself resets it, which
// costs the same for a million entries as for ten; in a shared arena each entry is
// freed. Not allowed while an iterator or a scan is under way.
func (d *Dict) Clear() {
	if d.Used() == d.arena.Used() {
		d.arena.Reset()
	} else {
		for t := range d.tables {
			d.freeEntries(&d.tables[t])
		}
		d.arena.FreeBlock(d.tables[0].block)
		d.arena.FreeBlock(d.tables[1].block)
		d.arena.FreeBlock(d.expires.block)
	}
	*d = Dict{arena: d.arena, base: d.base, paused: d.paused, version: d.version + 1}
}

// Dup returns a copy in the same arena, or ErrOutOfMemory. Expire times are not
// copied.
func (d *Dict) Dup() (*Dict, error) {
	c := New(d.arena)
	c.Reserve(d.Len())
	it := d.UnsafeIterator()
	for it.Next() {
		e := d.entry(it.Ref())
		if _, err := c.Add(d.key(e), d.value(e), *e.meta()); err != nil {
			c.Clear()
			return nil, err
		}
	}
	return c, nil
}

func (d *Dict) freeEntries(t *table) {
	if t.used == 0 && d.children == 0 {
		return
	}
	for i := uint64(0); t.buckets != nil && i <= t.mask; i++ {
		head := t.bucket(i)
		for b := head; b != nil; b = d.next(b) {
			for _, r := range b.refs {
				if r != 0 {
					d.freeEntry(r)
				}
			}
		}
		d.freeChildren(head)
	}
}

// PauseRehash keeps entries where they are, buckets as well as tables, until
// ResumeRehash. Calls nest.
func (d *Dict) PauseRehash() { d.paused++ }

// ResumeRehash ends one PauseRehash, and catches up on what waited for the last.
func (d *Dict) ResumeRehash() {
	d.paused--
	if d.paused == 0 {
		d.resizeIfNeeded()
	}
}
