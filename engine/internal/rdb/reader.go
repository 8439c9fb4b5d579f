package rdb

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/redscope/redscope/engine/internal/lzf"
)

// LenError is what Len returns when there is no length. It is also the largest
// length there is, and Redis does not tell the two apart.
const LenError = math.MaxUint64

// Reader reads what the Append functions have written, and all that Redis reads
// besides.
type Reader struct {
	b   []byte
	pos int
	// Short says that a read went beyond the end. It stays true: Redis looks at it
	// once after several reads.
	Short bool
}

// NewReader returns a Reader of b, of which strings may become views.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Rest returns how many bytes have not been read.
func (r *Reader) Rest() int { return len(r.b) - r.pos }

// Bytes returns a view of the next n bytes.
func (r *Reader) Bytes(n uint64) ([]byte, bool) {
	if n > uint64(r.Rest()) {
		r.Short = true
		return nil, false
	}
	p := r.pos
	r.pos += int(n)
	return r.b[p:r.pos:r.pos], true
}

// Byte reads one byte, a Type for example.
func (r *Reader) Byte() (byte, bool) {
	b, ok := r.Bytes(1)
	if !ok {
		return 0, false
	}
	return b[0], true
}

// Len reads a length, or LenError. Where a string's encoding stands, that is taken
// for the length, as Redis does where it does not expect one.
func (r *Reader) Len() uint64 {
	n, _ := r.lenOrEncoding()
	return n
}

func (r *Reader) lenOrEncoding() (n uint64, encoded bool) {
	head, ok := r.Byte()
	if !ok {
		return LenError, false
	}
	switch rest := head & 0x3f; {
	case head>>6 == lenEncoded:
		return uint64(rest), true
	case head>>6 == len6:
		return uint64(rest), false
	case head>>6 == len14:
		if low, ok := r.Byte(); ok {
			return uint64(rest)<<8 | uint64(low), false
		}
	case head == len32:
		if b, ok := r.Bytes(4); ok {
			return uint64(binary.BigEndian.Uint32(b)), false
		}
	case head == len64:
		if b, ok := r.Bytes(8); ok {
			return binary.BigEndian.Uint64(b), false
		}
	}
	return LenError, false
}

// String reads a string. It is a view of the input or, when it is written as an
// integer or compressed, of scratch, which grows: it holds until the next call with
// the same scratch.
func (r *Reader) String(scratch *[]byte) ([]byte, bool) {
	n, encoded := r.lenOrEncoding()
	if !encoded {
		// A length that is no length is longer than any input.
		return r.Bytes(n)
	}
	var value int64
	switch n {
	case encodedInt8:
		b, ok := r.Byte()
		if !ok {
			return nil, false
		}
		value = int64(int8(b))
	case encodedInt16:
		b, ok := r.Bytes(2)
		if !ok {
			return nil, false
		}
		value = int64(int16(binary.LittleEndian.Uint16(b)))
	case encodedInt32:
		b, ok := r.Bytes(4)
		if !ok {
			return nil, false
		}
		value = int64(int32(binary.LittleEndian.Uint32(b)))
	case encodedLZF:
		return r.compressed(scratch)
	default:
		return nil, false
	}
	*scratch = strconv.AppendInt((*scratch)[:0], value, 10)
	return *scratch, true
}

func (r *Reader) compressed(scratch *[]byte) ([]byte, bool) {
	size, n := r.Len(), r.Len()
	z, ok := r.Bytes(size)
	if !ok || n > math.MaxInt64 {
		return nil, false
	}
	if n == 0 {
		// Redis decompresses nothing to nothing, and anything else fails with the
		// length 0, which is the one wanted.
		return (*scratch)[:0], true
	}
	out, err := lzf.Decompress((*scratch)[:0], z, int(n))
	if err != nil {
		return nil, false
	}
	*scratch = out
	return out, true
}

// Double reads a score as AppendDouble writes it.
func (r *Reader) Double() (float64, bool) {
	b, ok := r.Bytes(8)
	if !ok {
		return 0, false
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b)), true
}

// Millis reads a time, Unix ms. When there is none it returns the largest time
// there is, and Short is true.
func (r *Reader) Millis() int64 {
	b, ok := r.Bytes(8)
	if !ok {
		return math.MaxInt64
	}
	return int64(binary.LittleEndian.Uint64(b))
}

// TextDouble reads a score as a TypeZset has it: its length and as many characters,
// or one of three special lengths.
func (r *Reader) TextDouble() (float64, bool) {
	n, ok := r.Byte()
	if !ok {
		return 0, false
	}
	switch n {
	case 255:
		return math.Inf(-1), true
	case 254:
		return math.Inf(1), true
	case 253:
		return math.NaN(), true
	}
	text, ok := r.Bytes(uint64(n))
	if !ok {
		return 0, false
	}
	return scanDouble(text)
}
