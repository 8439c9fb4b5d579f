package engine

import (
	"errors"
	"time"

	"github.com/redscope/redscope/engine/internal/dict"
)

// redisDb is one numbered database.
type redisDb struct {
	id     int
	dict   *dict.Dict
	avgTTL int64 // running mean over the entries that activeExpireCycle saw, ms
	cursor int   // where activeExpireCycle goes on in the index of expires
}

// The ways to look up a key.
type lookupFlags uint8

const (
	lookupNone    lookupFlags = 0
	lookupNoTouch lookupFlags = 1 << iota // leave the LRU time alone
	lookupNoStats                         // do not count a hit or a miss
	lookupWrite                           // on behalf of a write: no hit or miss counts
)

// lookupKey returns the entry of a key that exists and has not expired, or 0.
// An expired key is deleted.
func lookupKey(c *client, db *redisDb, key []byte, flags lookupFlags) dict.Ref {
	s := c.srv
	r := db.dict.FindHash(c.hash(key), key)
	if r != 0 && expireIfNeeded(s, db, r) {
		r = 0
	}
	if r != 0 && flags&lookupNoTouch == 0 {
		d := db.dict
		d.SetMeta(r, d.Meta(r)&0xff|s.loopClock.lru<<8)
	}
	if flags&(lookupNoStats|lookupWrite) == 0 {
		if r != 0 {
			s.stat.keyspaceHits++
		} else {
			s.stat.keyspaceMisses++
		}
	}
	return r
}

func lookupKeyRead(c *client, key []byte) dict.Ref { return lookupKey(c, c.db, key, lookupNone) }

func lookupKeyWrite(c *client, key []byte) dict.Ref { return lookupKey(c, c.db, key, lookupWrite) }

// lookupKeyReadOrReply answers with reply when the key does not exist.
func lookupKeyReadOrReply(c *client, key, reply []byte) dict.Ref {
	r := lookupKeyRead(c, key)
	if r == 0 {
		addReplyOrError(c, reply)
	}
	return r
}

// lookupKeyWriteOrReply answers with reply when the key does not exist.
func lookupKeyWriteOrReply(c *client, key, reply []byte) dict.Ref {
	r := lookupKeyWrite(c, key)
	if r == 0 {
		addReplyOrError(c, reply)
	}
	return r
}

func addReplyOrError(c *client, reply []byte) {
	if reply[0] == '-' {
		addReplyErrorObject(c, reply)
		return
	}
	addReply(c, reply)
}

// checkType answers with WRONGTYPE, and returns true, when the value at r is of
// another type.
func checkType(c *client, r dict.Ref, t objectType) bool {
	if metaType(c.db.dict.Meta(r)) == t {
		return false
	}
	addReplyErrorObject(c, shared.wrongtypeerr)
	return true
}

// setString stores a string under key: over the entry r, or as a new one when r
// is 0. It keeps an expire time only when asked to. When memory is out, it
// tells the client and returns false, and nothing has changed.
func setString(c *client, db *redisDb, key []byte, r dict.Ref, value []byte, e encoding, keepTTL bool) (dict.Ref, bool) {
	d := db.dict
	meta := makeMeta(typeString, e, c.srv.loopClock.lru)
	var err error
	if r == 0 {
		r, err = d.AddHash(c.hash(key), key, value, meta)
	} else if r, err = d.SetValue(r, value); err == nil {
		d.SetMeta(r, meta)
		if !keepTTL {
			d.Persist(r)
		}
	}
	if err != nil {
		replyNoMemory(c, err)
		return 0, false
	}
	return r, true
}

// replyNoMemory tells the client that the key space cannot take more.
func replyNoMemory(c *client, err error) {
	if errors.Is(err, dict.ErrOutOfMemory) {
		addReplyErrorObject(c, shared.oomerr)
		return
	}
	addReplyError(c, err.Error())
}

// keyModified is called after each change to a key, once for each change that
// Redis counts as one.
func keyModified(c *client) { c.srv.dirty++ }

// dbDelete deletes a key and reports whether it was there.
func dbDelete(db *redisDb, key []byte) bool { return db.dict.Delete(key) }

// rehashBudget is how long one serverCron may spend moving the buckets of a
// database that grows or shrinks.
const rehashBudget = time.Millisecond

// databasesCron does what the databases need though no client asks: expire keys
// and go on with a rehash that is under way.
//
//go:noinline
func databasesCron(s *Server) {
	if s.config.ActiveExpire {
		activeExpireCycle(s, expireCycleSlow)
	}
	if !s.config.ActiveRehashing {
		return
	}
	for _, db := range s.db {
		if db.dict.RehashFor(rehashBudget) {
			break // one database a time, as in Redis
		}
	}
}
