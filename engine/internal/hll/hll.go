// Package hll is HyperLogLog as Redis has it (hyperloglog.c): an estimate of how
// many different elements were added, in a string whose bytes are Redis's to the
// bit, so that it can be copied between the two.
//
// A string begins with a header:
//
//	offset  bytes
//	0       4      "HYLL"
//	4       1      encoding: 0 dense, 1 sparse
//	5       3      not used
//	8       8      the last estimate, little-endian; not valid when the highest bit is set
//
// Behind it are Registers numbers of six bits: dense, little-endian one after the
// other; or sparse, as a sequence of opcodes, each for a run of equal registers:
//
//	00xxxxxx           xxxxxx+1 registers are 0 (ZERO)
//	01xxxxxx yyyyyyyy  xxxxxxyyyyyyyy+1 registers are 0 (XZERO)
//	1vvvvvxx           xx+1 registers are vvvvv+1 (VAL)
//
// Clients may write such strings themselves. The package must never panic on what
// they wrote nor read beyond it: functions that meet a sequence of opcodes that
// does not make Registers registers say so.
package hll

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
)

const (
	// Registers is how many there are: 2^14 give a standard error of 0.81 %.
	Registers  = 1 << registerBits
	HeaderSize = 16
	DenseSize  = HeaderSize + Registers*width/8

	registerBits = 14
	hashBits     = 64 - registerBits // of the hash that a register's value is made from
	width        = 6                 // bits of a register, dense
	most         = 1<<width - 1      // in a register

	encodingAt = 4
	cacheAt    = 8

	dense  = 0
	sparse = 1

	zeroMax  = 64 // the longest run of each opcode
	xzeroMax = 16384
	valMax   = 4
	valMost  = 32 // the largest value of a VAL
)

const magic = "HYLL"

