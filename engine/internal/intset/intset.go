// Package intset is Redis's intset (intset.c): a sorted array of distinct integers
// in one string of bytes, for small sets. It is laid out byte for byte as Redis 7.0
// does, since DUMP, RESTORE and RDB files hold it as it is.
//
//	offset  bytes
//	0       4      size of an integer: 2, 4 or 8, little-endian as all of it
//	4       4      number of integers
//	8       …      the integers, ascending
//
// The first integer that needs more bytes widens all of them; nothing makes them
// narrow again. An intset is a plain slice, which may be a view of memory that the
// Go heap does not know. Functions that change one work in its capacity, and move to
// a new slice when that does not suffice, as append does.
//
// The package must never write beyond the capacity that it was given, nor keep a
// slice. A slice that comes from outside must pass Valid first.
package intset

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
)

const headerSize = 8

// New returns an empty intset.
func New() []byte { return AppendNew(nil) }

// AppendNew appends an empty intset to dst. The result is an intset when dst is
// empty.
func AppendNew(dst []byte) []byte {
	return append(dst, 2, 0, 0, 0, 0, 0, 0, 0)
}

// Len returns the number of integers.
func Len(is []byte) int { return int(binary.LittleEndian.Uint32(is[4:])) }

func setLen(is []byte, n int) { binary.LittleEndian.PutUint32(is[4:], uint32(n)) }

func width(is []byte) int { return int(is[0]) }

// widthOf returns how many bytes an integer needs.
func widthOf(v int64) int {
	switch {
	case v != int64(int32(v)):
		return 8
	case v != int64(int16(v)):
		return 4
	}
	return 2
}

// Get returns the integer at pos, 0 <= pos < Len.
func Get(is []byte, pos int) int64 { return get(is, pos, width(is)) }

func get(is []byte, pos, width int) int64 {
	b := is[headerSize+pos*width:]
	switch width {
	case 2:
		return int64(int16(binary.LittleEndian.Uint16(b)))
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(b)))
	}
	return int64(binary.LittleEndian.Uint64(b))
}

func put(is []byte, pos, width int, v int64) {
	b := is[headerSize+pos*width:]
	switch width {
	case 2:
		binary.LittleEndian.PutUint16(b, uint16(v))
	case 4:
		binary.LittleEndian.PutUint32(b, uint32(v))
	default:
		binary.LittleEndian.PutUint64(b, uint64(v))
	}
}

// search returns where v is, or would have to be.
func search(is []byte, v int64) (pos int, found bool) {
	w := width(is)
	low, high := 0, Len(is)
	switch {
	case high == 0 || v < get(is, 0, w):
		return 0, false
	case v > get(is, high-1, w):
		return high, false
	}
	for low < high {
		mid := int(uint(low+high) / 2)
		switch n := get(is, mid, w); {
		case n == v:
			return mid, true
		case n < v:
			low = mid + 1
		default:
			high = mid
		}
	}
	return low, false
}

// Find reports whether v is in the set.
func Find(is []byte, v int64) bool {
	_, found := search(is, v)
	return found
}

// SizeWith returns the size in bytes of the set after an Add of a v that is not in
// it.
func SizeWith(is []byte, v int64) int {
	return headerSize + (Len(is)+1)*max(width(is), widthOf(v))
}

// Add adds v and reports whether it was not in the set before.
func Add(is []byte, v int64) ([]byte, bool) {
	n, old, w := Len(is), width(is), widthOf(v)
	if w > old {
		return widen(is, v, n, old, w), true
	}
	pos, found := search(is, v)
	if found {
		return is, false
	}
	at := headerSize + pos*old
	is = slices.Grow(is, old)[:len(is)+old]
	copy(is[at+old:], is[at:])
	put(is, pos, old, v)
	setLen(is, n+1)
	return is, true
}

// widen adds v, which is beyond all others as none of them needs its size.
func widen(is []byte, v int64, n, old, w int) []byte {
	size := headerSize + (n+1)*w
	is = slices.Grow(is, size-len(is))[:size]
	shift, pos := 0, n
	if v < 0 {
		shift, pos = 1, 0
	}
	for i := n - 1; i >= 0; i-- {
		put(is, i+shift, w, get(is, i, old))
	}
	put(is, pos, w, v)
	is[0] = byte(w)
	setLen(is, n+1)
	return is
}

// Remove removes v and reports whether it was in the set.
func Remove(is []byte, v int64) ([]byte, bool) {
	pos, found := search(is, v)
	if !found {
		return is, false
	}
	w := width(is)
	at := headerSize + pos*w
	copy(is[at:], is[at+w:])
	setLen(is, Len(is)-1)
	return is[:len(is)-w], true
}

// Filter removes the integers that keep does not want. It asks once about each, in
// their order.
func Filter(is []byte, keep func(v int64) bool) []byte {
	w, kept := width(is), 0
	for i := range Len(is) {
		if v := get(is, i, w); keep(v) {
			put(is, kept, w, v)
			kept++
		}
	}
	setLen(is, kept)
	return is[:headerSize+kept*w]
}

// Random returns one of the integers, each with the same probability. The set must
// not be empty.
func Random(is []byte) int64 { return Get(is, rand.IntN(Len(is))) }

// Valid reports whether b is an intset that is not empty: by its header and size, or
// when deep, by all of it.
func Valid(b []byte, deep bool) bool {
	if len(b) < headerSize {
		return false
	}
	w, n := int64(binary.LittleEndian.Uint32(b)), int64(Len(b))
	if w != 2 && w != 4 && w != 8 || n == 0 || int64(len(b)) != headerSize+n*w {
		return false
	}
	if !deep {
		return true
	}
	last := int64(math.MinInt64)
	for i := range int(n) {
		v := Get(b, i)
		if v <= last && i > 0 {
			return false
		}
		last = v
	}
	return true
}
