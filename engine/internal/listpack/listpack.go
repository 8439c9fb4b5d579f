// Package listpack is Redis's listpack (listpack.c): a sequence of strings and
// integers in one string of bytes, for aggregates that are small. It is laid out
// byte for byte as Redis 7.0 does, since DUMP, RESTORE and RDB files hold it as it
// is.
//
//	offset  bytes
//	0       4      length of the whole, little-endian
//	4       2      number of elements; 65535: unknown, count them
//	6       …      elements
//	        1      0xff
//
// An element is its encoding (which begins with the type and the length), its bytes
// if it is a string, and the length of both once more in a form that is read from
// the end, so that the listpack can be walked backwards. A string that looks as an
// integer is printed, and is at most 20 bytes long, is kept as that integer.
//
// A listpack is a plain slice, which may be a view of memory that the Go heap does
// not know. Functions that change one work in its capacity, and move to a new slice
// when that does not suffice, as append does. A position is the offset of an
// element; any change invalidates the positions behind it.
//
// The package must never write beyond the capacity that it was given, nor keep a
// slice. A slice that comes from outside must pass Valid first: the other functions
// trust what they read. Keeping a listpack within its 4 GB is the caller's affair;
// see SafeToAdd.
package listpack

import (
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/redscope/redscope/engine/internal/resp"
)

const (
	headerSize = 6
	emptySize  = headerSize + 1

	unknownLen = 1<<16 - 1
	end        = 0xff

	// safetyLimit is LISTPACK_MAX_SAFETY_LIMIT, in bytes.
	safetyLimit = 1 << 30
)

// New returns an empty listpack.
func New() []byte { return AppendNew(nil) }

// AppendNew appends an empty listpack to dst. The result is a listpack when dst is
// empty.
func AppendNew(dst []byte) []byte {
	return append(dst, emptySize, 0, 0, 0, 0, 0, end)
}

// SafeToAdd reports whether n more bytes leave a listpack far from the longest that
// its header can describe. lp may be nil.
func SafeToAdd(lp []byte, n int) bool { return len(lp)+n <= safetyLimit }

func count(lp []byte) int       { return int(binary.LittleEndian.Uint16(lp[4:])) }
func setCount(lp []byte, n int) { binary.LittleEndian.PutUint16(lp[4:], uint16(min(n, unknownLen))) }
func setTotal(lp []byte)        { binary.LittleEndian.PutUint32(lp, uint32(len(lp))) }

// addCount tells the header that there are n more elements, or fewer. Once unknown,
// their number stays unknown.
func addCount(lp []byte, n int) {
	if have := count(lp); have != unknownLen {
		setCount(lp, have+n)
	}
}

// Len returns the number of elements. It has to count them when there are, or once
// were, 65535 or more.
func Len(lp []byte) int {
	if n := count(lp); n != unknownLen {
		return n
	}
	n := 0
	for p := headerSize; lp[p] != end; p = skip(lp, p) {
		n++
	}
	return n
}

// First returns the position of the first element, or -1.
func First(lp []byte) int { return orNone(lp, headerSize) }

// Last returns the position of the last element, or -1.
func Last(lp []byte) int { return Prev(lp, len(lp)-1) }

// Next returns the position behind that of p, or -1.
func Next(lp []byte, p int) int { return orNone(lp, skip(lp, p)) }

// Prev returns the position before p, or -1.
func Prev(lp []byte, p int) int {
	if p == headerSize {
		return -1
	}
	n := decodeBacklen(lp, p-1)
	return p - n - backlenSize(n)
}

func orNone(lp []byte, p int) int {
	if lp[p] == end {
		return -1
	}
	return p
}

// Seek returns the position of an element by its index, which counts from the tail
// when it is negative: -1 is the last. It returns -1 when there is no such element.
func Seek(lp []byte, index int) int {
	if n := count(lp); n != unknownLen {
		if index < 0 {
			index += n
		}
		if index < 0 || index >= n {
			return -1
		}
		if index > n/2 {
			index -= n
		}
	}
	if index >= 0 {
		p := First(lp)
		for ; index > 0 && p >= 0; index-- {
			p = Next(lp, p)
		}
		return p
	}
	p := Last(lp)
	for ; index < -1 && p >= 0; index++ {
		p = Prev(lp, p)
	}
	return p
}

