package rdb

import (
	"bytes"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/redscope/redscope/internal/oracle"
)

func TestLen(t *testing.T) {
	for _, v := range []struct {
		n   uint64
		hex string
	}{
		{0, "00"}, {63, "3f"}, {64, "4040"}, {16383, "7fff"}, {16384, "8000004000"},
		{math.MaxUint32, "80ffffffff"}, {math.MaxUint32 + 1, "810000000100000000"},
		{math.MaxUint64, "81ffffffffffffffff"},
	} {
		b := AppendLen(nil, v.n)
		if got := hex.EncodeToString(b); got != v.hex {
			t.Errorf("%d: %s, want %s", v.n, got, v.hex)
		}
		r := NewReader(b)
		if got := r.Len(); got != v.n || r.Rest() != 0 || r.Short {
			t.Errorf("%d is read as %d, %d bytes left", v.n, got, r.Rest())
		}
		for cut := range len(b) {
			r := NewReader(b[:cut])
			if got := r.Len(); got != LenError || !r.Short {
				t.Errorf("%d cut to %d bytes is read as %d", v.n, cut, got)
			}
		}
	}
	// Neither is a length, but only of the second Redis has read beyond the end.
	for _, b := range []string{"\x82\x00\x00\x00\x00", "\xbf"} {
		if r := NewReader([]byte(b)); r.Len() != LenError || r.Short {
			t.Errorf("%x is a length", b)
		}
	}
	if r := NewReader([]byte{0xc3}); r.Len() != 3 {
		t.Error("an encoding is not taken for a length")
	}
}

// edges are strings around which the encoding changes.
func edges() []string {
	all := []string{"", "a", "-", "-0", "+1", "01", " 1", "1 ", "0", "-1", "1.5",
		strings.Repeat("a", 20), strings.Repeat("a", 21), strings.Repeat("a", 10000), strings.Repeat("ab", 100000),
		strings.Repeat("\x00", 63), strings.Repeat("0123456789", 2), strings.Repeat("0123456789", 7)}
	for _, n := range []int64{1 << 7, 1 << 15, 1 << 31, 1 << 62, 99999999999, 9999999999} {
		for _, d := range []int64{-1, 0, 1} {
			all = append(all, strconv.FormatInt(n+d, 10), strconv.FormatInt(-n+d, 10))
		}
	}
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{63, 64, 16383, 16384} {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		all = append(all, string(b))
	}
	return all
}

func TestString(t *testing.T) {
	for _, s := range edges() {
		for _, compress := range []bool{false, true} {
			b := AppendString([]byte("x"), []byte(s), compress)
			r := NewReader(b[1:])
			var scratch []byte
			if got, ok := r.String(&scratch); !ok || string(got) != s || r.Rest() != 0 {
				t.Errorf("%.40q is read as %.40q, %v", s, got, ok)
			}
		}
	}
}

// TestStringsAgainstOracle wants the payload that DUMP makes of a string, byte for
// byte, and Verify to agree with RESTORE about its footer.
func TestStringsAgainstOracle(t *testing.T) {
	c := oracle.Start(t)
	for _, compress := range []bool{true, false} {
		c.Do("CONFIG", "SET", "rdbcompression", map[bool]string{true: "yes", false: "no"}[compress])
		for _, s := range edges() {
			c.Do("SET", "k", s)
			want := c.Do("DUMP", "k")
			got := AppendFooter(AppendString([]byte{byte(TypeString)}, []byte(s), compress), 0)
			if string(got) != want {
				t.Errorf("%.40q: %.80x, want %.80x", s, got, want)
			}
			if !Verify([]byte(want)) {
				t.Errorf("%.40q: the checksum is wrong", s)
			}
		}
	}
}

