package rdb

import "encoding/binary"

// Before 7.0 small aggregates were ziplists, and before 2.6 small hashes were
// zipmaps. Nothing makes them any more; payloads may hold them.

// A ziplist is
//
//	offset  bytes
//	0       4      length of the whole, little-endian
//	4       4      offset of the last entry
//	8       2      number of entries; 65535: unknown
//	10      …      entries
//	        1      0xff
//
// and an entry the size of the one before it (a byte below 254, or 254 and four
// bytes), its encoding and length, and its bytes.
const (
	ziplistHeader = 10
	ziplistEnd    = 0xff
	ziplistBig    = 254 // four bytes of size follow
	ziplistMany   = 65535
)

// Ziplist calls yield with each entry of a ziplist: a view of a string, or an
// integer. It returns false when zl is not a whole ziplist or yield returns false;
// yield may have seen entries by then.
func Ziplist(zl []byte, yield func(s []byte, n int64, isInt bool) bool) bool {
	if len(zl) < ziplistHeader+1 || int64(binary.LittleEndian.Uint32(zl)) != int64(len(zl)) {
		return false
	}
	end := len(zl) - 1
	tail := binary.LittleEndian.Uint32(zl[4:])
	if zl[end] != ziplistEnd || int64(tail) > int64(end) {
		return false
	}
	count, size := 0, 0 // entries, and the size of the last
	p := ziplistHeader
	for zl[p] != ziplistEnd {
		e, ok := parseZiplistEntry(zl[p:end])
		if !ok || e.before != uint32(size) || !yield(e.s, e.n, e.s == nil) {
			return false
		}
		size = e.size
		p += e.size
		count++
	}
	if p != end || count > 0 && int(tail) != p-size {
		return false
	}
	want := int(binary.LittleEndian.Uint16(zl[8:]))
	return want == ziplistMany || want == count
}

type ziplistEntry struct {
	before uint32 // the size of the entry before
	size   int    // of this one
	s      []byte // nil for an integer
	n      int64
}

// parseZiplistEntry reads the entry that b begins with. b ends where the ziplist's
// last byte is.
func parseZiplistEntry(b []byte) (e ziplistEntry, ok bool) {
	at := 1
	e.before = uint32(b[0])
	if b[0] >= ziplistBig {
		if at = 5; len(b) <= at {
			return e, false
		}
		e.before = binary.LittleEndian.Uint32(b[1:])
	}
	if len(b) <= at {
		return e, false
	}
	head, rest := b[at], b[at+1:]
	width := 0 // of an integer, in bytes
	switch {
	case head < 0x40:
		return e.string(b, at+1, uint64(head))
	case head < 0x80:
		if len(rest) < 1 {
			return e, false
		}
		return e.string(b, at+2, uint64(head&0x3f)<<8|uint64(rest[0]))
	case head < 0xc0:
		if len(rest) < 4 {
			return e, false
		}
		return e.string(b, at+5, uint64(binary.BigEndian.Uint32(rest)))
	case head == 0xc0:
		width = 2
	case head == 0xd0:
		width = 4
	case head == 0xe0:
		width = 8
	case head == 0xf0:
		width = 3
	case head == 0xfe:
		width = 1
	case 0xf1 <= head && head <= 0xfd:
		e.n = int64(head&0xf) - 1
	default:
		return e, false
	}
	if len(rest) < width {
		return e, false
	}
	for i := range width {
		e.n |= int64(rest[i]) << (8 * i)
	}
	if width > 0 {
		unused := 64 - 8*width
		e.n = e.n << unused >> unused // the sign
	}
	e.size = at + 1 + width
	return e, true
}

func (e ziplistEntry) string(b []byte, from int, n uint64) (ziplistEntry, bool) {
	if n > uint64(len(b)-from) {
		return e, false
	}
	e.size = from + int(n)
	e.s = b[from:e.size:e.size]
	return e, true
}

// A zipmap is a byte that counts its pairs (254: unknown), the pairs, and 0xff. A
// pair is the length of the field (a byte below 254, or 254 and four bytes), the
// field, the length of the value, a byte that counts unused bytes, the value, and
// those.
const (
	zipmapEnd = 0xff
	zipmapBig = 254 // four bytes of length follow; or the number of pairs is unknown
)

// Zipmap is Ziplist for a zipmap, which must not be empty. Unlike Redis, which then
// loses its way, it refuses a length that takes five bytes and needs one.
func Zipmap(zm []byte, yield func(field, value []byte) bool) bool {
	if len(zm) < 2 || zm[len(zm)-1] != zipmapEnd {
		return false
	}
	count := 0
	for rest := zm[1:]; rest[0] != zipmapEnd; count++ {
		n, rest1, ok := zipmapLen(rest)
		if !ok || n >= len(rest1) {
			return false
		}
		field := rest1[:n:n]
		n, rest2, ok := zipmapLen(rest1[n:])
		if !ok || n+int(rest2[0]) >= len(rest2)-1 {
			return false
		}
		unused, rest3 := int(rest2[0]), rest2[1:]
		if !yield(field, rest3[:n:n]) {
			return false
		}
		rest = rest3[n+unused:]
	}
	return count > 0 && (zm[0] == zipmapBig || int(zm[0]) == count)
}

// zipmapLen reads a length and returns what is behind it, which is not empty.
func zipmapLen(b []byte) (n int, rest []byte, ok bool) {
	n, rest = int(b[0]), b[1:]
	if n >= zipmapBig {
		if len(rest) < 4 {
			return 0, nil, false
		}
		n, rest = int(binary.LittleEndian.Uint32(rest)), rest[4:]
		if n < zipmapBig {
			return 0, nil, false
		}
	}
	return n, rest, len(rest) > 0
}