// Get returns the element at p: a view of a string, or an integer.
func Get(lp []byte, p int) (s []byte, n int64, isInt bool) {
	switch b := lp[p]; {
	case b < 0x80:
		return nil, int64(b), true
	case b < 0xc0:
		return view(lp, p+1, int(b&0x3f)), 0, false
	case b < 0xe0:
		return nil, int64(int16(uint16(b)<<11|uint16(lp[p+1])<<3) >> 3), true
	case b < 0xf0:
		return view(lp, p+2, int(b&0xf)<<8|int(lp[p+1])), 0, false
	case b == 0xf0:
		return view(lp, p+5, int(binary.LittleEndian.Uint32(lp[p+1:]))), 0, false
	case b == 0xf1:
		return nil, int64(int16(binary.LittleEndian.Uint16(lp[p+1:]))), true
	case b == 0xf2:
		return nil, int64(int32(uint32(lp[p+1])<<8|uint32(lp[p+2])<<16|uint32(lp[p+3])<<24) >> 8), true
	case b == 0xf3:
		return nil, int64(int32(binary.LittleEndian.Uint32(lp[p+1:]))), true
	default:
		return nil, int64(binary.LittleEndian.Uint64(lp[p+1:])), true
	}
}

func view(lp []byte, from, n int) []byte { return lp[from : from+n : from+n] }

// Bytes returns the element at p as a string: a view, or in scratch the digits of an
// integer.
func Bytes(lp []byte, p int, scratch *[20]byte) []byte {
	s, n, isInt := Get(lp, p)
	if isInt {
		return strconv.AppendInt(scratch[:0], n, 10)
	}
	return s
}

// Int returns the integer at p, 0 for a string. (An integer is never kept as a
// string.)
func Int(lp []byte, p int) int64 {
	_, n, _ := Get(lp, p)
	return n
}

// parseInt tells which strings are kept as integers.
func parseInt(s []byte) (int64, bool) {
	if !mayBeInt(s) {
		return 0, false
	}
	return resp.ParseInt(s)
}

// mayBeInt tells most strings from integers by their length and first byte.
func mayBeInt(s []byte) bool { return uint(len(s)-1) < 20 && s[0]-'-' <= '9'-'-' }

// Compare reports whether the element at p, as a string, equals s.
func Compare(lp []byte, p int, s []byte) bool {
	v, n, isInt := Get(lp, p)
	if !isInt {
		return string(v) == string(s)
	}
	want, ok := parseInt(s)
	return ok && n == want
}

// Find returns the position of the first element from p on that equals s, or -1. It
// compares one element and then passes over skipped ones, as fields and values take
// turns in a hash. p may be -1.
func Find(lp []byte, p int, s []byte, skipped int) int {
	if p < 0 {
		return -1
	}
	n, isInt := parseInt(s)
	if !isInt && len(s) < 64 {
		return findShort(lp, p, s, skipped)
	}
	for lp[p] != end {
		if v, vn, vInt := Get(lp, p); vInt {
			if isInt && vn == n {
				return p
			}
		} else if string(v) == string(s) {
			return p
		}
		for range skipped + 1 {
			if p = skip(lp, p); lp[p] == end {
				return -1
			}
		}
	}
	return -1
}

// findShort is Find for a string whose encoding is one byte: most comparisons are
// of that byte alone, and of strings as long as s, of the last byte, in which names
// that belong together differ.
func findShort(lp []byte, p int, s []byte, skipped int) int {
	head := 0x80 | byte(len(s))
	last := head
	if len(s) > 0 {
		last = s[len(s)-1]
	}
	for lp[p] != end {
		if lp[p] == head && lp[p+len(s)] == last && string(lp[p+1:p+1+len(s)]) == string(s) {
			return p
		}
		for range skipped + 1 {
			if b := lp[p]; b&0xc0 == 0x80 {
				p += 2 + int(b&0x3f) // as skip, which is not inlined
			} else {
				p = skip(lp, p)
			}
			if lp[p] == end {
				return -1
			}
		}
	}
	return -1
}

