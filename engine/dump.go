package engine

import (
	"errors"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/rdb"
)

// keptPayload bounds the buffer for payloads that is kept from one DUMP to the next.
const keptPayload = 64 << 10

func dumpCommand(c *client) {
	r := lookupKeyRead(c, c.argv[1])
	if r == 0 {
		addReplyNull(c)
		return
	}
	payload := createDumpPayload(c.srv, c.db, r)
	addReplyBulk(c, payload)
	if cap(payload) <= keptPayload {
		c.srv.payload = payload
	}
}

// createDumpPayload returns the value at r as RESTORE takes it. It holds until the
// next call.
//
//go:noinline
func createDumpPayload(s *Server, db *redisDb, r dict.Ref) []byte {
	b := append(s.payload[:0], byte(rdbObjectType(db, r)))
	return rdb.AppendFooter(rdbSaveObject(s, db, r, b), 0)
}

// restoreOptions are what RESTORE has been asked for besides.
type restoreOptions struct {
	replace  bool
	absolute bool  // the TTL is a Unix time
	idle     int64 // s; -1: not given
	freq     int64 // -1: not given
}

func parseRestoreOptions(c *client) (o restoreOptions, ok bool) {
	o.idle, o.freq = -1, -1
	for args := c.argv[4:]; len(args) > 0; args = args[1:] {
		switch opt := args[0]; {
		case equalFoldC(opt, "replace"):
			o.replace = true
		case equalFoldC(opt, "absttl"):
			o.absolute = true
		case equalFoldC(opt, "idletime") && len(args) > 1 && o.freq < 0:
			if o.idle, ok = intArgument(c, args[1]); !ok {
				return o, false
			}
			if o.idle < 0 {
				addReplyError(c, "Invalid IDLETIME value, must be >= 0")
				return o, false
			}
			args = args[1:]
		case equalFoldC(opt, "freq") && len(args) > 1 && o.idle < 0:
			if o.freq, ok = intArgument(c, args[1]); !ok {
				return o, false
			}
			if o.freq < 0 || o.freq > 255 {
				addReplyError(c, "Invalid FREQ value, must be >= 0 and <= 255")
				return o, false
			}
			args = args[1:]
		default:
			addReplyErrorObject(c, shared.syntaxerr)
			return o, false
		}
	}
	return o, true
}

func restoreCommand(c *client) {
	o, ok := parseRestoreOptions(c)
	if !ok {
		return
	}
	s, db, key := c.srv, c.db, c.argv[1]
	hash := c.hash(key)
	old := lookupKeyHash(c, db, hash, key, lookupWrite|lookupNoTouch)
	if old != 0 && !o.replace {
		addReplyErrorObject(c, shared.busykeyerr)
		return
	}
	ttl, ok := intArgument(c, c.argv[2])
	if !ok {
		return
	}
	if ttl < 0 {
		addReplyError(c, "Invalid TTL value, must be >= 0")
		return
	}
	if !rdb.Verify(c.argv[3]) {
		addReplyError(c, "DUMP payload version or checksum are wrong")
		return
	}
	payload := rdb.NewReader(c.argv[3])
	t, _ := payload.Byte()
	value, err := rdbLoadObject(s, db, rdb.Type(t), payload)
	if errors.Is(err, errBadFormat) {
		addReplyError(c, "Bad data format")
		return
	}
	if err != nil {
		replyNoMemory(c, err)
		return
	}
	when := int64(noExpire)
	if ttl != 0 {
		if when = ttl; !o.absolute {
			when += s.loopClock.unixMs // may overflow, into the past as in Redis
		}
		if checkAlreadyExpired(s, when) {
			db.releaseValue(value.e, value.bytes)
			if old != 0 {
				dbDelete(s, db, hash, old)
				keyModified(c)
			}
			addReply(c, shared.ok)
			return
		}
	}
	lru := s.loopClock.lru
	switch lfu := s.config.MaxmemoryPolicy.isLFU(); {
	case lfu && o.freq >= 0:
		lru = lru&^lfuCounter | uint32(o.freq)
	case !lfu && o.idle >= 0:
		lru = (lru - uint32(o.idle)) & lruMask
	}
	meta := makeMeta(value.t, value.e, lru)
	restored, ok := setKey(c, db, hash, key, old, value.bytes, meta, when)
	if !ok {
		db.releaseValue(value.e, value.bytes)
		return
	}
	db.dict.SetMeta(restored, meta)
	keyModified(c)
	addReply(c, shared.ok)
}
