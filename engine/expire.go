package engine

import (
	"time"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/monotonic"
)

// expireIfNeeded deletes the entry r when its time has come, and reports
// whether it did.
func expireIfNeeded(s *Server, db *redisDb, r dict.Ref) bool {
	if !keyIsExpired(s, db, r) {
		return false
	}
	deleteExpired(s, db, r)
	return true
}

// keyIsExpired reports whether the time of the entry r has come. The time is
// the one at which the command began, so that it sees a key either all along or
// not at all.
func keyIsExpired(s *Server, db *redisDb, r dict.Ref) bool {
	ms, ok := db.dict.Expire(r)
	return ok && s.loopClock.unixMs > ms
}

func deleteExpired(s *Server, db *redisDb, r dict.Ref) {
	db.dict.DeleteRef(r)
	s.stat.expiredKeys++
}

// expireCycle is what activeExpireCycle remembers from one call to the next.
type expireCycle struct {
	db       int     // the database to go on with
	timedOut bool    // the last slow cycle ran out of time
	lastFast int64   // ticks when the last fast cycle began
	percent  float64 // running mean of the share of expired keys found
}

type expireCycleKind int

const (
	expireCycleFast expireCycleKind = iota // from beforeSleep, for a millisecond at most
	expireCycleSlow                        // from serverCron, for a share of its period
)

// The measures of the cycle, as in expire.c, for active-expire-effort 1.
const (
	expireKeysPerLoop      = 20
	expireFastDuration     = 1000 // µs
	expireSlowTimePercent  = 25   // of the processor
	expireAcceptableStale  = 10   // percent of keys that may be expired and still there
	expireDatabasesPerCall = 16
)

// activeExpireCycle deletes expired keys that nobody asks for. It goes through
// each database's index of expiring keys, a few at a time, for as long as more
// than the acceptable share of what it finds has expired, within its time.
//
// Redis samples its table of expires by buckets; here the index is dense, so
// that every step looks at a key.
//
//go:noinline
func activeExpireCycle(s *Server, kind expireCycleKind) {
	e := &s.expire
	effort := s.config.ActiveExpireEffort - 1
	keysPerLoop := expireKeysPerLoop + expireKeysPerLoop/4*effort
	fastDuration := time.Duration(expireFastDuration+expireFastDuration/4*effort) * time.Microsecond
	slowPercent := expireSlowTimePercent + 2*effort
	acceptable := float64(expireAcceptableStale - effort)

	start := monotonic.Ticks()
	limit := time.Duration(slowPercent) * time.Second / time.Duration(s.cron.hz*100)
	if kind == expireCycleFast {
		// Only when the last slow cycle left work, and not more often than it takes.
		if !e.timedOut && e.percent < acceptable {
			return
		}
		if e.lastFast != 0 && time.Duration(monotonic.Nanos(start-e.lastFast)) < 2*fastDuration {
			return
		}
		e.lastFast = start
		limit = fastDuration
	}
	e.timedOut = false

	var sampledTotal, expiredTotal, iterations int
	databases := min(expireDatabasesPerCall, len(s.db))
	for range databases {
		if e.timedOut {
			break
		}
		db := s.db[e.db%len(s.db)]
		e.db++
		for {
			n := db.dict.Expiring()
			if n == 0 {
				db.avgTTL = 0
				break
			}
			sampled, expired := db.expireSome(s, min(keysPerLoop, n))
			sampledTotal += sampled
			expiredTotal += expired
			iterations++
			if iterations%16 == 0 && time.Duration(monotonic.Nanos(monotonic.Ticks()-start)) > limit {
				e.timedOut = true
				s.stat.expiredTimeCap++
				break
			}
			if float64(expired)*100 <= acceptable*float64(sampled) {
				break
			}
		}
	}
	s.stat.expireCycleTime += monotonic.Nanos(monotonic.Ticks()-start) / 1000
	current := 0.0
	if sampledTotal > 0 {
		current = float64(expiredTotal) * 100 / float64(sampledTotal)
	}
	e.percent = current*0.05 + e.percent*0.95
	s.stat.expiredStalePercent = e.percent
}

// expireSome looks at n expiring keys from the database's cursor on and deletes
// those whose time has come.
func (db *redisDb) expireSome(s *Server, n int) (sampled, expired int) {
	var ttlSum int64
	var ttls int64
	for range n {
		total := db.dict.Expiring()
		if total == 0 {
			break
		}
		// Backwards: deleting an entry puts the last of the index in its place,
		// and that one has been seen.
		db.cursor--
		if db.cursor < 0 || db.cursor >= total {
			db.cursor = total - 1
		}
		r := db.dict.ExpiringAt(db.cursor)
		sampled++
		ms, _ := db.dict.Expire(r)
		if ttl := ms - s.loopClock.unixMs; ttl > 0 {
			ttlSum += ttl
			ttls++
		}
		if keyIsExpired(s, db, r) {
			deleteExpired(s, db, r)
			expired++
		}
	}
	if ttls > 0 {
		mean := ttlSum / ttls
		if db.avgTTL == 0 {
			db.avgTTL = mean
		}
		db.avgTTL = db.avgTTL/50*49 + mean/50
	}
	return sampled, expired
}
