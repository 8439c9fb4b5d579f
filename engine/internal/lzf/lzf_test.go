package lzf

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/redscope/redscope/internal/oracle"
)

// samples are strings as they are found in keys: repetitive, textual, random,
// and of the lengths around which matches end differently.
func samples() [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	var all [][]byte
	for n := range 300 {
		all = append(all, bytes.Repeat([]byte("x"), n), bytes.Repeat([]byte("hello world 17 "), n/15+1)[:n])
		mixed := make([]byte, n)
		for i := range mixed {
			mixed[i] = "abcd"[r.IntN(4)]
		}
		all = append(all, mixed)
	}
	words := strings.Fields("the quick brown fox jumps over a lazy dog while redis keeps many small strings in memory")
	for _, n := range []int{50, 500, 5000, 50000} {
		var text []byte
		for len(text) < n {
			text = append(append(text, words[r.IntN(len(words))]...), ' ')
		}
		random := make([]byte, n)
		for i := range random {
			random[i] = byte(r.Uint32())
		}
		all = append(all, text, random, append(bytes.Clone(random), random...))
	}
	return all
}

func TestRoundTrip(t *testing.T) {
	for _, s := range samples() {
		z := Compress([]byte("before"), s)
		if z == nil {
			continue
		}
		if !bytes.HasPrefix(z, []byte("before")) {
			t.Fatalf("%.40q: what was in dst is lost", s)
		}
		z = z[6:]
		if len(z) > len(s)-MinGain {
			t.Fatalf("%.40q: %d bytes became %d", s, len(s), len(z))
		}
		got, err := Decompress([]byte("so "), z, len(s))
		if err != nil || string(got) != "so "+string(s) {
			t.Fatalf("%.40q: decompressed to %.40q, %v", s, got, err)
		}
		for _, n := range []int{len(s) - 1, len(s) + 1, 0, -1, 1 << 60} {
			if _, err := Decompress(nil, z, n); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%.40q: decompressed to %d bytes: %v", s, n, err)
			}
		}
		for i := range z {
			if _, err := Decompress(nil, z[:i], len(s)); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%.40q: decompressed from %d of %d bytes: %v", s, i, len(z), err)
			}
		}
	}
	if Compress(nil, nil) != nil || Compress(nil, []byte("abcd")) != nil {
		t.Error("something became smaller than nothing")
	}
}

// TestAsRedis compares with what DUMP of a string holds: 0xC3, the compressed and
// the original length, and the compressed bytes.
func TestAsRedis(t *testing.T) {
	c := oracle.Start(t, "--rdbcompression", "yes")
	compressed := 0
	for _, s := range samples() {
		if len(s) <= 20 {
			continue // rdb.c does not try
		}
		c.Do("SET", "k", string(s))
		dump := c.Do("DUMP", "k")
		z := Compress(nil, s)
		if dump[1] != 0xC3 {
			if z != nil {
				t.Errorf("%.60q: Redis does not compress it, we do", s)
			}
			continue
		}
		compressed++
		want := fmt.Sprintf("\x00\xc3%s%s%s", length(len(z)), length(len(s)), z)
		if got := dump[:len(dump)-10]; got != want {
			t.Errorf("%.60q (%d bytes)\ngot  %.80q\nwant %.80q", s, len(s), want, got)
		}
	}
	if compressed < 500 {
		t.Errorf("only %d strings were compressed", compressed)
	}
}

// length is rdbSaveLen.
func length(n int) string {
	switch {
	case n < 1<<6:
		return string([]byte{byte(n)})
	case n < 1<<14:
		return string([]byte{byte(n>>8) | 0x40, byte(n)})
	}
	return string([]byte{0x80, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// What an earlier call left in the table must change nothing, also when its
// positions come round.
func TestTableIsForgotten(t *testing.T) {
	s := bytes.Repeat([]byte("one two three "), 20)
	want := new(table).compress(nil, s, len(s)-MinGain)
	for _, base := range []uint32{0, 1, 1<<32 - 1 - uint32(len(s))} {
		x := &table{base: base}
		for i := range x.seen {
			x.seen[i] = min(base, uint32(i))
		}
		if got := x.compress(nil, s, len(s)-MinGain); !bytes.Equal(got, want) {
			t.Errorf("from base %d: %q, want %q", base, got, want)
		}
	}
}

func FuzzDecompress(f *testing.F) {
	for i, s := range samples() {
		if i%50 == 0 {
			f.Add(Compress(nil, s), len(s))
		}
	}
	f.Fuzz(func(t *testing.T, src []byte, n int) {
		room := make([]byte, 0, 64)
		n = min(n, 1<<20)
		got, err := Decompress(room, src, n)
		if err == nil && len(got) != n {
			t.Fatalf("%d bytes, asked for %d", len(got), n)
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	for i, s := range samples() {
		if i%50 == 0 {
			f.Add(s)
		}
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		z := Compress(nil, s)
		if z == nil {
			return
		}
		if got, err := Decompress(nil, z, len(s)); err != nil || !bytes.Equal(got, s) {
			t.Fatalf("%q became %q: %v", s, got, err)
		}
	})
}

func TestAllocs(t *testing.T) {
	s := bytes.Repeat([]byte("hello world 17 "), 500)
	z, back := make([]byte, 0, 2*len(s)), make([]byte, 0, len(s))
	if n := testing.AllocsPerRun(100, func() {
		out := Compress(z, s)
		Decompress(back, out, len(s))
	}); n >= 1 { // the pool may lose its table to the collector now and then
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCompress(b *testing.B) {
	for _, n := range []int{64, 8192} {
		s := bytes.Repeat([]byte("hello world 17 "), n/15+1)[:n]
		dst := make([]byte, 0, 2*n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				Compress(dst, s)
			}
		})
	}
}

func BenchmarkDecompress(b *testing.B) {
	s := samples()[len(samples())-6] // 5000 bytes of text
	z, dst := Compress(nil, s), make([]byte, 0, len(s))
	b.SetBytes(int64(len(s)))
	b.ReportAllocs()
	for b.Loop() {
		Decompress(dst, z, len(s))
	}
}
