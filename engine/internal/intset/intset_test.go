package intset

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// check compares an intset with the integers that it should hold.
func check(t testing.TB, is []byte, want map[int64]bool) {
	t.Helper()
	if Len(is) != len(want) || !Valid(is, true) && len(want) > 0 {
		t.Fatalf("%d integers, want %d, in %q", Len(is), len(want), is)
	}
	for i := range Len(is) {
		if v := Get(is, i); !want[v] || !Find(is, v) {
			t.Fatalf("holds %d: %v, finds it: %v", v, want[v], Find(is, v))
		}
	}
	if len(want) > 0 && !want[Random(is)] {
		t.Fatal("Random is none of them")
	}
}

// play adds and removes the integers that ops spell.
func play(t testing.TB, ops []byte) {
	is, want := New(), map[int64]bool{}
	for ; len(ops) >= 9; ops = ops[9:] {
		v := int64(binary.LittleEndian.Uint64(ops[1:])) >> (ops[0] / 4)
		did := false
		if ops[0]&1 == 0 {
			size := SizeWith(is, v)
			is, did = Add(is, v)
			if did && len(is) != size {
				t.Fatalf("SizeWith says %d, then %d", size, len(is))
			}
			if did == want[v] {
				t.Fatalf("adding %d said %v", v, did)
			}
			want[v] = true
		} else {
			is, did = Remove(is, v)
			if did != want[v] {
				t.Fatalf("removing %d said %v", v, did)
			}
			delete(want, v)
		}
		check(t, is, want)
	}
}

func TestModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		ops := make([]byte, 9*200)
		shift := byte(r.IntN(64))
		for i := range ops {
			ops[i] = byte(r.IntN(256))
			if i%9 == 0 {
				ops[i] = ops[i]&1 | shift*4
			}
		}
		play(t, ops)
	}
}

func FuzzModel(f *testing.F) {
	f.Add([]byte("\x00abcdefgh\x20abcdefgh\x01abcdefgh"))
	f.Fuzz(func(t *testing.T, ops []byte) { play(t, ops) })
}

func FuzzValid(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x01\x00\x00\x00\x05\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		Valid(b, false)
		if !Valid(b, true) {
			return
		}
		want := map[int64]bool{}
		for i := range Len(b) {
			want[Get(b, i)] = true
		}
		check(t, b, want)
		for _, v := range []int64{0, math.MaxInt64, math.MinInt64, math.MaxInt16 + 1} {
			b, _ = Add(slices.Clone(b), v)
			want[v] = true
			check(t, b, want)
		}
		for len(want) > 0 {
			v := Random(b)
			b, _ = Remove(b, v)
			delete(want, v)
			check(t, b, want)
		}
	})
}

func TestWidths(t *testing.T) {
	is := New()
	want := map[int64]bool{}
	for _, v := range []int64{0, math.MinInt16, math.MaxInt16, math.MinInt16 - 1, math.MaxInt16 + 1, math.MinInt32,
		math.MaxInt32, math.MaxInt32 + 1, math.MinInt32 - 1, math.MinInt64, math.MaxInt64} {
		is, _ = Add(is, v)
		want[v] = true
		check(t, is, want)
		if width(is) < widthOf(v) {
			t.Errorf("%d in %d bytes", v, width(is))
		}
	}
}

func TestFilter(t *testing.T) {
	is, want := New(), map[int64]bool{}
	for i := range int64(100) {
		is, _ = Add(is, i*i*i*1000)
		want[i*i*i*1000] = i%3 == 0
	}
	is = Filter(is, func(v int64) bool {
		keep := want[v]
		if !keep {
			delete(want, v)
		}
		return keep
	})
	check(t, is, want)
}

func TestInPlace(t *testing.T) {
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		is := AppendNew(buf)
		for _, v := range []int64{5, -70000, 1 << 40, 3, 0} {
			is, _ = Add(is, v)
		}
		is, _ = Remove(is, 3)
		if &is[0] != &buf[:1][0] || Len(is) != 4 {
			t.Fatal("moved")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFind(b *testing.B) {
	is := New()
	for i := range int64(512) {
		is, _ = Add(is, i*1000)
	}
	b.ReportAllocs()
	for i := range b.N {
		Find(is, int64(i&511)*1000)
	}
}
