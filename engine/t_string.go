package engine

import (
	"math"

	"github.com/redscope/redscope/engine/internal/dict"
)

// stringFlags are the options of SET and GETEX.
type stringFlags uint16

const (
	setNX      stringFlags = 1 << iota // only if the key does not exist
	setXX                              // only if the key exists
	setGet                             // reply with the old value
	optEX                              // expire in seconds
	optPX                              // expire in milliseconds
	optEXAT                            // expire at a Unix time, s
	optPXAT                            // expire at a Unix time, ms
	optKeep                            // KEEPTTL
	optPersist                         // PERSIST

	optExpire  = optEX | optPX | optEXAT | optPXAT
	optSeconds = optEX | optEXAT
)

// parseExtendedStringArgumentsOrReply reads the options of SET, or of GETEX, from
// args, and the argument of the one that gives an expire time. It answers with
// a syntax error, and returns false, when they do not go together. The same option
// may come again.
//
//go:noinline
func parseExtendedStringArgumentsOrReply(c *client, args [][]byte, isSet bool) (flags stringFlags, expire []byte, ok bool) {
	for i := 0; i < len(args); i++ {
		opt := args[i]
		var f, not stringFlags // the option, and those it does not go with
		switch {
		case isSet && equalFoldC(opt, "nx"):
			f, not = setNX, setXX
		case isSet && equalFoldC(opt, "xx"):
			f, not = setXX, setNX
		case isSet && equalFoldC(opt, "get"):
			f = setGet
		case isSet && equalFoldC(opt, "keepttl"):
			f, not = optKeep, optExpire
		case !isSet && equalFoldC(opt, "persist"):
			f, not = optPersist, optExpire
		case equalFoldC(opt, "ex"):
			f = optEX
		case equalFoldC(opt, "px"):
			f = optPX
		case equalFoldC(opt, "exat"):
			f = optEXAT
		case equalFoldC(opt, "pxat"):
			f = optPXAT
		}
		if f&optExpire != 0 {
			not = (optExpire | optKeep | optPersist) &^ f
			if i++; i < len(args) {
				expire = args[i]
			} else {
				f = 0
			}
		}
		if f == 0 || flags&not != 0 {
			addReplyErrorObject(c, shared.syntaxerr)
			return 0, nil, false
		}
		flags |= f
	}
	return flags, expire, true
}

func replyInvalidExpireTime(c *client) {
	addReplyErrorFormat(c, "invalid expire time in '%s' command", c.cmd.fullName)
}

// getExpireMillisecondsOrReply turns the argument of EX, PX, EXAT or PXAT, as
// flags tell, into a Unix time in ms.
//
//go:noinline
func getExpireMillisecondsOrReply(c *client, expire []byte, flags stringFlags) (int64, bool) {
	ms, ok := intArgument(c, expire)
	if !ok {
		return 0, false
	}
	if ms <= 0 || flags&optSeconds != 0 && ms > math.MaxInt64/1000 {
		replyInvalidExpireTime(c)
		return 0, false
	}
	if flags&optSeconds != 0 {
		ms *= 1000
	}
	if flags&(optEX|optPX) != 0 {
		ms += c.srv.loopClock.unixMs
	}
	if ms <= 0 { // the sum has overflown
		replyInvalidExpireTime(c)
		return 0, false
	}
	return ms, true
}

// setGenericCommand stores value under key as the options in flags say. Without
// setGet it answers done, or aborted when NX or XX forbids.
//
//go:noinline
func setGenericCommand(c *client, flags stringFlags, key, value, expire, done, aborted []byte) {
	when := int64(noExpire)
	switch {
	case expire != nil:
		var ok bool
		if when, ok = getExpireMillisecondsOrReply(c, expire, flags); !ok {
			return
		}
	case flags&optKeep != 0:
		when = keepExpire
	}
	before := len(c.buf)
	if flags&setGet != 0 && !getGenericCommand(c) {
		return
	}
	hash := c.hash(key)
	r := lookupKeyHash(c, c.db, hash, key, lookupWrite)
	if flags&setNX != 0 && r != 0 || flags&setXX != 0 && r == 0 {
		if flags&setGet == 0 {
			addReply(c, aborted)
		}
		return
	}
	var scratch [8]byte
	value, e := encodeString(value, &scratch)
	if flags&setGet != 0 {
		// What was answered so far is void if this fails.
		reply := c.buf
		c.buf = reply[:before]
		if _, ok := setKey(c, c.db, hash, key, r, value, stringMeta(c, e), when); !ok {
			return
		}
		c.buf = reply
		keyModified(c)
		return
	}
	if _, ok := setKey(c, c.db, hash, key, r, value, stringMeta(c, e), when); !ok {
		return
	}
	keyModified(c)
	addReply(c, done)
}

