// Package lzf compresses and decompresses bytes in the format of liblzf, which
// Redis keeps long strings and the inner nodes of lists in (lzf_c.c, lzf_d.c).
//
// Compress finds the matches that liblzf finds, so that a payload made here is
// the payload that Redis would make. Decompress takes bytes from strangers: it
// must never read or write beyond them, and never allocate more than they can
// mean.
package lzf

import (
	"errors"
	"math"
	"sync"
)

// A compressed stream is a sequence of runs, each begun by a control byte:
//
//	000LLLLL                     LLLLL+1 literal bytes follow
//	LLLooooo oooooooo            copy LLL+2 bytes from o+1 bytes back
//	111ooooo LLLLLLLL oooooooo   copy LLLLLLLL+9 bytes from o+1 bytes back
const (
	maxLiterals = 1 << 5
	maxOffset   = 1 << 13
	maxMatch    = 1<<8 + 1<<3

	// maxRatio bounds how many bytes one compressed byte can mean: three of them
	// are a match of the longest kind.
	maxRatio = maxMatch / 3

	hashBits = 16 // HLOG
)

// MinGain is how many bytes Compress must save at least.
const MinGain = 4

// ErrCorrupt says that bytes are not what Compress could have made.
var ErrCorrupt = errors.New("lzf: corrupt data")

// table holds, by the hash of three bytes, where they were seen last: the
// position plus base. What is below base is of an earlier call, so that a call
// need not clear 256 KiB to compress a hundred bytes.
type table struct {
	seen [1 << hashBits]uint32
	base uint32
}

var tables = sync.Pool{New: func() any { return new(table) }}

func slot(v uint32) uint32 { return (v>>(24-hashBits) - v*5) & (1<<hashBits - 1) }

func three(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }

// Compress appends the compressed src to dst. It returns nil when that would not
// save MinGain bytes, or src is too long for a position to be 32 bits.
func Compress(dst, src []byte) []byte {
	if len(src) <= MinGain || len(src) > math.MaxUint32/2 {
		return nil
	}
	t := tables.Get().(*table)
	if t.base > math.MaxUint32-uint32(len(src)) {
		*t = table{}
	}
	dst = t.compress(dst, src, len(src)-MinGain)
	t.base += uint32(len(src))
	tables.Put(t)
	return dst
}

// compress appends at most limit bytes. Where it gives up, a little before the
// limit would be exceeded, is liblzf's too.
func (t *table) compress(dst, src []byte, limit int) []byte {
	// out is written beyond its limit by at most one run.
	start := len(dst)
	if need := start + limit + maxLiterals + 4; cap(dst) < need {
		dst = append(make([]byte, 0, need), dst...)
	}
	out := dst[start:cap(dst)]
	ip, op := 0, 1 // op is behind the control byte of the run under way
	literals := 0
	last := len(src) - 2
	for ip < last {
		v := three(src[ip:])
		s := &t.seen[slot(v)]
		ref := int(*s) - int(t.base)
		*s = t.base + uint32(ip)
		// As in liblzf, the first byte is never the beginning of a match.
		if off := ip - ref - 1; ref > 0 && off < maxOffset && three(src[ref:]) == v {
			back := 0
			if literals == 0 {
				back = 1
			}
			if op-back+4 >= limit {
				return nil
			}
			n := 3
			most := min(len(src)-ip-2, maxMatch)
			if most > 16 {
				most = max(most, 19) // liblzf compares the first 16 unrolled
			}
			for n < most && src[ref+n] == src[ip+n] {
				n++
			}
			out[op-literals-1] = byte(literals - 1)
			op -= back // there are no literals: the control byte is not needed
			if n-2 < 7 {
				out[op] = byte(off>>8 + (n-2)<<5)
				op++
			} else {
				out[op] = byte(off>>8 + 7<<5)
				out[op+1] = byte(n - 2 - 7)
				op += 2
			}
			out[op] = byte(off)
			op += 2
			literals = 0
			ip += n
			if ip >= last {
				break
			}
			// Of the bytes that matched only the last two begin a future match.
			t.seen[slot(three(src[ip-2:]))] = t.base + uint32(ip-2)
			t.seen[slot(three(src[ip-1:]))] = t.base + uint32(ip-1)
			continue
		}
		if op >= limit {
			return nil
		}
		out[op] = src[ip]
		op++
		ip++
		if literals++; literals == maxLiterals {
			out[op-literals-1] = byte(literals - 1)
			literals = 0
			op++
		}
	}
	if op+3 > limit {
		return nil
	}
	for ; ip < len(src); ip++ {
		out[op] = src[ip]
		op++
		if literals++; literals == maxLiterals {
			out[op-literals-1] = byte(literals - 1)
			literals = 0
			op++
		}
	}
	if literals == 0 {
		op--
	} else {
		out[op-literals-1] = byte(literals - 1)
	}
	return dst[:start+op]
}

// Decompress appends to dst the n bytes that src means. When src means anything
// else it returns ErrCorrupt, and dst as it was.
func Decompress(dst, src []byte, n int) ([]byte, error) {
	if n < 0 || n/maxRatio > len(src) {
		return dst, ErrCorrupt
	}
	start := len(dst)
	if cap(dst)-start < n {
		dst = append(make([]byte, 0, start+n), dst...)
	}
	out := dst[start : start+n]
	ip, op := 0, 0
	for ip < len(src) {
		control := int(src[ip])
		ip++
		if control < maxLiterals {
			k := control + 1
			if k > len(src)-ip || k > n-op {
				return dst, ErrCorrupt
			}
			copy(out[op:], src[ip:ip+k])
			ip, op = ip+k, op+k
			continue
		}
		k := control >> 5
		if k == 7 {
			if ip >= len(src) {
				return dst, ErrCorrupt
			}
			k += int(src[ip])
			ip++
		}
		k += 2
		if ip >= len(src) {
			return dst, ErrCorrupt
		}
		ref := op - (control&31)<<8 - int(src[ip]) - 1
		ip++
		if ref < 0 || k > n-op {
			return dst, ErrCorrupt
		}
		if ref+k <= op {
			copy(out[op:op+k], out[ref:])
			op += k
			continue
		}
		// The match overlaps what it makes: a pattern of op-ref bytes, repeated.
		for end := op + k; op < end; {
			op += copy(out[op:end], out[ref:op])
		}
	}
	if op != n {
		return dst, ErrCorrupt
	}
	return dst[:start+n], nil
}
