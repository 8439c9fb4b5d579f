package monotonic

import (
	"testing"
	"time"
)

// The kernel's clock is the reference: durations agree with it to 0.1 %, and
// Unix follows it to a millisecond.
func TestAgainstSystemClock(t *testing.T) {
	for range 3 {
		ticks, begin := Ticks(), time.Now()
		time.Sleep(50 * time.Millisecond)
		got, want := Nanos(Ticks()-ticks), time.Since(begin).Nanoseconds()
		if diff := got - want; diff > want/1000 || diff < -want/1000 {
			t.Errorf("measured %d ns where the kernel measured %d", got, want)
		}
		Recalibrate()
		if off := time.Since(time.Unix(0, Unix(Ticks()))); off > time.Millisecond || off < -time.Millisecond {
			t.Errorf("Unix is off by %v", off)
		}
	}
}

func TestStampNeverRunsBackwards(t *testing.T) {
	last := Stamp(Ticks())
	for i := range 200_000 {
		if i%1000 == 0 {
			Recalibrate()
		}
		now := Stamp(Ticks())
		if now < last {
			t.Fatalf("stamp %d came after %d", now, last)
		}
		last = now
	}
}

func BenchmarkTicks(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Ticks()
	}
}
