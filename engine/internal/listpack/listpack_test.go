package listpack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// check compares a listpack with the elements that it should hold, forwards,
// backwards and by index.
func check(t testing.TB, lp []byte, want []string) {
	t.Helper()
	if !Valid(lp, true) {
		t.Fatalf("not valid: %q", lp)
	}
	if Len(lp) != len(want) {
		t.Fatalf("%d elements, want %d", Len(lp), len(want))
	}
	var scratch [20]byte
	p := First(lp)
	for i, w := range want {
		if got := Bytes(lp, p, &scratch); string(got) != w {
			t.Fatalf("element %d is %q, want %q", i, got, w)
		}
		if !Compare(lp, p, []byte(w)) {
			t.Fatalf("element %d does not compare equal to %q", i, w)
		}
		p = Next(lp, p)
	}
	if p != -1 {
		t.Fatalf("Next of the last is %d", p)
	}
	p = Last(lp)
	for i := len(want) - 1; i >= 0; i-- {
		if got := Bytes(lp, p, &scratch); string(got) != want[i] {
			t.Fatalf("backwards, element %d is %q, want %q", i, got, want[i])
		}
		p = Prev(lp, p)
	}
	if p != -1 {
		t.Fatalf("Prev of the first is %d", p)
	}
}

// Lengths and numbers around every border between encodings.
func samples() []string {
	var s []string
	for _, n := range []int64{0, 127, 4095, 32767, 1<<23 - 1, 1<<31 - 1, math.MaxInt64 - 1} {
		for d := int64(-2); d <= 2; d++ {
			if n+d >= 0 {
				s = append(s, strconv.FormatInt(n+d, 10), strconv.FormatInt(-n-d, 10))
			}
		}
	}
	for _, n := range []int{0, 1, 2, 61, 62, 63, 64, 65, 124, 125, 126, 127, 128, 4094, 4095, 4096, 16376, 16377,
		16378, 16379, 16380, 2097140, 2097145, 2097146, 2097147, 2097148} {
		s = append(s, string(bytes.Repeat([]byte{'x'}, n)))
	}
	return append(s, "-", "-0", "01", "+1", "1 ", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
		"123456789012345678901", "\x00", "\xff")
}

func TestElements(t *testing.T) {
	var all []string
	lp := New()
	check(t, lp, nil)
	for _, s := range samples() {
		one := Append(New(), []byte(s))
		if len(one)-len(New()) != EntrySize([]byte(s)) {
			t.Errorf("EntrySize of %.20q is %d, Append took %d", s, EntrySize([]byte(s)), len(one)-len(New()))
		}
		check(t, one, []string{s})
		if _, n, isInt := Get(one, First(one)); isInt != (strconv.FormatInt(n, 10) == s) {
			t.Errorf("%q kept as an integer: %v", s, isInt)
		}
		if n, err := strconv.ParseInt(s, 10, 64); err == nil && strconv.FormatInt(n, 10) == s {
			if other := AppendInt(New(), n); !bytes.Equal(one, other) {
				t.Errorf("%d is %q as an integer and %q as a string", n, other, one)
			}
			if Int(one, First(one)) != n {
				t.Errorf("Int(%d) = %d", n, Int(one, First(one)))
			}
		}
		lp = Append(lp, []byte(s))
		all = append(all, s)
	}
	check(t, lp, all)
	for i, s := range all {
		if p := Find(lp, First(lp), []byte(s), 0); p != Seek(lp, slices.Index(all, s)) {
			t.Errorf("Find(%.20q), the %dth, returned %d", s, i, p)
		}
		if Seek(lp, i) != Seek(lp, i-len(all)) {
			t.Errorf("Seek(%d) = %d, Seek(%d) = %d", i, Seek(lp, i), i-len(all), Seek(lp, i-len(all)))
		}
	}
	if Seek(lp, len(all)) != -1 || Seek(lp, -len(all)-1) != -1 || Find(lp, First(lp), []byte("absent"), 0) != -1 {
		t.Error("an element that is not there was found")
	}
}

// model is a listpack, and what it should hold.
type model struct {
	t    testing.TB
	lp   []byte
	want []string
}

