package engine

import (
	"fmt"
	"slices"
	"testing"

	"github.com/redscope/redscope/engine/internal/monotonic"
)

// BenchmarkRecords measures what the records of a turn cost the commands, without
// the marker that passes them: turns of 7 reads, each with the stamps that a read
// and a write of a socket have, in rounds that take turns. bpf/budget.go has what
// comes out of it.
//
//	go test ./engine -run '^$' -bench Records -benchtime 41x
func BenchmarkRecords(b *testing.B) {
	const keySpace, perRound, perTurn = 1000, 2000, 7
	for _, pipeline := range []int{1, 16} {
		b.Run(fmt.Sprintf("P%d", pipeline), func(b *testing.B) {
			s, c := benchmarkServer(b)
			reads := pipelines(pipeline, keySpace, func(k string) []string { return []string{"SET", k, "xxx"} })
			round := func(t *loopTurn) float64 {
				s.turn = t
				before := cpuTime()
				for i := range perRound {
					if t != nil {
						if i%perTurn == 0 {
							t.wake, t.nanos = monotonic.Kernel()
						}
						t.readStart, t.readEnd = t.now(), t.now()
					}
					c.query, c.pos = reads[i%len(reads)], 0
					processInputBuffer(c)
					c.buf = c.buf[:0]
					if t != nil {
						t.writeStart = t.now()
						t.written(c)
						if i%perTurn == perTurn-1 {
							t.end()
						}
					}
				}
				return float64(cpuTime()-before) / float64(perRound*pipeline)
			}
			t := newLoopTurn(s)
			round(nil)
			var more []float64
			for b.Loop() {
				more = append(more, -round(nil)+round(t))
			}
			s.turn = nil
			slices.Sort(more)
			b.ReportMetric(more[len(more)/2], "more-ns/command")
			b.ReportMetric(0, "ns/op")
		})
	}
}
