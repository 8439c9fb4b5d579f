package bitmap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

func bit(b []byte, i int64) bool { return b[i>>3]>>(7-i&7)&1 != 0 }

// samples returns byte strings whose lengths lie about every step of the loops:
// all clear, all set, sparse, and random, at odd addresses.
func samples(rng *rand.Rand) (all [][]byte) {
	for _, n := range []int{0, 1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 100, 127, 128, 200, block - 1, block, block + 1, 2*block + 70} {
		for kind := range 4 {
			b := make([]byte, n+8)[1+rng.IntN(7):][:n]
			for i := range b {
				switch kind {
				case 1:
					b[i] = 0xff
				case 2:
					b[i] = byte(rng.Uint32())
				}
			}
			if kind == 3 && n > 0 {
				b[rng.IntN(n)] = 1 << rng.IntN(8)
			}
			all = append(all, b)
		}
	}
	return all
}

func TestCount(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, b := range samples(rng) {
		size := int64(len(b)) * 8
		want := int64(0)
		for i := range size {
			if bit(b, i) {
				want++
			}
		}
		if got := Count(b); got != want {
			t.Errorf("Count of %d bytes is %d, want %d", len(b), got, want)
		}
		for range 30 {
			if size == 0 {
				break
			}
			first := rng.Int64N(size)
			last := first + rng.Int64N(min(size-first, 1+rng.Int64N(300)))
			want := int64(0)
			for i := first; i <= last; i++ {
				if bit(b, i) {
					want++
				}
			}
			if got := CountRange(b, first, last); got != want {
				t.Errorf("CountRange of %d bytes, %d to %d, is %d, want %d", len(b), first, last, got, want)
			}
		}
	}
}

func TestPos(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, b := range samples(rng) {
		size := int64(len(b)) * 8
		if size == 0 {
			continue
		}
		for range 40 {
			first := rng.Int64N(size)
			last := first + rng.Int64N(size-first)
			for _, set := range []bool{false, true} {
				want := int64(-1)
				for i := first; i <= last; i++ {
					if bit(b, i) == set {
						want = i
						break
					}
				}
				if got := Pos(b, set, first, last); got != want {
					t.Fatalf("Pos of %d bytes, %v, %d to %d, is %d, want %d", len(b), set, first, last, got, want)
				}
			}
		}
	}
}

// naive combines byte by byte.
func naive(op Op, n int, sources [][]byte) []byte {
	out := make([]byte, n)
	for i := range out {
		for j, s := range sources {
			v := byte(0)
			if i < len(s) {
				v = s[i]
			}
			switch {
			case op == Not:
				v = ^v
			case j == 0:
			case op == And:
				v &= out[i]
			case op == Or:
				v |= out[i]
			case op == Xor:
				v ^= out[i]
			}
			out[i] = v
		}
	}
	return out
}

func TestCombine(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	all := samples(rng)
	for range 1000 {
		op := Op(rng.IntN(4))
		count := 1
		if op != Not {
			count = 1 + rng.IntN(4)
		}
		var sources [][]byte
		n := rng.IntN(30)
		for range count {
			s := all[rng.IntN(len(all))]
			sources = append(sources, s)
			n = max(n, len(s))
		}
		want := naive(op, n, sources)
		around := bytes.Repeat([]byte{0xA5}, n+2)
		dst := around[1 : n+1]
		Combine(op, dst, sources)
		if !bytes.Equal(dst, want) || around[0] != 0xA5 || around[n+1] != 0xA5 {
			t.Fatalf("op %d of %d sources to %d bytes is wrong", op, count, n)
		}
		clear(dst)
		copy(dst, sources[0])
		sources[0] = dst[:len(sources[0])]
		Combine(op, dst, sources)
		if !bytes.Equal(dst, want) {
			t.Fatalf("op %d of %d sources to %d bytes, in place, is wrong", op, count, n)
		}
	}
}

