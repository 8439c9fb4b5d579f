package rdb

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/redscope/redscope/internal/oracle"
)

// appendZiplistEntry adds a string or an integer at the end of a ziplist that
// consists of head, body and tail.
func appendZiplistEntry(body []byte, before int, v any) []byte {
	if before < ziplistBig {
		body = append(body, byte(before))
	} else {
		body = binary.LittleEndian.AppendUint32(append(body, ziplistBig), uint32(before))
	}
	switch v := v.(type) {
	case string:
		switch n := len(v); {
		case n < 1<<6:
			body = append(body, byte(n))
		case n < 1<<14:
			body = append(body, 0x40|byte(n>>8), byte(n))
		default:
			body = binary.BigEndian.AppendUint32(append(body, 0x80), uint32(n))
		}
		return append(body, v...)
	case int64:
		n := uint64(v)
		switch {
		case 0 <= v && v <= 12:
			return append(body, 0xf1+byte(v))
		case v == int64(int8(v)):
			return append(body, 0xfe, byte(n))
		case v == int64(int16(v)):
			return binary.LittleEndian.AppendUint16(append(body, 0xc0), uint16(n))
		case -1<<23 <= v && v < 1<<23:
			return append(body, 0xf0, byte(n), byte(n>>8), byte(n>>16))
		case v == int64(int32(v)):
			return binary.LittleEndian.AppendUint32(append(body, 0xd0), uint32(n))
		}
		return binary.LittleEndian.AppendUint64(append(body, 0xe0), n)
	}
	panic("neither")
}

func makeZiplist(values ...any) []byte {
	zl := make([]byte, ziplistHeader)
	before, tail := 0, ziplistHeader
	for _, v := range values {
		tail = len(zl)
		zl = appendZiplistEntry(zl, before, v)
		before = len(zl) - tail
	}
	zl = append(zl, ziplistEnd)
	binary.LittleEndian.PutUint32(zl, uint32(len(zl)))
	binary.LittleEndian.PutUint32(zl[4:], uint32(tail))
	binary.LittleEndian.PutUint16(zl[8:], uint16(min(len(values), ziplistMany)))
	return zl
}

func makeZipmap(pairs ...string) []byte {
	zm := []byte{byte(min(len(pairs)/2, zipmapBig))}
	for i, s := range pairs {
		if n := len(s); n < zipmapBig {
			zm = append(zm, byte(n))
		} else {
			zm = binary.LittleEndian.AppendUint32(append(zm, zipmapBig), uint32(n))
		}
		unused := i % 4
		if i%2 == 1 {
			zm = append(zm, byte(unused))
		}
		zm = append(zm, s...)
		if i%2 == 1 {
			zm = append(zm, make([]byte, unused)...)
		}
	}
	return append(zm, zipmapEnd)
}

func readZiplist(zl []byte) (values []any, ok bool) {
	ok = Ziplist(zl, func(s []byte, n int64, isInt bool) bool {
		if isInt {
			values = append(values, n)
		} else {
			values = append(values, string(s))
		}
		return true
	})
	return values, ok
}

func readZipmap(zm []byte) (pairs []string, ok bool) {
	ok = Zipmap(zm, func(field, value []byte) bool {
		pairs = append(pairs, string(field), string(value))
		return true
	})
	return pairs, ok
}

var ziplistValues = []any{
	"", "a", strings.Repeat("b", 63), strings.Repeat("c", 64), strings.Repeat("d", 253), strings.Repeat("e", 16383), strings.Repeat("f", 16384),
	int64(0), int64(12), int64(13), int64(-1), int64(-128), int64(-129), int64(32767), int64(-32769), int64(8388607), int64(-8388609),
	int64(1<<31 - 1), int64(-1 << 31), int64(1 << 31), int64(-1 << 63),
}

func TestZiplist(t *testing.T) {
	if got, ok := readZiplist(makeZiplist(ziplistValues...)); !ok || !slices.Equal(got, ziplistValues) {
		t.Errorf("got %.60v", got)
	}
	if got, ok := readZiplist(makeZiplist()); !ok || len(got) != 0 {
		t.Errorf("an empty one: %v %v", got, ok)
	}
	pairs := []string{"", "a", "b", "", "c", strings.Repeat("d", 253), strings.Repeat("e", 254), strings.Repeat("f", 1000)}
	if got, ok := readZipmap(makeZipmap(pairs...)); !ok || !slices.Equal(got, pairs) {
		t.Errorf("got %.60q", got)
	}
	if _, ok := readZipmap(makeZipmap()); ok {
		t.Error("an empty zipmap is accepted")
	}
}

