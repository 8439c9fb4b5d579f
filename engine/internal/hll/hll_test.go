package hll

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// registersOf decodes opcodes the slow way, or returns nil when they are wrong.
func registersOf(b []byte) []byte {
	if IsDense(b) {
		r := make([]byte, Registers)
		for i := range r {
			for bit := range width {
				at := i*width + bit
				r[i] |= b[HeaderSize+at/8] >> (at % 8) & 1 << bit
			}
		}
		return r
	}
	var r []byte
	for p := HeaderSize; p < len(b); {
		run, value, size := opcode(b, p)
		if value == 0 && len(r)+run > Registers+1 {
			run = Registers + 1 - len(r) // no need to make them
		}
		if len(r) > Registers {
			return nil
		}
		r = append(r, bytes.Repeat([]byte{value}, run)...)
		p += size
	}
	if len(r) != Registers {
		return nil
	}
	return r
}

func TestAdd(t *testing.T) {
	for _, limit := range []int{0, 18, 100, 3000, 100000} {
		b := AppendNew(nil)
		model := make([]byte, Registers)
		dense := false
		for i := range 20000 {
			element := fmt.Appendf(nil, "element %d", i)
			index, value := register(element)
			want := value > model[index]
			model[index] = max(model[index], value)
			before := bytes.Clone(b)
			out, changed, ok := Add(b, element, limit)
			if !ok || changed != want || !changed && !bytes.Equal(out, before) {
				t.Fatalf("limit %d, element %d: changed %v, ok %v", limit, i, changed, ok)
			}
			b = out
			if i < 300 || i%500 == 0 || dense != IsDense(b) {
				if got := registersOf(b); !bytes.Equal(got, model) {
					t.Fatalf("limit %d, element %d: the registers are wrong", limit, i)
				}
			}
			dense = IsDense(b)
			if !dense && len(b) > max(limit, 18) {
				t.Fatalf("limit %d, element %d: %d bytes", limit, i, len(b))
			}
		}
		n, ok := Count(b)
		if e := math.Abs(float64(n)-20000) / 20000; !ok || e > 0.03 {
			t.Errorf("limit %d: estimate %d of 20000", limit, n)
		}
		var registers [Registers]byte
		if !Merge(&registers, b) || !bytes.Equal(registers[:], model) {
			t.Errorf("limit %d: Merge is wrong", limit)
		}
		if m := CountRegisters(&registers); m != n {
			t.Errorf("limit %d: CountRegisters %d, Count %d", limit, m, n)
		}
		d, ok := ToDense(slices.Clip(bytes.Clone(b)))
		if !ok || !IsDense(d) || !bytes.Equal(registersOf(d), model) {
			t.Errorf("limit %d: ToDense is wrong", limit)
		}
	}
}

// TestEstimate adds up to ten million elements: the estimate must stay within four
// standard errors.
func TestEstimate(t *testing.T) {
	b, ok := ToDense(AppendNew(nil))
	if !ok {
		t.Fatal("an empty one is corrupt")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var element [8]byte
	next := 1
	for i := 1; i <= 3_000_000; i++ {
		for j, v := 0, rng.Uint64(); j < 8; j++ {
			element[j] = byte(v >> (8 * j))
		}
		Add(b, element[:], 0)
		if i == next {
			n, _ := Count(b)
			if e := math.Abs(float64(n)-float64(i)) / float64(i); e > 4*1.04/math.Sqrt(Registers) && math.Abs(float64(n)-float64(i)) > 1 {
				t.Errorf("%d elements: estimate %d", i, n)
			}
			next *= 2
		}
	}
}

func TestCache(t *testing.T) {
	b := AppendNew(nil)
	if n, ok := Cached(b); n != 0 || !ok {
		t.Error("a new one has no estimate")
	}
	SetCached(b, 12345)
	if n, ok := Cached(b); n != 12345 || !ok {
		t.Errorf("got %d, %v", n, ok)
	}
	Invalidate(b)
	if _, ok := Cached(b); ok {
		t.Error("the estimate is still valid")
	}
}

// TestImpossible has registers that no hash leads to, as clients may write them.
func TestImpossible(t *testing.T) {
	b, _ := ToDense(AppendNew(nil))
	for i := HeaderSize; i < DenseSize; i++ {
		b[i] = 0xff
	}
	if n, ok := Count(b); n != 1<<63 || !ok {
		t.Errorf("got %d, %v", n, ok)
	}
}

func TestNoAllocations(t *testing.T) {
	b := append(make([]byte, 0, DenseSize), AppendNew(nil)...)
	i := 0
	element := []byte("element:0000")
	if n := testing.AllocsPerRun(5000, func() {
		i++
		element[len(element)-1], element[len(element)-2] = byte(i), byte(i>>8)
		b, _, _ = Add(b, element, 3000)
		Count(b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if !IsDense(b) {
		t.Error("it is not dense yet")
	}
}

// FuzzSparse takes the bytes for opcodes.
func FuzzSparse(f *testing.F) {
	f.Add([]byte{0x7f, 0xff}, []byte("a"), uint16(3000))
	f.Add([]byte{0x7f, 0xfe, 0x80}, []byte("b"), uint16(20))
	f.Add([]byte{0x80, 0x83, 0x00, 0x3f, 0x7f, 0xba}, []byte("c"), uint16(30))
	f.Add([]byte{0x7f, 0xfe, 0x40}, []byte("d"), uint16(30))
	f.Fuzz(func(t *testing.T, opcodes, element []byte, limit uint16) {
		b := append(AppendNew(nil)[:HeaderSize], opcodes...)
		model := registersOf(b)
		_, ok := Count(b)
		var registers [Registers]byte
		if merged := Merge(&registers, b); ok != (model != nil) || merged != ok || ok && !bytes.Equal(registers[:], model) {
			t.Fatalf("Count says %v, Merge %v, registers %v", ok, merged, model != nil)
		}
		if _, dense := ToDense(bytes.Clone(b)); dense != ok {
			t.Fatalf("ToDense says %v, Count %v", dense, ok)
		}
		index, value := register(element)
		out, changed, added := Add(bytes.Clone(b), element, int(limit))
		if !added && !bytes.Equal(out, b) {
			t.Fatal("corrupt, and changed")
		}
		// A sequence that ends within an opcode is taken as if a zero followed; what
		// it becomes when that opcode is split is not sound, nor is it in Redis.
		end := HeaderSize
		for end < len(b) {
			_, _, size := opcode(b, end)
			end += size
		}
		if !ok || end > len(b) {
			return
		}
		if !added || changed != (value > model[index]) {
			t.Fatalf("Add: changed %v, ok %v", changed, added)
		}
		model[index] = max(model[index], value)
		if !bytes.Equal(registersOf(out), model) {
			t.Fatal("the registers are wrong")
		}
	})
}

func BenchmarkHLL(b *testing.B) {
	sparse := AppendNew(make([]byte, 0, DenseSize))
	for i := range 500 {
		sparse, _, _ = Add(sparse, fmt.Append(nil, i), 3000)
	}
	dense, _ := ToDense(bytes.Clone(sparse))
	element := []byte("element:0001")
	for name, h := range map[string][]byte{"sparse": sparse, "dense": dense} {
		b.Run("Add/"+name, func(b *testing.B) {
			for b.Loop() {
				Add(h, element, 3000)
			}
		})
		b.Run("Count/"+name, func(b *testing.B) {
			for b.Loop() {
				Count(h)
			}
		})
		b.Run("Merge/"+name, func(b *testing.B) {
			var registers [Registers]byte
			for b.Loop() {
				Merge(&registers, h)
			}
		})
	}
}
