package engine

import (
	"errors"
	"strconv"
	"time"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/listpack"
	"github.com/redscope/redscope/engine/internal/monotonic"
	"github.com/redscope/redscope/engine/internal/quicklist"
	"github.com/redscope/redscope/engine/internal/slab"
	"github.com/redscope/redscope/engine/probe"
)

// redisDb is one numbered database.
type redisDb struct {
	id      int
	dict    *dict.Dict
	arena   *slab.Arena  // the dict's, and what its values own
	objects *objectTable // of all databases
	lists   *quicklist.Space
	avgTTL  int64  // running mean over the entries that activeExpireCycle saw, ms
	cursor  uint64 // where activeExpireCycle goes on, see expireSome

	blocking map[string][]*client // who is blocked on a key, first come first
	ready    map[string]bool      // the keys of this database in Server.blocked.ready
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
//
//go:noinline
func lookupKey(c *client, db *redisDb, key []byte, flags lookupFlags) dict.Ref {
	return lookupKeyHash(c, db, c.hash(key), key, flags)
}

// lookupKeyHash is lookupKey for who has the key's hash and will need it again.
func lookupKeyHash(c *client, db *redisDb, hash uint64, key []byte, flags lookupFlags) dict.Ref {
	s := c.srv
	s.assertLoopThread()
	r := db.dict.FindHash(hash, key)
	if r != 0 && expireIfNeeded(s, db, r) {
		r = 0
	}
	if r != 0 && flags&lookupNoTouch == 0 {
		d := db.dict
		mark := s.loopClock.lru
		if s.config.MaxmemoryPolicy.isLFU() {
			mark = updateLFU(s, metaLRU(d.Meta(r)))
		}
		d.SetMeta(r, d.Meta(r)&0xff|mark<<8)
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

// lookupKeyWriteOrReply returns the entry under the first key of a command that
// changes a value of type t, and the key's hash. When there is none, it has told the
// client: missing, or WRONGTYPE.
func lookupKeyWriteOrReply(c *client, t objectType, missing []byte) (hash uint64, r dict.Ref, ok bool) {
	hash = c.hash(c.argv[1])
	r = lookupKeyHash(c, c.db, hash, c.argv[1], lookupWrite)
	if r == 0 {
		addReplyOrError(c, missing)
		return 0, 0, false
	}
	return hash, r, !checkType(c, r, t)
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

// What setKey does with the expire time, where it is not given one. Expire times
// are above 0: one that is not has been and deletes the key at once.
const (
	noExpire   = -1 // as getExpire
	keepExpire = -2
)

// setKey stores value with its meta word under key: over the entry r, or as a new
// one when r is 0. when is the time to expire, Unix ms, noExpire or keepExpire.
// When memory is out, it tells the client and returns false, and nothing has
// changed. value may be a view of another entry. What the old value owned is
// freed; what the new one owns is then the entry's, on failure still the caller's.
// Under an LFU policy a value in the place of another takes over how often it was used.
//
//go:noinline
func setKey(c *client, db *redisDb, hash uint64, key []byte, r dict.Ref, value []byte, meta uint32, when int64) (dict.Ref, bool) {
	d := db.dict
	var err error
	if r == 0 {
		r, err = d.AddHash(hash, key, value, meta)
		if err == nil && when >= 0 {
			if r, err = d.SetExpire(r, when); err != nil {
				d.DeleteRefHash(hash, r)
			}
		}
		if err != nil {
			replyNoMemory(c, err)
			return 0, false
		}
		if metaType(meta) != typeString {
			signalKeyAsReady(c.srv, db, key, metaType(meta))
		}
		return r, true
	}
	oldMeta, before := d.Meta(r), getExpire(db, r)
	if when >= 0 {
		// First, because this, unlike the value, can be taken back.
		if r, err = d.SetExpire(r, when); err != nil {
			replyNoMemory(c, err)
			return 0, false
		}
	}
	if r, err = db.replaceValue(r, value); err != nil {
		switch {
		case when < 0:
		case before == noExpire:
			d.Persist(r)
		default:
			d.SetExpire(r, before) // in place: it has one
		}
		replyNoMemory(c, err)
		return 0, false
	}
	if c.srv.config.MaxmemoryPolicy.isLFU() {
		meta = meta&0xff | oldMeta&^0xff // a new value under a key that is used as before
	}
	d.SetMeta(r, meta)
	if when == noExpire && before != noExpire {
		d.Persist(r)
	}
	if metaType(oldMeta) == typeStream || metaType(meta) != typeString {
		signalKeyReplaced(c.srv, db, key, metaType(oldMeta), metaType(meta))
	}
	return r, true
}

// dbAdd adds a key with a value of type t that is bytes. It returns false when
// memory is out, which it has told the client.
func dbAdd(c *client, db *redisDb, hash uint64, key []byte, t objectType, e encoding, value []byte) (dict.Ref, bool) {
	return setKey(c, db, hash, key, 0, value, makeMeta(t, e, c.srv.loopClock.lru), noExpire)
}

// dbAddObject is dbAdd for an object. On failure it is freed.
func dbAddObject(c *client, db *redisDb, hash uint64, key []byte, t objectType, e encoding, o heapObject) (dict.Ref, bool) {
	number := db.objects.add(o)
	r, ok := dbAdd(c, db, hash, key, t, e, number[:])
	if !ok {
		db.releaseValue(e, number[:])
	}
	return r, ok
}

// dbSetBytes replaces the value at r by bytes of the same type, in encoding e.
// Key, expire time and LRU time stay.
func dbSetBytes(c *client, db *redisDb, r dict.Ref, e encoding, value []byte) (dict.Ref, bool) {
	oldMeta := db.dict.Meta(r)
	r, err := db.replaceValue(r, value)
	if err != nil {
		replyNoMemory(c, err)
		return 0, false
	}
	if metaEncoding(oldMeta) != e {
		db.dict.SetMeta(r, makeMeta(metaType(oldMeta), e, metaLRU(oldMeta)))
	}
	return r, true
}

// replaceValue is the dict's SetValue that also frees what the old value owns. The
// meta word is left to the caller.
func (db *redisDb) replaceValue(r dict.Ref, value []byte) (dict.Ref, error) {
	e := metaEncoding(db.dict.Meta(r))
	if !e.ownsMore() {
		return db.dict.SetValue(r, value)
	}
	var old [ownsMaxSize]byte
	n := copy(old[:], db.dict.Value(r))
	r, err := db.dict.SetValue(r, value)
	if err == nil {
		db.releaseValue(e, old[:n])
	}
	return r, err
}

// dbSetObject is dbSetBytes for an object. On failure it is freed.
func dbSetObject(c *client, db *redisDb, r dict.Ref, e encoding, o heapObject) (dict.Ref, bool) {
	number := db.objects.add(o)
	moved, ok := dbSetBytes(c, db, r, e, number[:])
	if !ok {
		db.releaseValue(e, number[:])
	}
	return moved, ok
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

// dbDelete deletes the entry r of a key with this hash, and its value.
//
//go:noinline
func dbDelete(s *Server, db *redisDb, hash uint64, r dict.Ref) {
	if e := metaEncoding(db.dict.Meta(r)); e.ownsMore() {
		releaseKey(s, db, r, e)
	}
	db.dict.DeleteRefHash(hash, r)
}

// dbMoved deletes the entry r of a key with this hash, whose value is another
// entry's by now, with all that it owns.
func dbMoved(s *Server, db *redisDb, hash uint64, r dict.Ref) {
	if metaEncoding(db.dict.Meta(r)) == encodingStream {
		signalDeletedKeyAsReady(s, db, db.dict.Key(r))
	}
	db.dict.DeleteRefHash(hash, r)
}

// releaseKey frees what the value at r owns, before the entry goes.
func releaseKey(s *Server, db *redisDb, r dict.Ref, e encoding) {
	if e == encodingStream {
		signalDeletedKeyAsReady(s, db, db.dict.Key(r))
	}
	db.releaseValue(e, db.dict.Value(r))
}

// selectDb makes a database the client's and reports whether it exists.
//
//go:noinline
func selectDb(c *client, id int64) bool {
	if id < 0 || id >= int64(len(c.srv.db)) {
		return false
	}
	c.db = c.srv.db[id]
	return true
}

func replyNoDb(c *client) { addReplyError(c, "DB index is out of range") }

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
	start := monotonic.Ticks()
	for _, db := range s.db {
		if db.dict.RehashFor(rehashBudget) {
			break // one database a time, as in Redis
		}
	}
	if watching && probe.LoopWorkEnabled() {
		passWork(probe.WorkRehash, start, monotonic.Ticks(), 0)
	}
}

// delGenericCommand is DEL and UNLINK. They are the same here: a slot is freed
// in place, and what is larger is left to the collector, which works beside the
// loop.
//
//go:noinline
func delGenericCommand(c *client) {
	deleted := int64(0)
	for _, key := range c.argv[1:] {
		hash := c.hash(key)
		r := c.db.dict.FindHash(hash, key)
		if r == 0 || expireIfNeeded(c.srv, c.db, r) {
			continue
		}
		dbDelete(c.srv, c.db, hash, r)
		keyModified(c)
		deleted++
	}
	addReplyLongLong(c, deleted)
}

func delCommand(c *client) { delGenericCommand(c) }

func unlinkCommand(c *client) { delGenericCommand(c) }

func existsCommand(c *client) {
	n := int64(0)
	for _, key := range c.argv[1:] {
		if lookupKey(c, c.db, key, lookupNoTouch) != 0 {
			n++
		}
	}
	addReplyLongLong(c, n)
}

func touchCommand(c *client) {
	n := int64(0)
	for _, key := range c.argv[1:] {
		if lookupKeyRead(c, key) != 0 {
			n++
		}
	}
	addReplyLongLong(c, n)
}

func selectCommand(c *client) {
	id, ok := intArgument32(c, c.argv[1], "")
	if !ok {
		return
	}
	if !selectDb(c, id) {
		replyNoDb(c)
		return
	}
	addReply(c, shared.ok)
}

func typeCommand(c *client) {
	r := lookupKey(c, c.db, c.argv[1], lookupNoTouch)
	if r == 0 {
		addReplyStatus(c, "none")
		return
	}
	addReplyStatus(c, typeNames[metaType(c.db.dict.Meta(r))])
}

func dbsizeCommand(c *client) { addReplyLongLong(c, int64(c.db.dict.Len())) }

// dbRandomKey returns the entry of a key that has not expired, each with about
// the same probability, 0 if there is none. What it finds expired it deletes, so
// that it ends; during CLIENT PAUSE it cannot, and gives up after some tries.
//
//go:noinline
func dbRandomKey(s *Server, db *redisDb) dict.Ref {
	const tries = 100
	for i := 0; ; i++ {
		r := db.dict.FairRandom()
		if r == 0 || !expireIfNeeded(s, db, r) {
			return r
		}
		if i == tries && s.pausing() {
			return 0
		}
	}
}

func randomkeyCommand(c *client) {
	r := dbRandomKey(c.srv, c.db)
	if r == 0 {
		addReplyNull(c)
		return
	}
	addReplyBulk(c, c.db.dict.Key(r))
}

// isStar reports whether a pattern matches everything. It is not a mere shortcut:
// stringmatchlen has "*" not match the empty key.
func isStar(pattern []byte) bool { return len(pattern) == 1 && pattern[0] == '*' }

func keysCommand(c *client) {
	pattern := c.argv[1]
	all := isStar(pattern)
	d := c.db.dict
	n := 0
	head := addReplyDeferredLen(c)
	it := d.SafeIterator()
	for it.Next() {
		r := it.Ref()
		// An expired key is left out and left in place.
		if key := d.Key(r); (all || stringmatchlen(pattern, key, false)) && !keyIsExpired(c.srv, c.db, r) {
			addReplyBulk(c, key)
			n++
		}
	}
	it.Release()
	setDeferredArrayLen(c, head, n)
}

// parseScanCursorOrReply reads a cursor as C's strtoul does: with a sign, up to a
// NUL, nothing being 0.
//
//go:noinline
func parseScanCursorOrReply(c *client, arg []byte) (uint64, bool) {
	text := cString(arg)
	cursor, ok := strtoull(text)
	if !ok && len(text) > 0 {
		addReplyError(c, "invalid cursor")
		return 0, false
	}
	return cursor, true
}

func scanCommand(c *client) {
	if cursor, ok := parseScanCursorOrReply(c, c.argv[1]); ok {
		scanGenericCommand(c, c.argv[2:], cursor, nil)
	}
}

// scanSource is what a scan of a value walks over. A small value has no buckets to
// make steps of and is returned as a whole.
type scanSource struct {
	dict *dict.Dict // of a large value
	lp   []byte     // a small one: elements and what belongs to them in turn
	set  setType    // or a set, if it is small

	// value returns what the reply tells with each entry of dict, from the entry's
	// value, with the help of scratch. It is nil for a set.
	value func(stored []byte, scratch *[64]byte) []byte
}

// scanOptions are the options of the SCAN commands.
type scanOptions struct {
	count    int64
	match    bool
	pattern  []byte
	typed    bool
	typeName []byte
}

func (o *scanOptions) matches(key []byte) bool {
	return !o.match || stringmatchlen(o.pattern, key, false)
}

// parse reads the arguments behind the cursor, or tells the client what is wrong.
func (o *scanOptions) parse(c *client, args [][]byte, ofKeys bool) bool {
	o.count = 10
	for ; len(args) > 0; args = args[2:] {
		switch opt := args[0]; {
		case equalFoldC(opt, "count") && len(args) > 1:
			var ok bool
			if o.count, ok = intArgument(c, args[1]); !ok {
				return false
			}
			if o.count < 1 {
				addReplyErrorObject(c, shared.syntaxerr)
				return false
			}
		case equalFoldC(opt, "match") && len(args) > 1:
			o.pattern = args[1]
			o.match = !isStar(o.pattern)
		case equalFoldC(opt, "type") && len(args) > 1 && ofKeys:
			o.typeName, o.typed = args[1], true
		default:
			addReplyErrorObject(c, shared.syntaxerr)
			return false
		}
	}
	return true
}

// scanGenericCommand is SCAN, HSCAN, SSCAN and ZSCAN from cursor on. args are the
// options, source is what to scan, nil for the keys of the database.
//
//go:noinline
func scanGenericCommand(c *client, args [][]byte, cursor uint64, source *scanSource) {
	var o scanOptions
	if !o.parse(c, args, source == nil) {
		return
	}
	head := addReplyDeferredLen(c)
	found := 0
	switch {
	case source == nil:
		cursor, found = scanKeys(c, &o, cursor)
	case source.dict != nil:
		cursor, found = scanEntries(c, &o, cursor, source)
	default:
		cursor, found = 0, source.replyAll(c, &o)
	}
	var buf [64]byte
	b := append(buf[:0], "*2\r\n$"...)
	var text [20]byte
	digits := strconv.AppendUint(text[:0], cursor, 10)
	b = append(strconv.AppendInt(b, int64(len(digits)), 10), '\r', '\n')
	b = append(append(b, digits...), "\r\n*"...)
	b = append(strconv.AppendInt(b, int64(found), 10), '\r', '\n')
	setDeferredReply(c, head, b)
}

// scanDict visits buckets until about count entries were seen. A sparse table may
// need many steps to find them. They are bounded, at the cost of replies with fewer
// entries or none.
func scanDict(d *dict.Dict, cursor uint64, count int64, seen *int64, visit func(dict.Ref)) uint64 {
	d.PauseRehash() // or a resize between two steps might show entries twice
	for steps := int64(0); ; steps++ {
		cursor = d.Scan(cursor, visit)
		if cursor == 0 || *seen >= count || steps/10 >= count {
			break
		}
	}
	d.ResumeRehash()
	return cursor
}

// scanKeys replies with keys of the database and returns the next cursor and how
// many there are.
func scanKeys(c *client, o *scanOptions, cursor uint64) (next uint64, found int) {
	s, db, d := c.srv, c.db, c.db.dict
	seen := int64(0)
	next = scanDict(d, cursor, o.count, &seen, func(r dict.Ref) {
		seen++
		key := d.Key(r)
		if !o.matches(key) || expireIfNeeded(s, db, r) {
			return
		}
		if o.typed {
			s.stat.keyspaceHits++ // Redis looks the key up to learn its type
			if !equalFoldC(o.typeName, typeNames[metaType(d.Meta(r))]) {
				return
			}
		}
		addReplyBulk(c, key)
		found++
	})
	return next, found
}

// scanEntries is scanKeys for the entries of a large value.
func scanEntries(c *client, o *scanOptions, cursor uint64, source *scanSource) (next uint64, found int) {
	d := source.dict
	var scratch [64]byte
	seen := int64(0)
	next = scanDict(d, cursor, o.count, &seen, func(r dict.Ref) {
		seen++
		key := d.Key(r)
		if !o.matches(key) {
			return
		}
		addReplyBulk(c, key)
		found++
		if source.value != nil {
			addReplyBulk(c, source.value(d.Value(r), &scratch))
			found++
		}
	})
	return next, found
}

// replyAll replies with all of a small value and returns how many items that are.
func (source *scanSource) replyAll(c *client, o *scanOptions) (found int) {
	var scratch [20]byte
	if !source.set.missing() {
		it := setTypeInitIterator(source.set)
		for m := setTypeNext(&it, &scratch); m != nil; m = setTypeNext(&it, &scratch) {
			if o.matches(m) {
				addReplyBulk(c, m)
				found++
			}
		}
		return found
	}
	for p := listpack.First(source.lp); p >= 0; {
		key, value := listpack.Bytes(source.lp, p, &scratch), listpack.Next(source.lp, p)
		if o.matches(key) {
			addReplyBulk(c, key)
			addReplyBulk(c, listpack.Bytes(source.lp, value, &scratch))
			found += 2
		}
		p = listpack.Next(source.lp, value)
	}
	return found
}

// renameGenericCommand is RENAME, and with nx RENAMENX. The value and its expire
// time go along.
//
//go:noinline
func renameGenericCommand(c *client, nx bool) {
	key, to := c.argv[1], c.argv[2]
	hash := c.hash(key)
	r := lookupKeyHash(c, c.db, hash, key, lookupWrite)
	if r == 0 {
		addReplyErrorObject(c, shared.nokeyerr)
		return
	}
	done := shared.ok
	if nx {
		done = shared.cone
	}
	if string(key) == string(to) {
		if nx {
			done = shared.czero
		}
		addReply(c, done)
		return
	}
	toHash := c.hash(to)
	over := lookupKeyHash(c, c.db, toHash, to, lookupWrite)
	if over != 0 && nx {
		addReply(c, shared.czero)
		return
	}
	d := c.db.dict
	moved, ok := setKey(c, c.db, toHash, to, over, d.Value(r), d.Meta(r), getExpire(c.db, r))
	if !ok {
		return
	}
	d.SetMeta(moved, d.Meta(r))
	dbMoved(c.srv, c.db, hash, r)
	keyModified(c)
	addReply(c, done)
}

func renameCommand(c *client) { renameGenericCommand(c, false) }

func renamenxCommand(c *client) { renameGenericCommand(c, true) }

func moveCommand(c *client) {
	id, ok := intArgument32(c, c.argv[2], "")
	if !ok {
		return
	}
	src := c.db
	if !selectDb(c, id) {
		replyNoDb(c)
		return
	}
	dst := c.db
	c.db = src
	if src == dst {
		addReplyErrorObject(c, shared.sameobjecterr)
		return
	}
	key := c.argv[1]
	hash := c.hash(key)
	r := lookupKeyHash(c, src, hash, key, lookupWrite)
	if r == 0 || lookupKeyHash(c, dst, hash, key, lookupWrite) != 0 {
		addReply(c, shared.czero)
		return
	}
	d := src.dict
	if _, ok := setKey(c, dst, hash, key, 0, d.Value(r), d.Meta(r), getExpire(src, r)); !ok {
		return
	}
	dbMoved(c.srv, src, hash, r)
	keyModified(c)
	addReply(c, shared.cone)
}

func copyCommand(c *client) {
	src, dst := c.db, c.db
	replace := false
	for i := 3; i < len(c.argv); i++ {
		switch opt := c.argv[i]; {
		case equalFoldC(opt, "replace"):
			replace = true
		case equalFoldC(opt, "db") && i+1 < len(c.argv):
			i++
			id, ok := intArgument32(c, c.argv[i], "")
			if !ok {
				return
			}
			if !selectDb(c, id) {
				replyNoDb(c)
				return
			}
			dst, c.db = c.db, src
		default:
			addReplyErrorObject(c, shared.syntaxerr)
			return
		}
	}
	key, to := c.argv[1], c.argv[2]
	if src == dst && string(key) == string(to) {
		addReplyErrorObject(c, shared.sameobjecterr)
		return
	}
	r := lookupKeyRead(c, key)
	if r == 0 {
		addReply(c, shared.czero)
		return
	}
	hash := c.hash(to)
	over := lookupKeyHash(c, dst, hash, to, lookupWrite)
	if over != 0 && !replace {
		addReply(c, shared.czero)
		return
	}
	var scratch [ownsMaxSize]byte
	value, err := src.dupValue(r, &scratch)
	if err != nil {
		replyNoMemory(c, err)
		return
	}
	meta := src.dict.Meta(r)&0xff | c.srv.loopClock.lru<<8
	copied, ok := setKey(c, dst, hash, to, over, value, meta, getExpire(src, r))
	if !ok {
		dst.releaseValue(metaEncoding(meta), value)
		return
	}
	dst.dict.SetMeta(copied, meta)
	keyModified(c)
	addReply(c, shared.cone)
}

func swapdbCommand(c *client) {
	first, ok := intArgument32(c, c.argv[1], "invalid first DB index")
	if !ok {
		return
	}
	second, ok := intArgument32(c, c.argv[2], "invalid second DB index")
	if !ok {
		return
	}
	if !dbSwapDatabases(c.srv, first, second) {
		replyNoDb(c)
		return
	}
	keyModified(c)
	addReply(c, shared.ok)
}

// dbSwapDatabases exchanges the contents of two databases, so that clients see
// the other's under the number they have selected. False when one does not exist.
//
//go:noinline
func dbSwapDatabases(s *Server, first, second int64) bool {
	n := int64(len(s.db))
	if first < 0 || first >= n || second < 0 || second >= n {
		return false
	}
	a, b := s.db[first], s.db[second]
	*a, *b = *b, *a
	a.id, b.id = b.id, a.id
	// Clients stay blocked on keys of the number, not of the contents.
	a.blocking, b.blocking = b.blocking, a.blocking
	a.ready, b.ready = b.ready, a.ready
	scanDatabaseForReadyKeys(s, a)
	scanDatabaseForReadyKeys(s, b)
	return true
}

// getFlushCommandFlags checks the option of FLUSHDB and FLUSHALL, or tells the
// client that it is none. ASYNC and SYNC do the same here: clearing costs little
// for each slot, and less when the arena can be given back as a whole.
//
//go:noinline
func getFlushCommandFlags(c *client) bool {
	if len(c.argv) == 1 || len(c.argv) == 2 && (equalFoldC(c.argv[1], "async") || equalFoldC(c.argv[1], "sync")) {
		return true
	}
	addReplyErrorObject(c, shared.syntaxerr)
	return false
}

// emptyData deletes the keys of these databases and returns how many there were.
//
//go:noinline
func emptyData(s *Server, databases []*redisDb) int64 {
	removed := int64(0)
	for _, db := range databases {
		removed += int64(db.dict.Len())
		scanDatabaseForDeletedStreams(s, db)
		db.releaseValues()
		db.dict.Clear()
		db.avgTTL, db.cursor = 0, 0
	}
	return removed
}

// releaseValues frees what all values own, before the entries go.
func (db *redisDb) releaseValues() {
	it := db.dict.UnsafeIterator()
	for it.Next() {
		r := it.Ref()
		if e := metaEncoding(db.dict.Meta(r)); e.ownsMore() {
			db.releaseValue(e, db.dict.Value(r))
		}
	}
	assertUnchanged(it.Release())
}

func flushdbCommand(c *client) {
	if getFlushCommandFlags(c) {
		c.srv.dirty += emptyData(c.srv, c.srv.db[c.db.id:c.db.id+1])
		addReply(c, shared.ok)
	}
}

func flushallCommand(c *client) {
	if getFlushCommandFlags(c) {
		c.srv.dirty += emptyData(c.srv, c.srv.db)
		addReply(c, shared.ok)
	}
}