// stringMeta is the meta word of a string used now.
func stringMeta(c *client, e encoding) uint32 {
	return makeMeta(typeString, e, c.srv.loopClock.lru)
}

// nullReply is the reply that means nothing, as addReplyNull writes it.
func nullReply(c *client) []byte {
	if c.resp == 2 {
		return shared.nullBulk
	}
	return shared.null
}

func setCommand(c *client) {
	flags, expire, ok := parseExtendedStringArgumentsOrReply(c, c.argv[3:], true)
	if ok {
		setGenericCommand(c, flags, c.argv[1], c.argv[2], expire, shared.ok, nullReply(c))
	}
}

func setnxCommand(c *client) {
	setGenericCommand(c, setNX, c.argv[1], c.argv[2], nil, shared.cone, shared.czero)
}

func setexCommand(c *client) {
	setGenericCommand(c, optEX, c.argv[1], c.argv[3], c.argv[2], shared.ok, nil)
}

func psetexCommand(c *client) {
	setGenericCommand(c, optPX, c.argv[1], c.argv[3], c.argv[2], shared.ok, nil)
}

// addReplyString replies with the string at r.
func addReplyString(c *client, d *dict.Dict, r dict.Ref) {
	var scratch [20]byte
	addReplyBulk(c, stringBytes(d, r, &scratch))
}

// getGenericCommand answers with the string under the first key, and returns
// false when there is something else.
//
//go:noinline
func getGenericCommand(c *client) bool {
	r := lookupKeyRead(c, c.argv[1])
	if r == 0 {
		addReplyNull(c)
		return true
	}
	if checkType(c, r, typeString) {
		return false
	}
	addReplyString(c, c.db.dict, r)
	return true
}

func getCommand(c *client) { getGenericCommand(c) }

// getexCommand sets the expire time before it replies, because the former can
// fail for want of memory.
func getexCommand(c *client) {
	flags, expire, ok := parseExtendedStringArgumentsOrReply(c, c.argv[2:], false)
	if !ok {
		return
	}
	key, db := c.argv[1], c.db
	hash := c.hash(key)
	r := lookupKeyHash(c, db, hash, key, lookupNone)
	if r == 0 {
		addReplyNull(c)
		return
	}
	if checkType(c, r, typeString) {
		return
	}
	d := db.dict
	when := int64(noExpire)
	if expire != nil {
		if when, ok = getExpireMillisecondsOrReply(c, expire, flags); !ok {
			return
		}
	}
	switch {
	case flags&(optEXAT|optPXAT) != 0 && checkAlreadyExpired(c.srv, when):
		addReplyString(c, d, r)
		dbDelete(c.srv, db, hash, r)
		keyModified(c)
		return
	case expire != nil:
		if r, ok = setExpire(c, db, r, when); !ok {
			return
		}
		keyModified(c)
	case flags&optPersist != 0 && d.Persist(r):
		keyModified(c)
	}
	addReplyString(c, d, r)
}

func getdelCommand(c *client) {
	key := c.argv[1]
	hash := c.hash(key)
	r := lookupKeyHash(c, c.db, hash, key, lookupNone)
	if r == 0 {
		addReplyNull(c)
		return
	}
	if checkType(c, r, typeString) {
		return
	}
	addReplyString(c, c.db.dict, r)
	dbDelete(c.srv, c.db, hash, r)
	keyModified(c)
}

func getsetCommand(c *client) {
	setGenericCommand(c, setGet, c.argv[1], c.argv[2], nil, nil, nil)
}

func mgetCommand(c *client) {
	keys := c.argv[1:]
	addReplyArrayLen(c, len(keys))
	for _, key := range keys {
		r := lookupKeyRead(c, key)
		if r == 0 || metaType(c.db.dict.Meta(r)) != typeString {
			addReplyNull(c)
			continue
		}
		addReplyString(c, c.db.dict, r)
	}
}

func msetCommand(c *client) { msetGenericCommand(c, false) }

func msetnxCommand(c *client) { msetGenericCommand(c, true) }