// AppendNew appends an empty HyperLogLog, which is sparse.
func AppendNew(dst []byte) []byte {
	dst = append(dst, magic...)
	dst = append(dst, sparse, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	return appendZeroes(dst, Registers)
}

// IsValid reports whether a string has the header, and the length, of a
// HyperLogLog. Its opcodes may still be wrong.
func IsValid(b []byte) bool {
	return len(b) >= HeaderSize && bytes.HasPrefix(b, []byte(magic)) &&
		(b[encodingAt] == sparse || b[encodingAt] == dense && len(b) == DenseSize)
}

// IsDense reports whether a valid HyperLogLog is dense.
func IsDense(b []byte) bool { return b[encodingAt] == dense }

// Cached returns the estimate in the header, if it is valid.
func Cached(b []byte) (uint64, bool) {
	n := binary.LittleEndian.Uint64(b[cacheAt:])
	return n, n>>63 == 0
}

// SetCached writes an estimate to the header.
func SetCached(b []byte, n uint64) { binary.LittleEndian.PutUint64(b[cacheAt:], n) }

// Invalidate says that the estimate in the header is out of date.
func Invalidate(b []byte) { b[HeaderSize-1] |= 0x80 }

// hash is MurmurHash64A with the seed that Redis uses for this.
func hash(b []byte) uint64 {
	const m, r = 0xc6a4a7935bd1e995, 47
	h := 0xadc83b19 ^ uint64(len(b))*m
	for ; len(b) >= 8; b = b[8:] {
		k := binary.LittleEndian.Uint64(b) * m
		k ^= k >> r
		h ^= k * m
		h *= m
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		h ^= binary.LittleEndian.Uint64(last[:])
		h *= m
	}
	h ^= h >> r
	h *= m
	return h ^ h>>r
}

// register returns the register that an element belongs to, and the value that it
// must have at least: the length of the run of zeroes in the element's hash, and
// one.
func register(element []byte) (index int, value byte) {
	h := hash(element)
	return int(h & (Registers - 1)), byte(bits.TrailingZeros64(h>>registerBits|1<<hashBits)) + 1
}

// denseGet and denseSet take the registers of a dense HyperLogLog, without header.
func denseGet(r []byte, index int) byte {
	at, shift := index*width/8, index*width%8
	v := r[at] >> shift
	if shift > 8-width {
		v |= r[at+1] << (8 - shift)
	}
	return v & most
}

func denseSet(r []byte, index int, v byte) {
	at, shift := index*width/8, index*width%8
	r[at] = r[at]&^(most<<shift) | v<<shift
	if shift > 8-width {
		r[at+1] = r[at+1]&^(most>>(8-shift)) | v>>(8-shift)
	}
}

// Add adds an element to b and returns the result, which is in b's memory when
// that has room, and whether a register has changed. A sparse one that would
// become longer than sparseMax bytes becomes dense. A dense one keeps its length.
// ok is false when b is corrupt; it is then as before. The cached estimate is the
// caller's to invalidate, once for several elements.
func Add(b, element []byte, sparseMax int) (_ []byte, changed, ok bool) {
	index, value := register(element)
	return Raise(b, index, value, sparseMax)
}

// Raise sees to it that a register has at least the given value, as Add does.
func Raise(b []byte, index int, value byte, sparseMax int) (_ []byte, changed, ok bool) {
	if IsDense(b) {
		r := b[HeaderSize:]
		if denseGet(r, index) >= value {
			return b, false, true
		}
		denseSet(r, index, value)
		return b, true, true
	}
	if value <= valMost {
		if out, changed, result := sparseSet(b, index, value, sparseMax); result != tooLong {
			return out, changed, result == done
		}
	}
	if b, ok = ToDense(b); !ok {
		return b, false, false
	}
	return Raise(b, index, value, sparseMax)
}

// opcode reads the opcode at p: its run, the value of its registers, and its
// length. One that is cut off ends with a zero byte, as a string does in C.
func opcode(b []byte, p int) (run int, value byte, size int) {
	switch op := b[p]; {
	case op&0x80 != 0:
		return int(op&3) + 1, op>>2&0x1f + 1, 1
	case op&0x40 != 0:
		second := byte(0)
		if p+1 < len(b) {
			second = b[p+1]
		}
		return int(op&0x3f)<<8 + int(second) + 1, 0, 2
	default:
		return int(op) + 1, 0, 1
	}
}

func valOpcode(value byte, run int) byte { return 0x80 | (value-1)<<2 | byte(run-1) }

func appendZeroes(dst []byte, run int) []byte {
	if run > zeroMax {
		return append(dst, 0x40|byte((run-1)>>8), byte(run-1))
	}
	return append(dst, byte(run-1))
}

// appendRun appends the opcode of a run, which may be empty.
func appendRun(dst []byte, value byte, run int) []byte {
	switch {
	case run == 0:
		return dst
	case value == 0:
		return appendZeroes(dst, run)
	}
	return append(dst, valOpcode(value, run))
}

// What became of sparseSet.
type outcome uint8

const (
	done outcome = iota
	corrupt
	tooLong // the result would exceed the limit
)

// sparseSet raises a register of a sparse HyperLogLog to value, 1 to valMost.
func sparseSet(b []byte, index int, value byte, limit int) (_ []byte, changed bool, _ outcome) {
	// Find the opcode that covers the register, and the one before it.
	p, prev, first := HeaderSize, HeaderSize, 0
	var run, size int
	var old byte
	for {
		if p >= len(b) {
			return b, false, corrupt
		}
		run, old, size = opcode(b, p)
		if index < first+run {
			break
		}
		prev = p
		p += size
		first += run
	}
	switch {
	case old >= value:
		return b, false, done
	case run == 1 && size == 1:
		b[p] = valOpcode(value, 1)
	default:
		// The run falls into what precedes the register, itself, and what follows.
		var room [5]byte
		split := appendRun(room[:0], old, index-first)
		split = append(split, valOpcode(value, 1))
		split = appendRun(split, old, first+run-1-index)
		delta := len(split) - size
		if delta > 0 && len(b)+delta > limit {
			return b, false, tooLong
		}
		n := len(b)
		next := min(p+size, n)
		if delta > 0 {
			b = append(b, room[:delta]...)
		}
		copy(b[next+delta:], b[next:n])
		b = b[:n+delta]
		copy(b[p:], split)
	}
	return mergeRuns(b, prev), true, done
}

// mergeRuns joins equal VAL opcodes among the five from p on.
func mergeRuns(b []byte, p int) []byte {
	for left := 5; p < len(b) && left > 0; left-- {
		run, value, size := opcode(b, p)
		if value != 0 && p+1 < len(b) {
			if run2, value2, _ := opcode(b, p+1); value2 == value && run+run2 <= valMax {
				b[p+1] = valOpcode(value, run+run2)
				b = append(b[:p], b[p+1:]...)
				continue // with the joined one
			}
		}
		p += size
	}
	return b
}

// ToDense makes b dense, in its memory when that has room. ok is false when b is
// corrupt; it is then as before.
func ToDense(b []byte) (_ []byte, ok bool) {
	if IsDense(b) {
		return b, true
	}
	var registers [Registers]byte
	if !Merge(&registers, b) {
		return b, false
	}
	if cap(b) < DenseSize {
		b = append(make([]byte, 0, DenseSize), b[:HeaderSize]...)
	}
	b = b[:DenseSize]
	b[encodingAt] = dense
	r := b[HeaderSize:]
	for i := 0; i < Registers; i += 4 {
		v := (*[4]byte)(registers[i:])
		p := (*[3]byte)(r[i/4*3:])
		p[0] = v[0] | v[1]<<6
		p[1] = v[1]>>2 | v[2]<<4
		p[2] = v[2]>>4 | v[3]<<2
	}
	return b, true
}

// Merge raises each of registers to that of b, and reports whether b is sound. If
// it is not, some may have been raised.
func Merge(registers *[Registers]byte, b []byte) bool {
	if IsDense(b) {
		r := b[HeaderSize:DenseSize]
		for i := 0; i < Registers; i += 4 {
			v := (*[4]byte)(registers[i:])
			p := (*[3]byte)(r[i/4*3:])
			v[0] = max(v[0], p[0]&most)
			v[1] = max(v[1], p[0]>>6|p[1]<<2&most)
			v[2] = max(v[2], p[1]>>4|p[2]<<4&most)
			v[3] = max(v[3], p[2]>>2)
		}
		return true
	}
	i := 0
	for p := HeaderSize; p < len(b); {
		run, value, size := opcode(b, p)
		if i+run > Registers {
			return false
		}
		if value != 0 {
			for j := i; j < i+run; j++ {
				registers[j] = max(registers[j], value)
			}
		}
		i += run
		p += size
	}
	return i == Registers
}

// histogram is how many registers have each value.
type histogram [most + 1]int

// Count estimates the number of different elements that were added to b. ok is
// false when b is corrupt.
func Count(b []byte) (n uint64, ok bool) {
	var h histogram
	if IsDense(b) {
		r := b[HeaderSize:DenseSize]
		for i := 0; i < len(r); i += 3 {
			p := (*[3]byte)(r[i:])
			h[p[0]&most]++
			h[(p[0]>>6|p[1]<<2)&most]++
			h[(p[1]>>4|p[2]<<4)&most]++
			h[p[2]>>2]++
		}
		return h.estimate(), true
	}
	i := 0
	for p := HeaderSize; p < len(b); {
		run, value, size := opcode(b, p)
		h[value] += run
		i += run
		p += size
	}
	if i != Registers {
		return 0, false
	}
	return h.estimate(), true
}

// CountRegisters is Count for registers that Merge has filled.
func CountRegisters(registers *[Registers]byte) uint64 {
	var h histogram
	for _, v := range registers {
		h[v&most]++
	}
	return h.estimate()
}

// estimate is algorithm 6 of Otmar Ertl, "New cardinality estimation algorithms for
// HyperLogLog sketches", arXiv:1702.01284. The conversions keep compilers from
// fusing a product and a sum, which would round differently.
func (h *histogram) estimate() uint64 {
	const alpha = 0.721347520444481703680 // 0.5/ln 2
	const m = float64(Registers)
	z := float64(m * tau((m-float64(h[hashBits+1]))/m))
	for j := hashBits; j >= 1; j-- {
		z += float64(h[j])
		z *= 0.5
	}
	z += float64(m * sigma(float64(h[0])/m))
	e := math.Round(alpha * m * m / z)
	if e >= 1<<63 {
		return 1 << 63 // registers that no hash gives; what C's llround then returns
	}
	return uint64(e)
}

func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for {
		x *= x
		before := z
		z += float64(x * y)
		y += y
		if before == z {
			return z
		}
	}
}

func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for {
		x = math.Sqrt(x)
		before := z
		y *= 0.5
		z -= float64(float64((1-x)*(1-x)) * y)
		if before == z {
			return z / 3
		}
	}
}