// step does one operation that a and b choose.
func (m *model) step(op, a uint8, s []byte) {
	n := len(m.want)
	i := int(a)
	if n > 0 {
		i %= n
	}
	p := Seek(m.lp, i)
	switch op % 15 {
	case 0:
		m.lp, m.want = Append(m.lp, s), append(m.want, string(s))
	case 1:
		m.lp, m.want = Prepend(m.lp, s), slices.Insert(m.want, 0, string(s))
	case 14:
		const gap = 40
		b := append(make([]byte, gap), m.lp...)
		begin, ok := PrependBefore(b, gap, s)
		if ok != (EntrySize(s) <= gap) || !ok && begin != gap {
			m.t.Fatalf("PrependBefore(%d bytes) with a gap of %d: %d, %v", len(s), gap, begin, ok)
		}
		if m.lp = b[begin:]; ok {
			m.want = slices.Insert(m.want, 0, string(s))
		}
	case 2:
		v := int64(binary.LittleEndian.Uint64(append(slices.Clone(s), make([]byte, 8)...)))
		m.lp, m.want = AppendInt(m.lp, v), append(m.want, strconv.FormatInt(v, 10))
	case 3:
		m.lp = DeleteRange(m.lp, i, len(s))
		m.want = deleted(m.want, i, len(s))
	case 4:
		m.lp = DeleteRange(m.lp, i-n, len(s))
		m.want = deleted(m.want, i, len(s))
	case 5:
		other := New()
		for range a % 4 {
			other = Append(other, s)
			m.want = append(m.want, string(s))
		}
		m.lp = Merge(m.lp, other)
	}
	if n == 0 {
		return
	}
	at, next := i, -2
	switch op % 15 {
	case 6, 7:
		after := op%15 == 7
		if after {
			at++
		}
		m.lp, p = Insert(m.lp, p, s, after)
		m.want = slices.Insert(m.want, at, string(s))
	case 8:
		size := ReplacedSize(m.lp, p, s)
		m.lp, p = Replace(m.lp, p, s)
		m.want[i] = string(s)
		if len(m.lp) != size {
			m.t.Fatalf("ReplacedSize %d, then %d", size, len(m.lp))
		}
	case 9:
		m.lp, p = ReplaceInt(m.lp, p, int64(len(s)))
		m.want[i] = strconv.Itoa(len(s))
	case 10:
		m.lp, next = Delete(m.lp, p)
		m.want = slices.Delete(m.want, i, i+1)
	case 11:
		m.lp, next = DeleteFrom(m.lp, p, len(s))
		m.want = deleted(m.want, i, len(s))
	case 12:
		m.lp, m.want = m.lp[DeleteHead(m.lp):], m.want[1:]
		return
	case 13:
		m.lp, m.want = DeleteTail(m.lp), m.want[:n-1]
		return
	default:
		return
	}
	if next != -2 && next != Seek(m.lp, i) {
		m.t.Fatalf("deleting at %d returned %d, the element there is at %d", i, next, Seek(m.lp, i))
	}
	if next == -2 && p != Seek(m.lp, at) {
		m.t.Fatalf("wrote at %d, the element is at %d", p, Seek(m.lp, at))
	}
}

func deleted(want []string, i, n int) []string {
	return slices.Delete(want, min(i, len(want)), min(i+n, len(want)))
}

func TestModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	values := samples()
	for range 30 {
		m := model{t: t, lp: New()}
		for range 300 {
			s := values[r.IntN(len(values))]
			if len(s) > 5000 {
				s = s[:r.IntN(70)]
			}
			m.step(uint8(r.IntN(256)), uint8(r.IntN(256)), []byte(s))
			check(t, m.lp, m.want)
		}
	}
}

func FuzzModel(f *testing.F) {
	f.Add([]byte("\x00\x01\x03abc\x06\x01\x0212"))
	f.Fuzz(func(t *testing.T, ops []byte) {
		m := model{t: t, lp: New()}
		for len(ops) >= 3 {
			n := min(int(ops[2]), len(ops)-3)
			m.step(ops[0], ops[1], ops[3:3+n])
			ops = ops[3+n:]
			check(t, m.lp, m.want)
		}
	})
}

// exercise walks and changes a listpack that may be anything that Valid accepts.
func exercise(lp []byte) {
	var scratch [20]byte
	n := 0
	for p := First(lp); p >= 0; p = Next(lp, p) {
		Bytes(lp, p, &scratch)
		n++
	}
	for p := Last(lp); p >= 0; p = Prev(lp, p) {
		Compare(lp, p, []byte("12"))
		n--
	}
	if n != 0 {
		panic("forwards and backwards are not the same")
	}
	Find(lp, First(lp), []byte("a"), 1)
	Find(lp, First(lp), []byte("500"), 1)
	lp = Append(slices.Clone(lp), []byte("tail"))
	lp = Prepend(lp, []byte("head"))
	for i := range min(Len(lp), 8) {
		lp, _ = Replace(lp, Seek(lp, i), []byte("replaced"))
		lp, _ = Insert(lp, Seek(lp, -1-i), []byte("-77"), true)
	}
	lp = Merge(lp, slices.Clone(lp))
	lp = DeleteRange(lp, 1, 2)
	for p := Seek(lp, 1); p >= 0; {
		lp, p = Delete(lp, p)
	}
	if !Valid(lp, true) {
		panic("no longer valid")
	}
}

