package engine

import (
	"math/rand/v2"

	"github.com/redscope/redscope/engine/internal/dict"
)

// What a value's 24 bits of LRU say depends on maxmemory-policy. By default it is
// when the value was last used, as the low bits of the Unix time in seconds. Under
// an LFU policy it is how often: in the low 8 bits a counter that grows the more
// seldom the higher it is, and above them 16 bits of the Unix time in minutes, by
// which the counter falls when the value is not used. A change of policy leaves
// the values as they are, and time puts them right, as in Redis.

// maxmemoryPolicy is the value of maxmemory-policy, an index of maxmemoryPolicies.
type maxmemoryPolicy int

var maxmemoryPolicies = []string{
	"volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl", "allkeys-lru", "allkeys-lfu", "allkeys-random", "noeviction",
}

const (
	volatileLFU maxmemoryPolicy = 1
	allkeysLFU  maxmemoryPolicy = 5
)

func (p maxmemoryPolicy) isLFU() bool { return p == volatileLFU || p == allkeysLFU }

const (
	lfuCounter = 0xff
	lfuInit    = 5 // of a new value, so that it is not the first to go
)

// lruClock is the time in LRU_CLOCK_RESOLUTION.
func (s *Server) lruClock() uint32 { return uint32(s.loopClock.unixMs/1000) & lruMask }

// lfuMinutes is the time as the counters' decay goes by it.
func (s *Server) lfuMinutes() uint32 { return uint32(s.loopClock.unixMs/60_000) & 0xffff }

// newValueMark is what a new value has in its 24 bits.
func (s *Server) newValueMark() uint32 {
	if s.config.MaxmemoryPolicy.isLFU() {
		return s.lfuMinutes()<<8 | lfuInit
	}
	return s.lruClock()
}

func (s *Server) applyMaxmemoryPolicy() string {
	s.loopClock.lru = s.newValueMark()
	return ""
}

// estimateObjectIdleTime returns the seconds since the value at r was last used.
// The clock that it is counted in wraps every 194 days.
//
//go:noinline
func estimateObjectIdleTime(s *Server, d *dict.Dict, r dict.Ref) int64 {
	return int64((s.lruClock() - metaLRU(d.Meta(r))) & lruMask)
}

// lfuDecrAndReturn returns the minutes now, and the counter that mark, a value's
// 24 bits, has come down to by now.
func lfuDecrAndReturn(s *Server, mark uint32) (minutes, counter uint32) {
	minutes, counter = s.lfuMinutes(), mark&lfuCounter
	if s.config.LFUDecayTime == 0 {
		return minutes, counter
	}
	idle := minutes - mark>>8
	if minutes < mark>>8 {
		idle = 0xffff - mark>>8 + minutes
	}
	return minutes, counter - min(counter, idle/uint32(s.config.LFUDecayTime))
}

// updateLFU returns a value's 24 bits after it was used once more.
//
//go:noinline
func updateLFU(s *Server, mark uint32) uint32 {
	minutes, counter := lfuDecrAndReturn(s, mark)
	above := float64(max(counter, lfuInit) - lfuInit)
	if counter < lfuCounter && rand.Float64() < 1/(above*float64(s.config.LFULogFactor)+1) {
		counter++
	}
	return minutes<<8 | counter
}
