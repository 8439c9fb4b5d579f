package engine

import (
	"math"
	"math/bits"
	"time"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/monotonic"
	"github.com/redscope/redscope/engine/probe"
)

// getExpire returns when the entry r expires, Unix ms, or noExpire.
func getExpire(db *redisDb, r dict.Ref) int64 {
	if ms, ok := db.dict.Expire(r); ok {
		return ms
	}
	return noExpire
}

// setExpire sets when the entry r expires, Unix ms, and returns its new ref. When
// memory is out, it tells the client and returns false, and nothing has changed.
func setExpire(c *client, db *redisDb, r dict.Ref, when int64) (dict.Ref, bool) {
	r, err := db.dict.SetExpire(r, when)
	if err != nil {
		replyNoMemory(c, err)
		return 0, false
	}
	return r, true
}

// checkAlreadyExpired reports whether a time that a client gave has come.
func checkAlreadyExpired(s *Server, when int64) bool { return when <= s.loopClock.unixMs }

// expireIfNeeded reports whether the time of the entry r has come, and then
// deletes it, unless CLIENT PAUSE is under way: it wants the data to stay.
//
//go:noinline
func expireIfNeeded(s *Server, db *redisDb, r dict.Ref) bool {
	if !keyIsExpired(s, db, r) {
		return false
	}
	if !s.pausing() {
		deleteExpired(s, db, r)
	}
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
	if e := metaEncoding(db.dict.Meta(r)); e.ownsMore() {
		releaseKey(s, db, r, e)
	}
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
	if s.pausing() {
		return
	}
	e := &s.expire
	effort := s.config.ActiveExpireEffort - 1
	keysPerLoop := expireKeysPerLoop + expireKeysPerLoop/4*effort
	fastDuration := time.Duration(expireFastDuration+expireFastDuration/4*effort) * time.Microsecond
	slowPercent := expireSlowTimePercent + 2*effort
	acceptable := expireAcceptableStale - effort

	start := monotonic.Ticks()
	limit := time.Duration(slowPercent) * time.Second / time.Duration(s.cron.hz*100)
	if kind == expireCycleFast {
		// Only when the last slow cycle left work, and not more often than it takes.
		if !e.timedOut && e.percent < float64(acceptable) {
			return
		}
		if e.lastFast != 0 && time.Duration(monotonic.Nanos(start-e.lastFast)) < 2*fastDuration {
			return
		}
		e.lastFast = start
		limit = fastDuration
	}
	databases := expireDatabasesPerCall
	if databases > len(s.db) || e.timedOut {
		databases = len(s.db) // keys that the last call left may be in any
	}
	e.timedOut = false

	var sampledTotal, expiredTotal, iterations int
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
			if expired*100/sampled <= acceptable {
				break
			}
		}
	}
	end := monotonic.Ticks()
	s.stat.expireCycleTime += monotonic.Nanos(end-start) / 1000
	if watching && probe.LoopWorkEnabled() {
		passWork(probe.WorkExpire, start, end, expiredTotal)
	}
	current := 0.0
	if sampledTotal > 0 {
		current = float64(expiredTotal) * 100 / float64(sampledTotal)
	}
	e.percent = current*0.05 + e.percent*0.95
	s.stat.expiredStalePercent = e.percent
}

// golden is 2^64 divided by the golden ratio.
const golden = 0x9e3779b97f4a7c15

