package engine

import (
	"math"
	"testing"
)

// TestLFUDecay lets minutes pass over counters.
func TestLFUDecay(t *testing.T) {
	s := newDirectServer(t)
	for _, test := range []struct {
		decay, then, now, counter, want int64
	}{
		{1, 10, 10, 100, 100},
		{1, 10, 15, 100, 95},
		{1, 10, 200, 100, 0},
		{10, 10, 35, 100, 98},
		{0, 10, 60000, 100, 100},
		{1, 65530, 2, 100, 93}, // the clock has wrapped: Redis loses a minute
		{math.MaxInt32, 0, 65535, 255, 255},
	} {
		s.config.LFUDecayTime = int(test.decay)
		s.loopClock.unixMs = (test.now + 1<<16) * 60_000
		if _, got := lfuDecrAndReturn(s.Server, uint32(test.then<<8|test.counter)); int64(got) != test.want {
			t.Errorf("%+v: got %d", test, got)
		}
	}
}

// TestLFUIncrement holds the mean of many counters against the table in Redis's
// redis.conf: with a factor of 10, a thousand uses make 18, a hundred thousand 142.
func TestLFUIncrement(t *testing.T) {
	s := newDirectServer(t)
	s.config.LFULogFactor, s.config.LFUDecayTime = 10, 0
	for _, test := range []struct{ uses, low, high int }{{100, 8, 12}, {1000, 15, 21}, {100_000, 135, 150}} {
		const values = 20
		sum := 0
		for range values {
			mark := uint32(lfuInit)
			for range test.uses {
				mark = updateLFU(s.Server, mark)
			}
			sum += int(mark & lfuCounter)
		}
		if mean := sum / values; mean < test.low || mean > test.high {
			t.Errorf("%d uses make %d", test.uses, mean)
		}
	}
	s.config.LFULogFactor = 0
	mark := uint32(0)
	for range 300 {
		mark = updateLFU(s.Server, mark)
	}
	if mark&lfuCounter != 255 {
		t.Errorf("the counter ends at %d", mark&lfuCounter)
	}
}