func FuzzValid(f *testing.F) {
	f.Add([]byte("\x07\x00\x00\x00\x00\x00\xff"))
	f.Add(Append(AppendInt(Append(New(), []byte("abc")), 300), bytes.Repeat([]byte{'y'}, 5000)))
	f.Fuzz(func(t *testing.T, b []byte) {
		Valid(b, false)
		if Valid(b, true) {
			exercise(b)
		}
	})
}

func TestValidOnMutations(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	values := samples()
	accepted := 0
	for range 20000 {
		lp := New()
		for range r.IntN(8) {
			s := values[r.IntN(len(values))]
			lp = Append(lp, []byte(s[:min(len(s), 300)]))
		}
		for range 1 + r.IntN(3) {
			switch i := r.IntN(len(lp)); r.IntN(6) {
			case 0:
				lp = lp[:i]
			case 1:
				lp = append(lp, end)
			default:
				lp[i] = byte(r.IntN(256))
			}
			if len(lp) == 0 {
				break
			}
			if r.IntN(2) == 0 && len(lp) >= 4 {
				setTotal(lp)
			}
		}
		Valid(lp, false)
		if Valid(lp, true) {
			accepted++
			exercise(lp)
		}
	}
	if accepted == 0 {
		t.Error("no mutation was accepted")
	}
}

// A length or backlen that overflows 32 bits must not pass for a small one.
func TestValidOverflow(t *testing.T) {
	for _, body := range []string{
		"\xf0\xff\xff\xff\xff\x04",     // 5 + 4294967295 bytes
		"\xf0\xfb\xff\xff\xff\x00",     // 0 in 32 bits
		"\x82ab\x83" + "\x80\x80\x80",  // no end to the backlen
		"\x83\xff\xff\xff\xff",         // the same over a string
		"\x01", "\x81", "\xe1", "\xf1", // cut short
		"\xf5\x01", "\xfe\x01", // no such encoding
		"\x01\x02", "\x01\x00", // wrong backlen
	} {
		lp := append([]byte{0, 0, 0, 0, 0xff, 0xff}, body...)
		lp = append(lp, end)
		setTotal(lp)
		if Valid(lp, true) {
			t.Errorf("%q is valid", lp)
		}
	}
}

func TestManyElements(t *testing.T) {
	const n = 70000
	lp := New()
	for i := range n {
		lp = AppendInt(lp, int64(i))
	}
	if Len(lp) != n || count(lp) != unknownLen || !Valid(lp, true) {
		t.Fatalf("%d elements, header says %d", Len(lp), count(lp))
	}
	if p := Seek(lp, -1); Int(lp, p) != n-1 || p != Last(lp) {
		t.Error("the last is wrong")
	}
	if p := Seek(lp, 66000); Int(lp, p) != 66000 {
		t.Error("one in the middle is wrong")
	}
	if Seek(lp, n) != -1 || Seek(lp, -n-1) != -1 {
		t.Error("an element beyond the end was found")
	}
	lp = DeleteRange(lp, -n, 5)
	lp = DeleteRange(lp, 100, n)
	if Len(lp) != 100 || Int(lp, First(lp)) != 5 {
		t.Errorf("%d elements left, the first %d", Len(lp), Int(lp, First(lp)))
	}
}

// Changes take place in the capacity of the slice they are given.
func TestInPlace(t *testing.T) {
	buf := make([]byte, 0, 256)
	s, long := []byte("field"), []byte("a longer value")
	if n := testing.AllocsPerRun(100, func() {
		lp := AppendNew(buf)
		lp = Append(lp, s)
		lp = Prepend(lp, long)
		lp = AppendInt(lp, 1e10)
		lp, _ = Replace(lp, Seek(lp, 1), long)
		lp, _ = Insert(lp, Find(lp, First(lp), long, 0), s, true)
		lp, _ = Delete(lp, First(lp))
		if &lp[0] != &buf[:1][0] {
			t.Fatal("moved")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{5, 50, 128} {
		lp := New()
		for i := range n {
			lp = Append(lp, fmt.Appendf(nil, "field:%d", i))
			lp = Append(lp, []byte("a value"))
		}
		field := fmt.Appendf(nil, "field:%d", n-1)
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				Find(lp, First(lp), field, 1)
			}
		})
	}
}
