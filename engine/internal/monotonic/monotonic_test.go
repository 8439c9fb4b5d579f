package monotonic

import (
	"testing"
	"time"
)

// A reading is what the clock under test says, between two readings of the
// kernel's.
type reading struct {
	before, after time.Time
	value         int64
}

// read reads until the kernel's two readings are close: the thread was not
// interrupted between them.
func read(t *testing.T, clock func() int64) reading {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		r := reading{before: time.Now()}
		r.value = clock()
		r.after = time.Now()
		if r.after.Sub(r.before) < 5*time.Microsecond {
			return r
		}
	}
	t.Fatal("the clock cannot be read within 5 µs")
	return reading{}
}

// The kernel's clock is the reference: durations agree with it to 0.1 %, and
// Unix follows it to a millisecond.
func TestAgainstSystemClock(t *testing.T) {
	unix := func() int64 { return Unix(Ticks()) }
	for range 3 {
		begin := read(t, Ticks)
		time.Sleep(50 * time.Millisecond)
		end := read(t, Ticks)
		got := Nanos(end.value - begin.value)
		least, most := end.before.Sub(begin.after).Nanoseconds(), end.after.Sub(begin.before).Nanoseconds()
		if got < least-least/1000 || got > most+most/1000 {
			t.Errorf("measured %d ns where the kernel measured %d to %d", got, least, most)
		}
		Recalibrate()
		now := read(t, unix)
		if at := time.Unix(0, now.value); at.Before(now.before.Add(-time.Millisecond)) || at.After(now.after.Add(time.Millisecond)) {
			t.Errorf("Unix says %v where the kernel says %v", at, now.before)
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
