package engine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
)

func TestStrtod(t *testing.T) {
	for _, c := range []struct {
		text string
		d    float64
		n    int
		over bool
	}{
		{"", 0, 0, false}, {"-", 0, 0, false}, {".", 0, 0, false}, {"e5", 0, 0, false}, {"x", 0, 0, false}, {" ", 0, 0, false},
		{"1", 1, 1, false}, {" \t-1.5x", -1.5, 6, false}, {"1.", 1, 2, false}, {".5", .5, 2, false}, {"1e", 1, 1, false},
		{"1e+", 1, 1, false}, {"1e+2", 100, 4, false}, {"1E-2.", .01, 4, false}, {"1_000", 1, 1, false}, {"1..2", 1, 2, false},
		{"9007199254740993", 9007199254740992, 16, false}, {"900719925474099.9", 900719925474099.9, 17, false}, {"0.1", .1, 3, false}, {"1e23", 1e23, 4, false},
		{"123456789012345678901234567890", 123456789012345678901234567890, 30, false},
		{"1e400", math.Inf(1), 5, true}, {"-1e400", math.Inf(-1), 6, true}, {"1e-400", 0, 6, true}, {"0e-400", 0, 6, false},
		{"1e99999999999999999999", math.Inf(1), 22, true}, {"1e-320", 1e-320, 6, false},
		{"0x10", 16, 4, false}, {"0x", 0, 1, false}, {"0x.", 0, 1, false}, {"0x.8", .5, 4, false}, {"-0x1p-3", -.125, 7, false},
		{"0x1p", 1, 3, false}, {"0x1p-", 1, 3, false}, {"0X1.8P1", 3, 7, false}, {"0x1p9999", math.Inf(1), 8, true},
		{"inf", math.Inf(1), 3, false}, {"-InFiNiTy", math.Inf(-1), 9, false}, {"infinit", math.Inf(1), 3, false}, {"in", 0, 0, false},
	} {
		d, n, outOfRange := strtod([]byte(c.text))
		if d != c.d || n != c.n || outOfRange != c.over {
			t.Errorf("%q: %v, %d bytes, %v; want %v", c.text, d, n, outOfRange, c)
		}
	}
	for text, want := range map[string]int{"nan": 3, "-NaN(12_a)": 10, "nan(": 3, "nan(-)": 3, "nano": 3} {
		if d, n, _ := strtod([]byte(text)); d == d || n != want {
			t.Errorf("%q: %v, %d bytes, want %d", text, d, n, want)
		}
	}
	if d, _, _ := strtod([]byte("-0")); !math.Signbit(d) {
		t.Error("-0 has lost its sign")
	}
}

// A double comes back from every text of it.
func TestDoubleRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	check := func(text []byte, want float64) {
		t.Helper()
		if d, ok := parseDouble(text); !ok || math.Float64bits(d) != math.Float64bits(want) {
			t.Fatalf("%q: %v %v", text, d, ok)
		}
	}
	for i := range 200_000 {
		d := math.Float64frombits(rng.Uint64())
		switch i % 4 {
		case 1:
			d = float64(rng.IntN(1<<40)) / 1000
		case 2:
			d = rng.Float64()
		case 3:
			d = math.Trunc(rng.NormFloat64() * 1e9)
		}
		if d != d {
			continue
		}
		text := appendDouble(nil, d)
		if want := fmt.Sprintf("%.17g", d); string(text) != want && !math.IsInf(d, 0) {
			t.Fatalf("%q, want %q", text, want)
		}
		check(text, d)
		check(strconv.AppendFloat(nil, d, 'e', -1, 64), d)
		check(strconv.AppendFloat(nil, d, 'f', -1, 64), d)
	}
}

func TestDoubleInt(t *testing.T) {
	for _, d := range []float64{.5, math.Inf(1), math.Inf(-1), math.NaN(), 1 << 63, -(1 << 63), 4611686018427388928, 1e300} {
		if n, ok := doubleInt(d); ok {
			t.Errorf("%v is %d", d, n)
		}
	}
	for _, n := range []int64{0, 1, -1, 1 << 53, 1 << 62, -(1 << 62)} {
		if got, ok := doubleInt(float64(n)); !ok || got != n {
			t.Errorf("%d is %d, %v", n, got, ok)
		}
	}
}

func BenchmarkParseDouble(b *testing.B) {
	for _, text := range []string{"1", "123456", "1.5", "0.12345678901234567"} {
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				parseDouble([]byte(text))
			}
		})
	}
}