func TestVerify(t *testing.T) {
	good := AppendFooter([]byte("before\x00\x01a")[:], len("before"))[len("before"):]
	if !Verify(good) {
		t.Fatal("refused")
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if Verify(bad) {
			t.Errorf("accepted with another byte %d", i)
		}
		if Verify(good[:i]) {
			t.Errorf("accepted when cut to %d", i)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, f := range []float64{0, -1.5, math.Inf(1), math.MaxFloat64} {
		r := NewReader(AppendDouble(nil, f))
		if got, ok := r.Double(); !ok || got != f {
			t.Errorf("%v is read as %v", f, got)
		}
	}
	if r := NewReader(AppendMillis(nil, -5)); r.Millis() != -5 {
		t.Error("a time is read wrongly")
	}
	if r := NewReader([]byte("short")); r.Millis() != math.MaxInt64 || !r.Short {
		t.Error("no time is read as a time")
	}
}

// TestTextDouble holds what sscanf of the GNU C library says.
func TestTextDouble(t *testing.T) {
	for text, want := range map[string]string{
		"1": "1", "-1.5e3": "-1500", "  \t7x": "7", "1e": "1", "1e+": "1", "1ex": "1", "0x": "none", "0x.": "0", "0xp1": "none",
		"0x1": "1", "0x.8p1": "1", "0x1p": "1", "-0X1P-1": "-0.5", ".": "none", ".5": "0.5", "5.": "5", "": "none", "+": "none", "e5": "none",
		"inf": "+Inf", "-INFINITY": "-Inf", "infi": "none", "infx": "+Inf", "in": "none", "nan": "NaN", "na": "none", "nanx": "NaN",
		"1e999": "+Inf", "-1e999": "-Inf", "1e-999": "0", "1\x002": "1", "1_0": "1", "0b1": "0", "1.5.5": "1.5",
	} {
		r := NewReader(append([]byte{byte(len(text))}, text...))
		got := "none"
		if f, ok := r.TextDouble(); ok {
			got = strconv.FormatFloat(f, 'g', -1, 64)
		}
		if got != want {
			t.Errorf("%q is read as %s, want %s", text, got, want)
		}
	}
	for b, want := range map[string]float64{"\xff": math.Inf(-1), "\xfe": math.Inf(1)} {
		if f, ok := NewReader([]byte(b)).TextDouble(); !ok || f != want {
			t.Errorf("%x is read as %v, want %v", b, f, want)
		}
	}
	if f, ok := NewReader([]byte{253}).TextDouble(); !ok || f == f {
		t.Errorf("NaN is read as %v", f)
	}
}

// FuzzReader reads anything in any way.
func FuzzReader(f *testing.F) {
	f.Add([]byte("0123456789"), AppendLen(nil, 1<<40))
	f.Add([]byte("sssssss"), AppendString(AppendString(nil, []byte("-12345"), false), bytes.Repeat([]byte("ab"), 100), true))
	f.Add([]byte("tdm"), []byte("\x031e5\x00"))
	f.Fuzz(func(t *testing.T, how, b []byte) {
		r := NewReader(b)
		var scratch []byte
		for _, h := range how {
			rest := r.Rest()
			switch h % 8 {
			case 0:
				r.Len()
			case 1, 2, 3:
				// One byte of lzf can mean 88.
				if s, ok := r.String(&scratch); ok && len(s) > max(11, 88*rest) || cap(scratch) > 1000+200*len(b) {
					t.Fatalf("%d bytes mean %d, scratch has %d", rest, len(s), cap(scratch))
				}
			case 4:
				r.TextDouble()
			case 5:
				r.Double()
			case 6:
				r.Millis()
			case 7:
				r.Bytes(uint64(h >> 3))
			}
		}
		Verify(b)
	})
}

// FuzzString writes and reads any string.
func FuzzString(f *testing.F) {
	f.Add([]byte("-12345"), true)
	f.Add(bytes.Repeat([]byte("ab"), 100), true)
	f.Fuzz(func(t *testing.T, s []byte, compress bool) {
		r := NewReader(AppendString(nil, s, compress))
		var scratch []byte
		if got, ok := r.String(&scratch); !ok || !bytes.Equal(got, s) || r.Rest() != 0 {
			t.Fatalf("read as %q", got)
		}
	})
}

// TestAllocs wants writing to allocate nothing when there is room.
func TestAllocs(t *testing.T) {
	room := make([]byte, 0, 1<<16)
	s := bytes.Repeat([]byte("abc"), 1000)
	if n := testing.AllocsPerRun(100, func() {
		b := AppendString(room, s, true)
		b = AppendInt(b, math.MinInt64)
		AppendFooter(b, 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