// mutate changes a few bytes, or where b ends.
func mutate(r *rand.Rand, b []byte) []byte {
	b = slices.Clone(b)
	for range 1 + r.IntN(3) {
		i := r.IntN(len(b))
		switch r.IntN(4) {
		case 0:
			b[i] = byte(r.Uint32())
		case 1:
			b[i] += byte(r.IntN(3)) - 1
		case 2:
			b[i] = []byte{0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xd0, 0xe0, 0xf0, 0xf1, 0xfd, 0xfe, 0xff}[r.IntN(14)]
		case 3:
			if r.IntN(10) == 0 {
				b = b[:i+1]
			}
		}
	}
	return b
}

// TestMutantsAgainstOracle wants Ziplist and Zipmap to accept what RESTORE accepts,
// and to read the same from it.
func TestMutantsAgainstOracle(t *testing.T) {
	c := oracle.Start(t)
	r := rand.New(rand.NewPCG(1, 2))
	accepted := map[Type]int{}
	for i := range 20000 {
		var values []any
		for range r.IntN(4) {
			v := ziplistValues[r.IntN(len(ziplistValues))]
			if s, ok := v.(string); ok {
				v = s[:min(len(s), 300)]
			}
			values = append(values, v)
		}
		typ, b := TypeListZiplist, makeZiplist(values...)
		if i%2 == 0 {
			var pairs []string
			for j := range 1 + r.IntN(3) {
				pairs = append(pairs, fmt.Sprintf("f%d", j), strings.Repeat("v", r.IntN(300)))
			}
			typ, b = TypeHashZipmap, makeZipmap(pairs...)
		}
		b = mutate(r, b)
		if len(b) > 4 && r.IntN(2) == 0 && typ == TypeListZiplist {
			binary.LittleEndian.PutUint32(b, uint32(len(b)))
		}
		c.Do("DEL", "k")
		said := c.Do("RESTORE", "k", "0", oracle.Payload(byte(typ), b))
		var values2 []string
		var ok bool
		if typ == TypeHashZipmap {
			values2, ok = readZipmap(b)
		} else {
			var vs []any
			vs, ok = readZiplist(b)
			for _, v := range vs {
				values2 = append(values2, fmt.Sprint(v))
			}
			ok = ok && len(vs) > 0
		}
		duplicates := false
		for j := 0; typ == TypeHashZipmap && j < len(values2); j += 2 {
			for k := 0; k < j; k += 2 {
				duplicates = duplicates || values2[j] == values2[k]
			}
		}
		if got := said == "OK"; got != ok && !duplicates {
			t.Fatalf("type %d, %.300x: Redis says %s, we accept: %v", typ, b, said, ok)
		}
		if !ok || duplicates {
			continue
		}
		accepted[typ]++
		for j, v := range values2 {
			if typ == TypeListZiplist {
				if want := c.Do("LINDEX", "k", fmt.Sprint(j)); want != v {
					t.Fatalf("%.300x: at %d %q, want %q", b, j, v, want)
				}
			} else if j%2 == 0 {
				if want := c.Do("HGET", "k", v); want != values2[j+1] {
					t.Fatalf("%.300x: at %q %q, want %q", b, v, values2[j+1], want)
				}
			}
		}
	}
	t.Log("accepted, by type: ", accepted)
	for _, n := range accepted {
		if n < 500 {
			t.Error("too few to mean anything")
		}
	}
}

// FuzzZiplist and FuzzZipmap read anything.
func FuzzZiplist(f *testing.F) {
	f.Add(makeZiplist(ziplistValues...))
	f.Add(makeZiplist("a", int64(1), "bc"))
	f.Fuzz(func(t *testing.T, zl []byte) { readZiplist(zl) })
}

func FuzzZipmap(f *testing.F) {
	f.Add(makeZipmap("a", "b", "c", ""))
	f.Add(makeZipmap(strings.Repeat("a", 300), strings.Repeat("b", 300)))
	f.Fuzz(func(t *testing.T, zm []byte) { readZipmap(zm) })
}
