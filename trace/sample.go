package trace

import (
	"math"
	"math/rand/v2"
	"sync/atomic"
)

// publishEvery bounds how many skipped reads may be missing from Stats, and the
// price of that: one look in so many reads.
const publishEvery = 1024

// A sampler decides which reads are traced, each with the same probability and
// independently of the others. It does not draw a number per read: it draws how
// many reads to skip until the next hit, which is geometrically distributed,
// and counts down. Counting every hundredth read instead would lock on to
// clients that send in a rhythm.
//
// Only the event-loop thread calls read.
type sampler struct {
	left  uint64 // reads to skip before look
	chunk uint64 // size of the chunk that left counts down
	gap   uint64 // reads to skip after that chunk

	perLog float64 // 1/ln(1-p); 0 when every read is traced
	random *rand.PCG

	sampled atomic.Uint64
	skipped atomic.Uint64 // lags by up to publishEvery
}

// newSampler returns a sampler with probability p in (0, 1].
func newSampler(p float64, random *rand.PCG) *sampler {
	s := &sampler{random: random}
	if p < 1 {
		s.perLog = 1 / math.Log1p(-p)
	}
	s.draw()
	s.left = s.chunk
	return s
}

// read reports whether the next read is traced.
func (s *sampler) read() bool {
	if s.left > 0 {
		s.left--
		return false
	}
	return s.look()
}

// look ends a chunk of skipped reads.
func (s *sampler) look() bool {
	s.skipped.Store(s.skipped.Load() + s.chunk)
	if s.gap > 0 {
		s.take()
		s.left = s.chunk - 1 // this read is the chunk's first
		return false
	}
	s.sampled.Store(s.sampled.Load() + 1)
	s.draw()
	s.left = s.chunk
	return true
}

// draw sets gap to the number of reads before the next hit and takes the first
// chunk from it.
func (s *sampler) draw() {
	s.gap = 0
	if s.perLog != 0 {
		// 53 random bits, in [0, 1).
		u := float64(s.random.Uint64()>>11) / (1 << 53)
		s.gap = uint64(math.Log1p(-u) * s.perLog)
	}
	s.take()
}

func (s *sampler) take() {
	s.chunk = min(s.gap, publishEvery)
	s.gap -= s.chunk
}