// expireSome looks at n expiring keys from the database's cursor on and deletes
// those whose time has come.
//
// The index is in the order of insertion, where keys of one kind stand together:
// walking along it would judge all by a few neighbours. So the cursor, a fraction
// of 2^64 of the way through the index, moves on by the golden ratio each time. Any
// stretch of such steps is spread evenly over the index, and n steps through n keys
// leave none out for long, as a random choice would.
func (db *redisDb) expireSome(s *Server, n int) (sampled, expired int) {
	var ttlSum int64
	var ttls int64
	for range n {
		total := db.dict.Expiring()
		if total == 0 {
			break
		}
		db.cursor += golden
		position, _ := bits.Mul64(db.cursor, uint64(total))
		r := db.dict.ExpiringAt(int(position))
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

// expireFlags are the conditions of EXPIRE.
type expireFlags uint8

const (
	expireNX expireFlags = 1 << iota // only if the key has no expire time
	expireXX                         // only if it has one
	expireGT                         // only if the new one is later
	expireLT                         // only if the new one is earlier
)

// parseExtendedExpireArgumentsOrReply reads the conditions of EXPIRE and its like.
//
//go:noinline
func parseExtendedExpireArgumentsOrReply(c *client) (flags expireFlags, ok bool) {
	for _, opt := range c.argv[3:] {
		switch {
		case equalFoldC(opt, "nx"):
			flags |= expireNX
		case equalFoldC(opt, "xx"):
			flags |= expireXX
		case equalFoldC(opt, "gt"):
			flags |= expireGT
		case equalFoldC(opt, "lt"):
			flags |= expireLT
		default:
			addReplyErrorFormat(c, "Unsupported option %s", cString(opt))
			return 0, false
		}
	}
	if flags&expireNX != 0 && flags != expireNX {
		addReplyError(c, "NX and XX, GT or LT options at the same time are not compatible")
		return 0, false
	}
	if flags&expireGT != 0 && flags&expireLT != 0 {
		addReplyError(c, "GT and LT options at the same time are not compatible")
		return 0, false
	}
	return flags, true
}

// expireGenericCommand sets when the first key expires: at base, Unix ms, plus the
// second argument, whose unit is given in ms. A time that has come deletes the key.
//
//go:noinline
func expireGenericCommand(c *client, base, unit int64) {
	flags, ok := parseExtendedExpireArgumentsOrReply(c)
	if !ok {
		return
	}
	when, ok := intArgument(c, c.argv[2])
	if !ok {
		return
	}
	if when > math.MaxInt64/unit || when < math.MinInt64/unit || when*unit > math.MaxInt64-base {
		replyInvalidExpireTime(c)
		return
	}
	when = when*unit + base

	key, db := c.argv[1], c.db
	hash := c.hash(key)
	r := lookupKeyHash(c, db, hash, key, lookupWrite)
	if r == 0 {
		addReply(c, shared.czero)
		return
	}
	if flags != 0 {
		// No expire time is later than any.
		current := getExpire(db, r)
		if flags&expireNX != 0 && current != noExpire ||
			flags&expireXX != 0 && current == noExpire ||
			flags&expireGT != 0 && (current == noExpire || when <= current) ||
			flags&expireLT != 0 && current != noExpire && when >= current {
			addReply(c, shared.czero)
			return
		}
	}
	if checkAlreadyExpired(c.srv, when) {
		dbDelete(c.srv, db, hash, r)
	} else if _, ok := setExpire(c, db, r, when); !ok {
		return
	}
	keyModified(c)
	addReply(c, shared.cone)
}

func expireCommand(c *client) { expireGenericCommand(c, c.srv.loopClock.unixMs, 1000) }

func expireatCommand(c *client) { expireGenericCommand(c, 0, 1000) }

func pexpireCommand(c *client) { expireGenericCommand(c, c.srv.loopClock.unixMs, 1) }

func pexpireatCommand(c *client) { expireGenericCommand(c, 0, 1) }

// ttlGenericCommand answers with the time until the first key expires, or with
// absolute the Unix time when it does, in ms or rounded to s.
//
//go:noinline
func ttlGenericCommand(c *client, milliseconds, absolute bool) {
	r := lookupKey(c, c.db, c.argv[1], lookupNoTouch)
	if r == 0 {
		addReplyLongLong(c, -2)
		return
	}
	t := getExpire(c.db, r)
	if t == noExpire {
		addReplyLongLong(c, -1)
		return
	}
	if !absolute {
		t = max(0, t-c.srv.loopClock.unixMs)
	}
	if !milliseconds {
		// Unsigned: there may be no room for the half second.
		t = int64((uint64(t) + 500) / 1000)
	}
	addReplyLongLong(c, t)
}

func ttlCommand(c *client) { ttlGenericCommand(c, false, false) }

func pttlCommand(c *client) { ttlGenericCommand(c, true, false) }

func expiretimeCommand(c *client) { ttlGenericCommand(c, false, true) }

func pexpiretimeCommand(c *client) { ttlGenericCommand(c, true, true) }

func persistCommand(c *client) {
	r := lookupKeyWrite(c, c.argv[1])
	if r == 0 || !c.db.dict.Persist(r) {
		addReply(c, shared.czero)
		return
	}
	keyModified(c)
	addReply(c, shared.cone)
}