// msetGenericCommand is MSET, and with nx MSETNX.
//
//go:noinline
func msetGenericCommand(c *client, nx bool) {
	pairs := c.argv[1:]
	if len(pairs)%2 != 0 {
		addReplyErrorArity(c)
		return
	}
	done := shared.ok
	if nx {
		done = shared.cone
		for i := 0; i < len(pairs); i += 2 {
			if lookupKeyWrite(c, pairs[i]) != 0 {
				addReply(c, shared.czero)
				return
			}
		}
	}
	if len(pairs) > 2 {
		size := int64(0)
		for _, arg := range pairs {
			size += int64(len(arg))
		}
		if !c.db.dict.HasRoom(len(pairs)/2, size) { // all or none
			addReplyErrorObject(c, shared.oomerr)
			return
		}
	}
	for ; len(pairs) > 0; pairs = pairs[2:] {
		key := pairs[0]
		hash := c.hash(key)
		var scratch [8]byte
		value, e := encodeString(pairs[1], &scratch)
		r := lookupKeyHash(c, c.db, hash, key, lookupWrite)
		if _, ok := setKey(c, c.db, hash, key, r, value, stringMeta(c, e), noExpire); !ok {
			return
		}
		keyModified(c)
	}
	addReply(c, done)
}

func strlenCommand(c *client) {
	r := lookupKeyReadOrReply(c, c.argv[1], shared.czero)
	if r == 0 || checkType(c, r, typeString) {
		return
	}
	addReplyLongLong(c, int64(stringLen(c.db.dict, r)))
}

// stringLen returns the length in bytes of the string at r.
func stringLen(d *dict.Dict, r dict.Ref) int {
	var scratch [20]byte
	return len(stringBytes(d, r, &scratch))
}

// checkStringLength tells the client, and returns false, when a string of
// size+more bytes would be longer than proto-max-bulk-len.
//
//go:noinline
func checkStringLength(c *client, size, more int64) bool {
	total := size + more
	if total > c.srv.config.ProtoMaxBulkLen || total < size || total < more {
		addReplyError(c, "string exceeds maximum allowed size (proto-max-bulk-len)")
		return false
	}
	return true
}

// growRaw makes the string at r one of encodingRaw and of n bytes, zeroes beyond
// its old end.
func growRaw(c *client, db *redisDb, r dict.Ref, n int) (dict.Ref, bool) {
	d := db.dict
	var scratch [20]byte
	var digits []byte // of an integer; they fit, as nothing here shortens
	meta := d.Meta(r)
	if metaEncoding(meta) == encodingInt {
		digits = stringBytes(d, r, &scratch)
	}
	r, err := d.Grow(r, n)
	if err != nil {
		replyNoMemory(c, err)
		return 0, false
	}
	if digits != nil {
		v := d.Value(r)
		clear(v[copy(v, digits):])
	}
	d.SetMeta(r, makeMeta(typeString, encodingRaw, metaLRU(meta)))
	return r, true
}

// growOrAddRaw is growRaw that adds the key when r is 0.
func growOrAddRaw(c *client, hash uint64, key []byte, r dict.Ref, n int) (dict.Ref, bool) {
	added := r == 0
	if added {
		var ok bool
		if r, ok = dbAdd(c, c.db, hash, key, typeString, encodingRaw, nil); !ok {
			return 0, false
		}
	}
	grown, ok := growRaw(c, c.db, r, n)
	if !ok && added {
		dbDelete(c.srv, c.db, hash, r)
	}
	return grown, ok
}

func appendCommand(c *client) {
	key, more := c.argv[1], c.argv[2]
	hash := c.hash(key)
	r := lookupKeyHash(c, c.db, hash, key, lookupWrite)
	if r == 0 {
		var scratch [8]byte
		value, e := encodeString(more, &scratch)
		if _, ok := dbAdd(c, c.db, hash, key, typeString, e, value); !ok {
			return
		}
		keyModified(c)
		addReplyLongLong(c, int64(len(more)))
		return
	}
	if checkType(c, r, typeString) {
		return
	}
	size := stringLen(c.db.dict, r)
	if !checkStringLength(c, int64(size), int64(len(more))) {
		return
	}
	r, ok := growRaw(c, c.db, r, size+len(more))
	if !ok {
		return
	}
	copy(c.db.dict.Value(r)[size:], more)
	keyModified(c)
	addReplyLongLong(c, int64(size+len(more)))
}

