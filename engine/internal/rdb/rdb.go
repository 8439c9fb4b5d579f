// Package rdb knows the primitives of Redis's serialization, version 10: lengths,
// strings, numbers, type numbers, and the footer of a DUMP payload (rdb.c). What an
// object of some type is made of is the caller's affair.
//
// Writing appends to a slice and allocates only what that needs. Reading takes bytes
// from strangers: it must never panic, nor allocate more than the bytes that are
// there can mean.
package rdb

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/redscope/redscope/engine/internal/crc64"
	"github.com/redscope/redscope/engine/internal/lzf"
	"github.com/redscope/redscope/engine/internal/resp"
)

// Version is the version that is written, and the latest that is read.
const Version = 10

// Type is the first byte of an object: its type and how it is written.
type Type byte

const (
	TypeString           Type = 0
	TypeList             Type = 1 // read only, as are all that say so
	TypeSet              Type = 2
	TypeZset             Type = 3 // scores as text; read only
	TypeHash             Type = 4
	TypeZset2            Type = 5
	TypeHashZipmap       Type = 9  // read only
	TypeListZiplist      Type = 10 // read only
	TypeSetIntset        Type = 11
	TypeZsetZiplist      Type = 12 // read only
	TypeHashZiplist      Type = 13 // read only
	TypeListQuicklist    Type = 14 // nodes are ziplists; read only
	TypeStreamListpacks  Type = 15 // without first ID and counts; read only
	TypeHashListpack     Type = 16
	TypeZsetListpack     Type = 17
	TypeListQuicklist2   Type = 18 // nodes are listpacks or plain
	TypeStreamListpacks2 Type = 19
)

// The containers of the nodes of a TypeListQuicklist2.
const (
	NodePlain  = 1
	NodePacked = 2
)

// The first two bits of a length say how long it is. With the last of them it is
// no length but the encoding of a string.
const (
	len6       = 0
	len14      = 1
	lenLong    = 2 // the rest of the byte tells, see len32 and len64
	lenEncoded = 3

	len32 = 0x80
	len64 = 0x81
)

// How a string is encoded, when lenEncoded says that it is.
const (
	encodedInt8  = 0
	encodedInt16 = 1
	encodedInt32 = 2
	encodedLZF   = 3
)

const (
	// maxIntDigits is the length of the longest string that is written as an
	// integer: -2147483648.
	maxIntDigits = 11
	// compressAbove is the length of the longest string that is not compressed.
	compressAbove = 20
	// maxLen is the most bytes that AppendLen adds.
	maxLen = 9
)

// AppendLen appends a length, or another number that is mostly small.
func AppendLen(dst []byte, n uint64) []byte {
	switch {
	case n < 1<<6:
		return append(dst, byte(n))
	case n < 1<<14:
		return append(dst, len14<<6|byte(n>>8), byte(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, len32), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, len64), n)
}

// AppendString appends a string, as an integer if it is one of 32 bits, and else
// compressed if the caller wants that and it helps.
func AppendString(dst, s []byte, compress bool) []byte {
	if len(s) <= maxIntDigits {
		if n, ok := resp.ParseInt(s); ok && n == int64(int32(n)) {
			return AppendInt(dst, n)
		}
	}
	if compress && len(s) > compressAbove {
		if out, ok := appendLZF(dst, s); ok {
			return out
		}
	}
	return append(AppendLen(dst, uint64(len(s))), s...)
}

func appendLZF(dst, s []byte) ([]byte, bool) {
	// How long the head is depends on what follows: leave room for the longest.
	const room = 1 + 2*maxLen
	var head [room]byte
	start := len(dst)
	z := lzf.Compress(append(dst, head[:]...), s)
	if z == nil {
		return dst, false
	}
	data := z[start+room:]
	h := AppendLen(append(head[:0], lenEncoded<<6|encodedLZF), uint64(len(data)))
	h = AppendLen(h, uint64(len(s)))
	n := copy(z[start:], h)
	n += copy(z[start+n:], data)
	return z[:start+n], true
}

// AppendCompressed appends a string of n bytes that lzf has compressed to z.
func AppendCompressed(dst, z []byte, n int) []byte {
	dst = AppendLen(append(dst, lenEncoded<<6|encodedLZF), uint64(len(z)))
	return append(AppendLen(dst, uint64(n)), z...)
}

// AppendInt appends the string that is the decimal form of n.
func AppendInt(dst []byte, n int64) []byte {
	switch {
	case n == int64(int8(n)):
		return append(dst, lenEncoded<<6|encodedInt8, byte(n))
	case n == int64(int16(n)):
		return append(dst, lenEncoded<<6|encodedInt16, byte(n), byte(n>>8))
	case n == int64(int32(n)):
		return binary.LittleEndian.AppendUint32(append(dst, lenEncoded<<6|encodedInt32), uint32(n))
	}
	var digits [20]byte
	s := strconv.AppendInt(digits[:0], n, 10)
	return append(AppendLen(dst, uint64(len(s))), s...)
}

// AppendDouble appends a score.
func AppendDouble(dst []byte, f float64) []byte {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f))
}

// AppendMillis appends a time, Unix ms.
func AppendMillis(dst []byte, ms int64) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(ms))
}

// The footer of a DUMP payload: two bytes of version and eight of checksum.
const (
	versionSize  = 2
	checksumSize = 8
	footerSize   = versionSize + checksumSize
)

// AppendFooter ends the payload that begins at start.
func AppendFooter(b []byte, start int) []byte {
	b = binary.LittleEndian.AppendUint16(b, Version)
	return binary.LittleEndian.AppendUint64(b, crc64.Update(0, b[start:]))
}

// Verify reports whether a payload's footer has a version that is understood here
// and the right checksum.
func Verify(payload []byte) bool {
	if len(payload) < footerSize {
		return false
	}
	body, sum := payload[:len(payload)-checksumSize], payload[len(payload)-checksumSize:]
	version := binary.LittleEndian.Uint16(body[len(body)-versionSize:])
	return version <= Version && crc64.Update(0, body) == binary.LittleEndian.Uint64(sum)
}
