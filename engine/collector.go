package engine

import (
	"os"
	"runtime/debug"
)

// Values that are too large for a slot are ordinary byte slices, and Go's
// collector lets the heap grow by as much again before it looks for garbage. For
// a server whose heap is large values that doubles the memory, and saves next to
// nothing: the collector does not look into them, so that a cycle costs the same
// for a gigabyte of them as for none. The more they take, the less the heap may
// grow.

// collector is what paceCollector remembers.
type collector struct {
	percent int // as last set; 0 for never
}

const (
	// Garbage is let grow to this size before the heap's share counts, in bytes.
	garbageAllowed = 64 << 20
	// minPercent bounds how often a heap of large values is collected.
	minPercent = 10
)

// paceCollector sets how far the heap may grow, in percent. It leaves it to
// GOGC when that is set, and changes it in steps, because a change stops the
// world for a moment.
func (s *Server) paceCollector() {
	percent := 100
	if large := s.arena.LargeBytes(); large > garbageAllowed {
		percent = max(minPercent, int(100*garbageAllowed/large))
	}
	last := s.collector.percent
	if percent == last || last != 0 && percent != minPercent && percent != 100 && abs(percent-last) < last/4 {
		return
	}
	s.collector.percent = percent
	if os.Getenv("GOGC") == "" && (last != 0 || percent != 100) {
		debug.SetGCPercent(percent)
	}
}

func abs(n int) int { return max(n, -n) }