func setrangeCommand(c *client) {
	key, value := c.argv[1], c.argv[3]
	offset, ok := intArgument(c, c.argv[2])
	if !ok {
		return
	}
	if offset < 0 {
		addReplyError(c, "offset is out of range")
		return
	}
	d := c.db.dict
	hash := c.hash(key)
	r := lookupKeyHash(c, c.db, hash, key, lookupWrite)
	size := 0
	if r != 0 {
		if checkType(c, r, typeString) {
			return
		}
		size = stringLen(d, r)
	}
	if len(value) == 0 {
		addReplyLongLong(c, int64(size))
		return
	}
	if !checkStringLength(c, offset, int64(len(value))) {
		return
	}
	size = max(size, int(offset)+len(value))
	if r, ok = growOrAddRaw(c, hash, key, r, size); !ok {
		return
	}
	copy(d.Value(r)[offset:], value)
	keyModified(c)
	addReplyLongLong(c, int64(size))
}

// getrangeCommand is GETRANGE, and SUBSTR under its old name.
func getrangeCommand(c *client) {
	start, end, ok := intArguments(c, c.argv[2], c.argv[3])
	if !ok {
		return
	}
	r := lookupKeyReadOrReply(c, c.argv[1], shared.emptyBulk)
	if r == 0 || checkType(c, r, typeString) {
		return
	}
	var scratch [20]byte
	v := stringBytes(c.db.dict, r, &scratch)
	if start < 0 && end < 0 && start > end {
		addReply(c, shared.emptyBulk)
		return
	}
	where := clip(start, end, int64(len(v)), 1)
	addReplyBulk(c, v[where.first:where.last+1])
}

// incrDecrCommand adds by to the integer under the first key; a key that does not
// exist counts as 0.
//
//go:noinline
func incrDecrCommand(c *client, by int64) {
	key, d := c.argv[1], c.db.dict
	hash := c.hash(key)
	r := lookupKeyHash(c, c.db, hash, key, lookupWrite)
	var old int64
	isInt := false
	if r != 0 {
		if checkType(c, r, typeString) {
			return
		}
		v := d.Value(r)
		if isInt = metaEncoding(d.Meta(r)) == encodingInt; isInt {
			old = intValue(v)
		} else {
			var ok bool
			if old, ok = intArgument(c, v); !ok {
				return
			}
		}
	}
	sum, ok := incrementOrReply(c, old, by)
	if !ok {
		return
	}
	var scratch [8]byte
	value := putInt(&scratch, sum)
	if isInt {
		copy(d.Value(r), value)
	} else if _, ok := setKey(c, c.db, hash, key, r, value, stringMeta(c, encodingInt), keepExpire); !ok {
		return
	}
	keyModified(c)
	addReplyLongLong(c, sum)
}

// incrementOrReply adds two integers, or tells the client that the sum is none.
func incrementOrReply(c *client, old, by int64) (sum int64, ok bool) {
	if by < 0 && old < 0 && by < math.MinInt64-old || by > 0 && old > 0 && by > math.MaxInt64-old {
		addReplyErrorObject(c, shared.overflowerr)
		return 0, false
	}
	return old + by, true
}

func incrCommand(c *client) { incrDecrCommand(c, 1) }

func decrCommand(c *client) { incrDecrCommand(c, -1) }

func incrbyCommand(c *client) {
	if by, ok := intArgument(c, c.argv[2]); ok {
		incrDecrCommand(c, by)
	}
}

func decrbyCommand(c *client) {
	by, ok := intArgument(c, c.argv[2])
	if !ok {
		return
	}
	if by == math.MinInt64 { // has no negative
		addReplyError(c, "decrement would overflow")
		return
	}
	incrDecrCommand(c, -by)
}

func incrbyfloatCommand(c *client) {
	key, d := c.argv[1], c.db.dict
	hash := c.hash(key)
	r := lookupKeyHash(c, c.db, hash, key, lookupWrite)
	var sum, by longDouble
	if r != 0 {
		if checkType(c, r, typeString) {
			return
		}
		var scratch [20]byte
		if !sum.parse(stringBytes(d, r, &scratch)) {
			addReplyErrorObject(c, shared.notfloaterr)
			return
		}
	}
	if !by.parse(c.argv[2]) {
		addReplyErrorObject(c, shared.notfloaterr)
		return
	}
	if !sum.add(&by) {
		addReplyError(c, "increment would produce NaN or Infinity")
		return
	}
	var room [64]byte
	text := sum.appendHuman(room[:0])
	e := encodingEmbstr
	if len(text) > embstrLimit {
		e = encodingRaw
	}
	if _, ok := setKey(c, c.db, hash, key, r, text, stringMeta(c, e), keepExpire); !ok {
		return
	}
	keyModified(c)
	addReplyBulk(c, text)
}
