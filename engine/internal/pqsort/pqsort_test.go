package pqsort

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/redscope/redscope/internal/oracle"
)

func TestSort(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		s := make([]int, r.IntN(100))
		for i := range s {
			s[i] = r.IntN(1 + r.IntN(100))
		}
		want := slices.Clone(s)
		slices.Sort(want)
		given := slices.Clone(s)
		first := r.IntN(len(s) + 1)
		last := first + r.IntN(len(s)+1-first) - 1
		Sort(s, first, last, func(a, b *int) int { return cmp.Compare(*a, *b) })
		if !slices.Equal(s[first:last+1], want[first:last+1]) {
			t.Fatalf("%d to %d of %v: %v", first, last, given, s)
		}
		slices.Sort(s)
		if !slices.Equal(s, want) {
			t.Fatalf("%d to %d of %v: elements were lost", first, last, given)
		}
	}
}

// TestTiesAsRedis sorts elements of which many compare equal: by the weights that a
// real SORT looks up, of which there are few.
func TestTiesAsRedis(t *testing.T) {
	c := oracle.Start(t)
	const weights = 4
	for i := range weights {
		for k := range 100 {
			c.Do("SET", fmt.Sprintf("w%d", i*100+k), fmt.Sprint(i))
		}
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		s := make([]string, 2+r.IntN(150))
		command := []string{"RPUSH", "l"}
		for i := range s {
			s[i] = strconv.Itoa(r.IntN(100 * weights))
		}
		c.Do("DEL", "l", "d")
		c.Do(append(command, s...)...)
		// Less than all, or Redis takes another function.
		first := r.IntN(len(s))
		count := 1 + r.IntN(len(s)-first)
		if count == len(s) {
			count--
		}
		c.Do("SORT", "l", "BY", "w*", "ALPHA", "LIMIT", strconv.Itoa(first), strconv.Itoa(count), "STORE", "d")
		given := slices.Clone(s)
		weight := func(e string) int { n, _ := strconv.Atoi(e); return n / 100 }
		Sort(s, first, first+count-1, func(a, b *string) int { return weight(*a) - weight(*b) })
		for i := range count {
			if want := c.Do("LINDEX", "d", strconv.Itoa(i)); s[first+i] != want {
				t.Fatalf("%d of %d of %q: element %d is %s, in Redis %s", count, first, given, i, s[first+i], want)
			}
		}
	}
}
