package crc64

import (
	"bytes"
	"hash/crc64"
	"testing"
)

// TestVector checks the polynomial against the check value of CRC-64/REDIS.
func TestVector(t *testing.T) {
	if got := Update(0, []byte("123456789")); got != 0xe9c6d914c4b8d9ca {
		t.Errorf("%016x", got)
	}
	if got := Update(0, nil); got != 0 {
		t.Errorf("of nothing: %016x", got)
	}
}

// byBit is the definition.
func byBit(crc uint64, p []byte) uint64 {
	for _, b := range p {
		crc ^= uint64(b)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ jones
			} else {
				crc >>= 1
			}
		}
	}
	return crc
}

func FuzzUpdate(f *testing.F) {
	f.Add([]byte("123456789"), uint64(0), 3)
	f.Add(bytes.Repeat([]byte{0xff, 0, 1}, 100), uint64(1)<<63, 17)
	table := crc64.MakeTable(jones)
	f.Fuzz(func(t *testing.T, p []byte, crc uint64, cut int) {
		want := byBit(crc, p)
		if got := Update(crc, p); got != want {
			t.Errorf("%016x, want %016x", got, want)
		}
		if std := ^crc64.Update(^crc, table, p); std != want {
			t.Errorf("hash/crc64 says %016x, want %016x", std, want)
		}
		if cut >= 0 && cut <= len(p) {
			if got := Update(Update(crc, p[:cut]), p[cut:]); got != want {
				t.Errorf("in two parts %016x, want %016x", got, want)
			}
		}
	})
}

func TestAllocs(t *testing.T) {
	p := make([]byte, 1<<16)
	if n := testing.AllocsPerRun(10, func() { Update(0, p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkUpdate(b *testing.B) {
	p := make([]byte, 1<<16)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		Update(0, p)
	}
}
