package intset

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/redscope/redscope/internal/oracle"
)

const rdbSetIntset = 11

// The same changes to a set in a real Redis and here make the same bytes.
func TestBytesOfRedis(t *testing.T) {
	s := oracle.Start(t)
	r := rand.New(rand.NewPCG(5, 6))
	for _, bits := range []uint{8, 17, 33, 64} {
		s.Do("DEL", "s")
		is := New()
		for i := range 200 {
			v := int64(r.Uint64()) >> (64 - bits)
			if i < 50 {
				v >>= bits / 2 // so that it widens only later
			}
			arg := strconv.FormatInt(v, 10)
			if r.IntN(3) > 0 || Len(is) == 0 {
				s.Do("SADD", "s", arg)
				is, _ = Add(is, v)
			} else {
				v = Random(is)
				s.Do("SREM", "s", strconv.FormatInt(v, 10))
				is, _ = Remove(is, v)
			}
			if Len(is) == 0 {
				continue
			}
			if rdbType, want := s.Dump("s"); rdbType != rdbSetIntset || !bytes.Equal(is, want) {
				t.Fatalf("%q of RDB type %d, want %q", is, rdbType, want)
			}
		}
	}
}

func TestValidLikeRedis(t *testing.T) {
	s := oracle.Start(t)
	r := rand.New(rand.NewPCG(7, 8))
	for range 3000 {
		is := New()
		for range 1 + r.IntN(5) {
			is, _ = Add(is, int64(r.Uint64())>>(8*r.IntN(8)))
		}
		is[r.IntN(len(is))] ^= 1 << r.IntN(8)
		if r.IntN(10) == 0 {
			is = is[:r.IntN(len(is))]
		}
		want := s.Do("RESTORE", "s", "0", oracle.Payload(rdbSetIntset, is), "REPLACE")
		if got := Valid(is, true); got != (want == "OK") {
			t.Errorf("Valid(%q) is %v, Redis says %s", is, got, want)
		}
	}
}
