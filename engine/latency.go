package engine

import "math/bits"

// latencyHistogram counts the calls of a command by the time they took, to two
// significant digits up to a second, laid out as the HDR histogram of Redis is,
// so that both report the same values. It takes 24 KiB; a command gets one with
// its first call.
type latencyHistogram struct {
	total  uint64
	counts [latencyBuckets]uint64
}

const (
	latencyHalf    = 128 // half the linear steps per power of two: 2*10² rounded up
	latencyLongest = 1e9 // ns
	latencyBuckets = 24 * latencyHalf
)

func (h *latencyHistogram) add(ns int64) {
	h.total++
	n := uint64(min(max(ns, 0), latencyLongest))
	shift := bits.Len64(n|(2*latencyHalf-1)) - 8
	h.counts[shift*latencyHalf+int(n>>shift)]++
}

// percentile returns the time, in ns, below or at which the given share of the
// calls was: the largest that falls in the same step.
func (h *latencyHistogram) percentile(share float64) int64 {
	rank := max(1, uint64(share/100*float64(h.total)+0.5))
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen < rank {
			continue
		}
		if i < 2*latencyHalf {
			return int64(i)
		}
		shift := i/latencyHalf - 1
		step := int64(i - shift*latencyHalf)
		return (step+1)<<shift - 1
	}
	return 0
}