// An element is described before it is written: a string, or with s nil an integer.
// It has no more than four words, so that it is kept in registers.
type element struct {
	s []byte
	n int64
}

func stringElement(s []byte) element {
	if mayBeInt(s) {
		if n, ok := resp.ParseInt(s); ok {
			return element{n: n}
		}
	}
	if s == nil {
		s = []byte{}
	}
	return element{s: s}
}

func intElement(n int64) element { return element{n: n} }

// head returns how many bytes come before those of a string, which for an integer are
// all.
func (e element) head() int {
	switch {
	case e.s == nil:
		return intSize(e.n)
	case len(e.s) < 64:
		return 1
	case len(e.s) < 4096:
		return 2
	}
	return 5
}

// intSize returns how many bytes an integer is encoded in.
func intSize(n int64) int {
	switch {
	case n >= 0 && n < 128:
		return 1
	case n >= -1<<12 && n < 1<<12:
		return 2
	case n >= -1<<15 && n < 1<<15:
		return 3
	case n >= -1<<23 && n < 1<<23:
		return 4
	case n >= -1<<31 && n < 1<<31:
		return 5
	}
	return 9
}

func (e element) size() int { return e.head() + len(e.s) }

// isShort reports whether s is kept as a string, between one byte for its length and
// another: what most elements are.
func isShort(s []byte) bool { return len(s) < 64 && !mayBeInt(s) }

func writeShort(b, s []byte) {
	n := len(s)
	b[n+1] = byte(n + 1)
	b[0] = 0x80 | byte(n)
	copy(b[1:], s)
}

// write puts the element at p, where there is room for it.
func (e element) write(lp []byte, p int) {
	b := lp[p:]
	switch n := len(e.s); {
	case e.s == nil:
		size := writeInt(b, e.n)
		b[size] = byte(size)
		return
	case n < 64:
		writeShort(b, e.s)
		return
	case n < 4096:
		b[0], b[1] = 0xe0|byte(n>>8), byte(n)
	default:
		b[0] = 0xf0
		binary.LittleEndian.PutUint32(b[1:], uint32(n))
	}
	copy(b[e.head():], e.s)
	putBacklen(b[e.size():], e.size())
}

// writeInt writes an integer's encoding and returns its size.
func writeInt(b []byte, n int64) int {
	size := intSize(n)
	switch size {
	case 1:
		b[0] = byte(n)
		return size
	case 2:
		b[0], b[1] = 0xc0|byte(n>>8)&0x1f, byte(n)
		return size
	case 9:
		b[0] = 0xf4
	default:
		b[0] = 0xf1 + byte(size-3)
	}
	for i := range size - 1 {
		b[1+i] = byte(n >> (8 * i))
	}
	return size
}

// EntrySize returns by how many bytes Append(s) makes a listpack longer.
func EntrySize(s []byte) int {
	e := stringElement(s)
	n := e.size()
	return n + backlenSize(n)
}

// ReplacedSize returns how long lp becomes by Replace(lp, p, s).
func ReplacedSize(lp []byte, p int, s []byte) int {
	return len(lp) - (skip(lp, p) - p) + EntrySize(s)
}

// put writes an element in place of old bytes at p.
func (e element) put(lp []byte, p, old int) []byte {
	n := e.size()
	lp = splice(lp, p, old, n+backlenSize(n))
	e.write(lp, p)
	if old == 0 {
		addCount(lp, 1)
	}
	return lp
}

