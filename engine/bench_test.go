package engine

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
)

// cpuTime is what the process has used, in nanoseconds. On a machine that does
// other things too it says more than the clock on the wall.
func cpuTime() int64 {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return r.Utime.Nano() + r.Stime.Nano()
}

// benchmarkServer is a server that listens on no port that anyone knows, with a
// client whose socket is /dev/null.
func benchmarkServer(b testing.TB) (*Server, *client) {
	cfg := DefaultConfig()
	cfg.Port, cfg.AnyPort = 0, true
	cfg.LogLevel = logNothing
	s, err := New(cfg, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	c := &client{srv: s, id: 1, db: s.db[0], resp: 2, authenticated: true}
	c.fd = -1
	c.client = c
	return s, c
}

// pipelines returns reads of n commands each, with keys drawn from keySpace.
func pipelines(n, keySpace int, command func(key string) []string) [][]byte {
	reads := make([][]byte, 4096)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range reads {
		var b strings.Builder
		for range n {
			args := command(fmt.Sprintf("key:%012d", rng.IntN(keySpace)))
			fmt.Fprintf(&b, "*%d\r\n", len(args))
			for _, a := range args {
				fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
			}
		}
		reads[i] = []byte(b.String())
	}
	return reads
}

// benchmarkReads has a client's reads of 16 commands each executed in turn.
func benchmarkReads(b *testing.B, c *client, reads [][]byte) {
	b.ReportAllocs()
	before := cpuTime()
	n := 0
	for b.Loop() {
		c.query, c.pos = reads[n%len(reads)], 0
		processInputBuffer(c)
		c.buf = c.buf[:0]
		n++
	}
	b.ReportMetric(float64(cpuTime()-before)/float64(n*16), "cpu-ns/command")
}

// BenchmarkPath is the path of a command without its socket: from the bytes of
// a read to the bytes of the reply, 16 commands a read, 1,000,000 keys.
func BenchmarkPath(b *testing.B) {
	for name, command := range map[string]func(string) []string{
		"SET": func(k string) []string { return []string{"SET", k, "xxx"} },
		"GET": func(k string) []string { return []string{"GET", k} },
	} {
		b.Run(name, func(b *testing.B) {
			s, c := benchmarkServer(b)
			const keySpace = 1_000_000
			for i := range keySpace {
				if _, err := s.db[0].dict.Add(fmt.Appendf(nil, "key:%012d", i), []byte("xxx"), makeMeta(typeString, encodingEmbstr, 0)); err != nil {
					b.Fatal(err)
				}
			}
			reads := pipelines(16, keySpace, command)
			benchmarkReads(b, c, reads)
		})
	}
}
