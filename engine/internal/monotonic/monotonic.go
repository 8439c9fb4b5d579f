// Package monotonic is the server's clock, after Redis's monotonic.c: a counter
// that never runs backwards and is cheap enough to be read twice per command.
//
// On x86-64 with an invariant TSC and on arm64 it is the processor's own
// counter, which costs 10 ns where clock_gettime costs 36 ns. Elsewhere it is
// the runtime's nanotime. It must not be used across machines or reboots, and
// it never sleeps.
package monotonic

import (
	"bytes"
	"math"
	"math/bits"
	"os"
	"sync/atomic"
	"time"
	_ "unsafe" // for go:linkname
)

//go:linkname nanotime runtime.nanotime
func nanotime() int64

// A scale turns counter ticks into nanoseconds. It is replaced as a whole, so
// that a reader on another thread never sees half of a new one.
type scale struct {
	ticks int64  // the counter at the reference point
	mono  int64  // monotonic time there, in ns since the Unix epoch at the start
	unix  int64  // the system's time there, in ns since the Unix epoch
	mult  uint64 // nanoseconds per tick, a 32.32 fixed-point number
}

var (
	hardware bool
	current  atomic.Pointer[scale]

	// The two clocks when the process started: the baseline of the frequency.
	startTicks, startNanos int64
)

// calibration is how long the process watches both clocks when it starts. Five
// milliseconds give the frequency to about 20 ppm; Recalibrate makes it exact.
const calibration = 5 * time.Millisecond

func init() {
	hardware = counterUsable()
	startTicks, startNanos = together(nanotime)
	now, unix := together(systemTime)
	s := &scale{ticks: now, mono: unix, unix: unix, mult: 1 << 32}
	if hardware {
		for nanotime()-startNanos < int64(calibration) {
		}
		s.mult = frequency(s.mult)
	}
	current.Store(s)
}

// counterUsable reports whether the processor's counter ticks at one rate
// whatever the power state, and alike on all cores.
func counterUsable() bool {
	if !haveCounter {
		return false
	}
	if !needsInvariantTSC {
		return true
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return false
	}
	i := bytes.Index(info, []byte("\nflags"))
	if i < 0 {
		return false
	}
	flags, _, _ := bytes.Cut(info[i+1:], []byte("\n"))
	return bytes.Contains(flags, []byte(" constant_tsc")) && bytes.Contains(flags, []byte(" nonstop_tsc"))
}

// Source says which clock it is, in the words of Redis's INFO.
func Source() string {
	if hardware {
		return "processor counter"
	}
	return "POSIX clock_gettime"
}

func systemTime() int64 { return time.Now().UnixNano() }

// together reads the counter and another clock at the same moment: of a few
// attempts the one that took least, because a busy machine may take the
// processor away for milliseconds between the two.
func together(clock func() int64) (ticks, nanos int64) {
	least := int64(math.MaxInt64)
	for range 5 {
		before := Ticks()
		now := clock()
		if took := Ticks() - before; took < least {
			least, ticks, nanos = took, before+took/2, now
		}
	}
	return ticks, nanos
}

// frequency returns the nanoseconds per tick since the process started, or
// fallback when nothing can be measured.
func frequency(fallback uint64) uint64 {
	nowTicks, nowNanos := together(nanotime)
	ticks, nanos := uint64(nowTicks-startTicks), uint64(nowNanos-startNanos)
	if ticks == 0 || nanos>>32 >= ticks {
		return fallback
	}
	mult, _ := bits.Div64(nanos>>32, nanos<<32, ticks)
	return mult
}

// Recalibrate takes the counter's frequency from the whole time since the
// process started and follows the system's time. Call it every 100 ms or so,
// from one goroutine. Stamp goes on without a step.
func Recalibrate() {
	old := current.Load()
	now, unix := together(systemTime)
	s := scale{ticks: now, mono: old.mono + old.nanos(now), unix: unix, mult: old.mult}
	if hardware {
		s.mult = frequency(old.mult)
	}
	current.Store(&s)
}

// nanos returns the nanoseconds from s's reference point to ticks, negative
// when ticks lies before it.
func (s *scale) nanos(ticks int64) int64 {
	if ticks < s.ticks {
		return -s.scaled(s.ticks - ticks)
	}
	return s.scaled(ticks - s.ticks)
}

func (s *scale) scaled(ticks int64) int64 {
	hi, lo := bits.Mul64(uint64(ticks), s.mult)
	return int64(hi<<32 | lo>>32)
}

// Ticks reads the counter. The unit is the processor's; see Nanos.
func Ticks() int64 {
	if hardware {
		return counter()
	}
	return nanotime()
}

// Nanos turns a difference of Ticks, not negative, into nanoseconds.
func Nanos(ticks int64) int64 { return current.Load().scaled(ticks) }

// Kernel returns Ticks, and CLOCK_MONOTONIC in nanoseconds at the same moment.
func Kernel() (ticks, nanos int64) { return Ticks(), nanotime() }

// Unix turns a value of Ticks into the system's time, in nanoseconds since the
// Unix epoch. It steps when somebody sets the system's clock, as Redis's
// ustime does: keys expire by it.
func Unix(ticks int64) int64 {
	s := current.Load()
	return s.unix + s.nanos(ticks)
}

// Stamp turns a value of Ticks into nanoseconds since the Unix epoch by the
// system's clock as it was when the process started. It never runs backwards.
func Stamp(ticks int64) int64 {
	s := current.Load()
	return s.mono + s.nanos(ticks)
}
