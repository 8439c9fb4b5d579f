package listpack

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/redscope/redscope/internal/oracle"
)

const rdbHashListpack = 16

// The same changes to a hash in a real Redis and here make the same bytes.
func TestBytesOfRedis(t *testing.T) {
	s := oracle.Start(t)
	s.Do("CONFIG", "SET", "hash-max-listpack-value", "10000000", "hash-max-listpack-entries", "1000000")
	r := rand.New(rand.NewPCG(5, 6))
	values := samples()
	lp := New()
	for i := range 600 {
		field := strconv.Itoa(r.IntN(150) * 3001)
		if i%2 == 0 {
			field = "f" + field
		}
		value := values[r.IntN(len(values))]
		if len(value) > 100000 && r.IntN(10) > 0 {
			value = ""
		}
		p := Find(lp, First(lp), []byte(field), 1)
		switch {
		case r.IntN(4) == 0 && p >= 0:
			s.Do("HDEL", "h", field)
			lp, _ = DeleteFrom(lp, p, 2)
		case p >= 0:
			s.Do("HSET", "h", field, value)
			lp, _ = Replace(lp, Next(lp, p), []byte(value))
		default:
			s.Do("HSET", "h", field, value)
			lp = Append(lp, []byte(field))
			lp = Append(lp, []byte(value))
		}
		if len(lp) == emptySize || i%20 != 0 && i < 550 {
			continue
		}
		rdbType, want := s.Dump("h")
		if rdbType != rdbHashListpack || !bytes.Equal(lp, want) {
			t.Fatalf("step %d: %d bytes of RDB type %d, want %d; the same up to %d", i, len(lp), rdbType, len(want), common(lp, want))
		}
	}
}

func common(a, b []byte) int {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	return i
}

// What Redis refuses to restore is not valid. The other way round there are two
// differences: for a hash Redis checks more than the listpack, and lengths that
// overflow pass with it.
func TestValidLikeRedis(t *testing.T) {
	s := oracle.Start(t)
	r := rand.New(rand.NewPCG(7, 8))
	values := samples()
	accepted := 0
	for range 3000 {
		lp := New()
		for i := range 2 * (1 + r.IntN(4)) {
			v := values[r.IntN(len(values))]
			if i%2 == 0 {
				v = "field" + strconv.Itoa(i)
			}
			lp = Append(lp, []byte(v[:min(len(v), 200)]))
		}
		lp[4+r.IntN(len(lp)-4)] ^= 1 << r.IntN(8)
		want := s.Do("RESTORE", "h", "0", oracle.Payload(rdbHashListpack, lp), "REPLACE")
		got := Valid(lp, true)
		switch {
		case want == "OK" && !got:
			t.Errorf("Redis takes %q", lp)
		case want != "OK" && got && plainHash(lp):
			t.Errorf("Redis says %s to %q", want, lp)
		case got:
			accepted++
		}
	}
	if accepted == 0 {
		t.Error("no mutation was accepted")
	}
}

// plainHash reports whether lp has what else a hash needs: pairs, with distinct
// fields.
func plainHash(lp []byte) bool {
	seen := map[string]bool{}
	var scratch [20]byte
	n := 0
	for p := First(lp); p >= 0; p = Next(lp, p) {
		if n++; n%2 == 0 {
			continue
		}
		field := string(Bytes(lp, p, &scratch))
		if seen[field] {
			return false
		}
		seen[field] = true
	}
	return n > 0 && n%2 == 0
}