// splice makes old bytes at p into n.
func splice(lp []byte, p, old, n int) []byte {
	if n == old {
		return lp
	}
	length := len(lp)
	if n > old {
		lp = slices.Grow(lp, n-old)
	}
	copy(lp[p+n:length-old+n], lp[p+old:length])
	lp = lp[:length-old+n]
	setTotal(lp)
	return lp
}

// Append adds an element at the tail.
func Append(lp, s []byte) []byte {
	e := stringElement(s)
	return e.put(lp, len(lp)-1, 0)
}

// AppendInt adds an integer at the tail.
func AppendInt(lp []byte, n int64) []byte {
	e := intElement(n)
	return e.put(lp, len(lp)-1, 0)
}

// Prepend adds an element at the head.
func Prepend(lp, s []byte) []byte {
	e := stringElement(s)
	return e.put(lp, headerSize, 0)
}

// PrependBefore is Prepend for a listpack that begins gap bytes into b, and leaves the
// other elements where they are. It returns how many bytes into b the listpack begins
// then; false when the gap is too small, and then nothing has changed.
func PrependBefore(b []byte, gap int, s []byte) (int, bool) {
	begin, short := gap-2-len(s), isShort(s)
	if !short {
		begin = gap - EntrySize(s)
	}
	if begin < 0 {
		return gap, false
	}
	n, lp := count(b[gap:]), b[begin:]
	if short {
		writeShort(lp[headerSize:], s)
	} else {
		stringElement(s).write(lp, headerSize)
	}
	setTotal(lp)
	setCount(lp, n+1) // an unknown number remains so
	return begin, true
}

// DeleteHead deletes the first element, and leaves the others where they are. It
// returns how many bytes into lp the listpack begins then.
func DeleteHead(lp []byte) int {
	n := skip(lp, headerSize) - headerSize
	elements := count(lp)
	lp = lp[n:]
	setTotal(lp)
	setCount(lp, elements)
	addCount(lp, -1)
	return n
}

// DeleteTail deletes the last element.
func DeleteTail(lp []byte) []byte {
	p := Last(lp)
	lp[p] = end
	lp = lp[:p+1]
	setTotal(lp)
	addCount(lp, -1)
	return lp
}

// Insert adds an element before or after that at p, and returns its position.
func Insert(lp []byte, p int, s []byte, after bool) ([]byte, int) {
	if after {
		p = skip(lp, p)
	}
	e := stringElement(s)
	return e.put(lp, p, 0), p
}

// Replace puts s in place of the element at p, and returns its position, which is p.
func Replace(lp []byte, p int, s []byte) ([]byte, int) {
	e := stringElement(s)
	return e.put(lp, p, skip(lp, p)-p), p
}

// ReplaceInt is Replace with an integer.
func ReplaceInt(lp []byte, p int, n int64) ([]byte, int) {
	e := intElement(n)
	return e.put(lp, p, skip(lp, p)-p), p
}

// Delete deletes the element at p and returns the position of the next, or -1.
func Delete(lp []byte, p int) ([]byte, int) { return DeleteFrom(lp, p, 1) }

// DeleteFrom deletes n elements from p on, or as many as there are, and returns the
// position of the next, or -1.
func DeleteFrom(lp []byte, p, n int) ([]byte, int) {
	tail, deleted := p, 0
	for ; deleted < n && lp[tail] != end; deleted++ {
		tail = skip(lp, tail)
	}
	lp = splice(lp, p, tail-p, 0)
	addCount(lp, -deleted)
	return lp, orNone(lp, p)
}

// DeleteRange deletes n elements, or as many as there are, from the one with this
// index on, which counts from the tail when it is negative.
func DeleteRange(lp []byte, index, n int) []byte {
	p := Seek(lp, index)
	if n <= 0 || p < 0 {
		return lp
	}
	if have := count(lp); have != unknownLen {
		if index < 0 {
			index += have
		}
		if have-index <= n {
			lp = splice(lp, p, len(lp)-1-p, 0)
			setCount(lp, index)
			return lp
		}
	}
	lp, _ = DeleteFrom(lp, p, n)
	return lp
}