func TestFields(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	b := make([]byte, 24)
	for range 20000 {
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		width := uint(1 + rng.IntN(64))
		offset := uint64(rng.IntN(len(b)*8 - int(width) + 1))
		field := func(b []byte) (v uint64) {
			for i := range int64(width) {
				v <<= 1
				if at := int64(offset) + i; at < int64(len(b))*8 && bit(b, at) {
					v |= 1
				}
			}
			return v
		}
		want := field(b)
		if got := Field(b, offset, width); got != want {
			t.Fatalf("Field at %d of %d bits is %x, want %x", offset, width, got, want)
		}
		signed := int64(want)
		if width < 64 && want>>(width-1) != 0 {
			signed -= 1 << width
		}
		if got := SignedField(b, offset, width); got != signed {
			t.Fatalf("SignedField at %d of %d bits is %d, want %d", offset, width, got, signed)
		}
		short := b[:rng.IntN(len(b))]
		if got, want := Field(short, offset, width), field(short); got != want {
			t.Fatalf("Field at %d of %d bits, of %d bytes, is %x, want %x", offset, width, len(short), got, want)
		}
		before := bytes.Clone(b)
		v := rng.Uint64()
		SetField(b, offset, width, v)
		for i := range int64(len(b)) * 8 {
			want := bit(before, i)
			if d := i - int64(offset); d >= 0 && d < int64(width) {
				want = v>>(int64(width)-1-d)&1 != 0
			}
			if bit(b, i) != want {
				t.Fatalf("SetField at %d of %d bits: bit %d is wrong", offset, width, i)
			}
		}
	}
	if Field(nil, 1<<40, 64) != 0 {
		t.Error("beyond the end there are ones")
	}
}

func FuzzBits(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x01"), []byte("abc"), uint64(3), uint8(9))
	f.Fuzz(func(t *testing.T, a, b []byte, offset uint64, width uint8) {
		n := max(len(a), len(b))
		for _, op := range []Op{And, Or, Xor} {
			dst := make([]byte, n)
			Combine(op, dst, [][]byte{a, b})
			if !bytes.Equal(dst, naive(op, n, [][]byte{a, b})) {
				t.Errorf("op %d is wrong", op)
			}
		}
		if len(a) == 0 {
			return
		}
		size := int64(len(a)) * 8
		first := int64(offset % uint64(size))
		ones := CountRange(a, first, size-1)
		if pos := Pos(a, true, first, size-1); (pos < 0) != (ones == 0) || pos >= 0 && (!bit(a, pos) || CountRange(a, first, pos) != 1) {
			t.Errorf("Pos from %d is %d, with %d ones", first, pos, ones)
		}
		Field(a, offset>>1, uint(width%64)+1)
	})
}

// The sizes say where the strings live: in the second-level cache, and in memory.
func BenchmarkBits(b *testing.B) {
	for _, size := range []int{64 << 10, 64 << 20} {
		x, y, dst, zero := make([]byte, size), make([]byte, size), make([]byte, size), make([]byte, size)
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range x {
			x[i], y[i], dst[i] = byte(rng.Uint32()), byte(rng.Uint32()), 1
		}
		for _, c := range []struct {
			name string
			run  func()
		}{
			{"Count", func() { Count(x) }},
			{"Pos", func() { Pos(zero, true, 9, int64(size)*8-1) }},
			{"And", func() { Combine(And, dst, [][]byte{x, y}) }},
			{"Or", func() { Combine(Or, dst, [][]byte{x, y}) }},
			{"Xor", func() { Combine(Xor, dst, [][]byte{x, y}) }},
			{"Not", func() { Combine(Not, dst, [][]byte{x}) }},
			{"And3", func() { Combine(And, dst, [][]byte{x, y, x}) }},
		} {
			b.Run(fmt.Sprintf("%s/%dK", c.name, size>>10), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					c.run()
				}
			})
		}
	}
}
