package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// executeRead runs commands that arrive in one read.
func (c *client) executeRead(read []byte) {
	c.query, c.pos = read, 0
	processInputBuffer(c)
	c.buf = c.buf[:0]
}

// benchmarkZset makes a sorted set of n members with random scores.
func benchmarkZset(b testing.TB, n int) (*Server, *client) {
	s, c := benchmarkServer(b)
	z, err := newZset(s.arena)
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		if err := z.add(fmt.Appendf(nil, "element:%012d", i), rand.Float64()*float64(n)); err != nil {
			b.Fatal(err)
		}
	}
	key := []byte("z")
	if _, ok := dbAddObject(c, c.db, c.hash(key), key, typeZset, encodingSkiplist, z); !ok {
		b.Fatal("no memory")
	}
	return s, c
}

// A pipeline of 16 commands, on a sorted set of 1,000,000 members.
func BenchmarkZset(b *testing.B) {
	const members = 1_000_000
	for name, command := range map[string]func() []string{
		"ZADD": func() []string {
			return []string{"ZADD", "z", fmt.Sprint(rand.IntN(members)), fmt.Sprintf("element:%012d", rand.IntN(members))}
		},
		"ZSCORE": func() []string { return []string{"ZSCORE", "z", fmt.Sprintf("element:%012d", rand.IntN(members))} },
		"ZRANGE_100": func() []string {
			from := rand.IntN(members - 100)
			return []string{"ZRANGE", "z", fmt.Sprint(from), fmt.Sprint(from + 99)}
		},
		"ZRANGE_100_SAME": func() []string { return []string{"ZRANGE", "z", "500000", "500099"} },
	} {
		b.Run(name, func(b *testing.B) {
			_, c := benchmarkZset(b, members)
			reads := pipelines(16, members, func(string) []string { return command() })
			b.ReportAllocs()
			before := cpuTime()
			n := 0
			for b.Loop() {
				c.executeRead(reads[n%len(reads)])
				n++
			}
			b.ReportMetric(float64(cpuTime()-before)/float64(n*16), "cpu-ns/command")
		})
	}
}