// Merge appends the elements of b to a.
func Merge(a, b []byte) []byte {
	n := Len(a) + Len(b)
	a = append(a[:len(a)-1], b[headerSize:]...)
	setTotal(a)
	setCount(a, n)
	return a
}

// Valid reports whether b is a listpack: by its header and last byte, or when deep,
// by all of it, so that the other functions can be trusted with it.
func Valid(b []byte, deep bool) bool {
	if len(b) < emptySize || int64(binary.LittleEndian.Uint32(b)) != int64(len(b)) || b[len(b)-1] != end {
		return false
	}
	if !deep {
		return true
	}
	n := 0
	for p := headerSize; ; n++ {
		if b[p] == end {
			return p == len(b)-1 && (count(b) == unknownLen || count(b) == n)
		}
		next, ok := validNext(b, p)
		if !ok {
			return false
		}
		p = next
	}
}

// ValidNext is Next for a listpack of which only Valid without deep is known: it
// returns false when the element at p is not sound. A p of -1 stands before the first.
func ValidNext(b []byte, p int) (next int, ok bool) {
	next, ok = headerSize, true
	if p >= 0 {
		next, ok = validNext(b, p)
	}
	if !ok {
		return -1, false
	}
	if b[next] == end {
		return -1, next == len(b)-1
	}
	return next, true
}

// validNext checks one element and returns where the next begins, which is in b.
func validNext(b []byte, p int) (int, bool) {
	fixed := 1 // bytes that tell the size of the rest
	switch c := b[p]; {
	case c == 0xf0:
		fixed = 5
	case c >= 0xe0 && c < 0xf0:
		fixed = 2
	case c > 0xf4:
		return 0, false
	}
	if p+fixed >= len(b) {
		return 0, false
	}
	n := encodedSize(b, p)
	next := p + n + backlenSize(n)
	if next >= len(b) {
		return 0, false
	}
	return next, decodeBacklen(b, next-1) == n
}

// skip returns where the element at p ends.
func skip(lp []byte, p int) int {
	if b := lp[p]; b < 0x80 {
		return p + 2
	} else if b < 0xc0 {
		return p + 2 + int(b&0x3f) // at most 64 bytes, so the length takes one
	}
	n := encodedSize(lp, p)
	return p + n + backlenSize(n)
}

// encodedSize returns the size of an element without the length behind it.
func encodedSize(lp []byte, p int) int {
	switch b := lp[p]; {
	case b < 0x80:
		return 1
	case b < 0xc0:
		return 1 + int(b&0x3f)
	case b < 0xe0:
		return 2
	case b < 0xf0:
		return 2 + int(b&0xf)<<8 + int(lp[p+1])
	case b == 0xf0:
		return 5 + int(binary.LittleEndian.Uint32(lp[p+1:]))
	case b == 0xf1:
		return 3
	case b == 0xf2:
		return 4
	case b == 0xf3:
		return 5
	default:
		return 9
	}
}

// backlenSize returns how many bytes putBacklen writes: seven bits each, except that
// Redis takes one more already for the largest number of two, three or four bytes.
func backlenSize(n int) int {
	switch {
	case n <= 127:
		return 1
	case n < 1<<14-1:
		return 2
	case n < 1<<21-1:
		return 3
	case n < 1<<28-1:
		return 4
	}
	return 5
}

// putBacklen writes n so that it can be read from its last byte backwards: the bytes
// in big-endian order, all but the first marked by the highest bit.
func putBacklen(b []byte, n int) {
	for i := backlenSize(n) - 1; i > 0; i-- {
		b[i] = byte(n) | 0x80
		n >>= 7
	}
	b[0] = byte(n)
}

// decodeBacklen reads the length whose last byte is at p, -1 if it is longer than
// any.
func decodeBacklen(lp []byte, p int) int {
	n := 0
	for shift := 0; shift <= 28; shift += 7 {
		n |= int(lp[p]&0x7f) << shift
		if lp[p]&0x80 == 0 {
			return n
		}
		p--
	}
	return -1
}
