package engine

import (
	"math/rand/v2"
	"strconv"
	"unsafe"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/listpack"
)

// A hash is a listpack of fields and values in turn until it has too many of them
// or too long ones (hash-max-listpack-entries, -value), from then on a table.

// hashTable is a large hash: values by field.
type hashTable struct{ *dict.Dict }

func (t *hashTable) free()         { t.Clear() }
func (t *hashTable) memory() int64 { return t.Used() + int64(unsafe.Sizeof(*t)+unsafe.Sizeof(*t.Dict)) }

func (t *hashTable) dup() (heapObject, error) {
	d, err := t.Dup()
	if err != nil {
		return nil, err
	}
	return &hashTable{d}, nil
}

// hashType is a hash of either kind. Its listpack is a view of the entry.
type hashType struct {
	lp    []byte // nil when there is a table
	table *hashTable
}

// hashTypeAt returns the hash at r.
func hashTypeAt(db *redisDb, r dict.Ref) hashType {
	if metaEncoding(db.dict.Meta(r)) == encodingListpack {
		return hashType{lp: db.dict.Value(r)}
	}
	return hashType{table: db.objectAt(r).(*hashTable)}
}

// hashTypeLength returns the number of fields.
func hashTypeLength(h hashType) int {
	if h.table != nil {
		return h.table.Len()
	}
	return listpack.Len(h.lp) / 2
}

// findField returns where a field is in a listpack, -1 if it is not.
func findField(lp, field []byte) int { return listpack.Find(lp, listpack.First(lp), field, 1) }

// hashTypeGetValue returns the value of a field, and whether there is one: a view,
// or in scratch the digits of an integer.
func hashTypeGetValue(h hashType, field []byte, scratch *[20]byte) ([]byte, bool) {
	if h.table != nil {
		r := h.table.Find(field)
		if r == 0 {
			return nil, false
		}
		return h.table.Value(r), true
	}
	p := findField(h.lp, field)
	if p < 0 {
		return nil, false
	}
	return listpack.Bytes(h.lp, listpack.Next(h.lp, p), scratch), true
}

func hashTypeExists(h hashType, field []byte) bool {
	if h.table != nil {
		return h.table.Find(field) != 0
	}
	return findField(h.lp, field) >= 0
}

// hashTypeIterator walks over a hash, which must not be changed or searched
// meanwhile.
type hashTypeIterator struct {
	h  hashType
	p  int // of the field in the listpack, -1 behind the last; 0 before the first
	it dict.Iterator
}

func hashTypeInitIterator(h hashType) hashTypeIterator {
	if h.table != nil {
		return hashTypeIterator{h: h, it: h.table.UnsafeIterator()}
	}
	return hashTypeIterator{h: h}
}

// hashTypeNext goes on to the next field and reports whether there is one.
func hashTypeNext(it *hashTypeIterator) bool {
	lp := it.h.lp
	switch {
	case it.h.table != nil:
		return it.it.Next()
	case it.p == 0:
		it.p = listpack.First(lp)
	case it.p > 0:
		it.p = listpack.Next(lp, listpack.Next(lp, it.p))
	}
	return it.p >= 0
}

// field and value return what the iterator is at; scratch is for the digits of an
// integer.

func (it *hashTypeIterator) field(scratch *[20]byte) []byte {
	if it.h.table != nil {
		return it.h.table.Key(it.it.Ref())
	}
	return listpack.Bytes(it.h.lp, it.p, scratch)
}

func (it *hashTypeIterator) value(scratch *[20]byte) []byte {
	if it.h.table != nil {
		return it.h.table.Value(it.it.Ref())
	}
	return listpack.Bytes(it.h.lp, listpack.Next(it.h.lp, it.p), scratch)
}

// hashTypeConvert makes a table from a listpack, with room for n fields in all.
//
//go:noinline
func hashTypeConvert(db *redisDb, lp []byte, n int) (*hashTable, error) {
	t := &hashTable{dict.New(db.arena)}
	t.Reserve(n)
	var f, v [20]byte
	for p := listpack.First(lp); p >= 0; {
		value := listpack.Next(lp, p)
		if _, err := t.Add(listpack.Bytes(lp, p, &f), listpack.Bytes(lp, value, &v), 0); err != nil {
			t.Clear()
			return nil, err
		}
		p = listpack.Next(lp, value)
	}
	return t, nil
}

// set gives a field of the table a value, and reports whether the field is new.
func (t *hashTable) set(field, value []byte) (created bool, err error) {
	hash := dict.Hash(field)
	if r := t.FindHash(hash, field); r != 0 {
		_, err = t.SetValue(r, value)
		return false, err
	}
	_, err = t.AddHash(hash, field, value, 0)
	return true, err
}

// hashTypeTryConversion reports whether what is about to be added to a listpack
// (nil: to none yet) needs a table instead.
func hashTypeTryConversion(c *client, lp []byte, args [][]byte) bool {
	sum := 0
	for _, arg := range args {
		if int64(len(arg)) > c.srv.config.HashMaxListpackValue {
			return true
		}
		sum += len(arg)
	}
	return !listpack.SafeToAdd(lp, sum)
}

// hashTypeSet sets fields and values, in turn in pairs, of the hash at r, or of a
// new one when r is 0, and returns how many fields are new. When memory is out it
// tells the client and returns false, and nothing has changed.
//
//go:noinline
func hashTypeSet(c *client, hash uint64, key []byte, r dict.Ref, pairs [][]byte) (created int, ok bool) {
	var h hashType
	if r != 0 {
		h = hashTypeAt(c.db, r)
	}
	switch {
	case h.table != nil:
		return hashTypeSetTable(c, h.table, pairs)
	case hashTypeTryConversion(c, h.lp, pairs):
		return hashTypeSetConverted(c, hash, key, r, h.lp, 0, pairs)
	case len(pairs) == 2 && r != 0:
		return hashTypeSetInPlace(c, r, pairs)
	}
	// Several at once are set in a copy, so that it is all or none.
	limit := c.srv.config.HashMaxListpackEntries
	lp := append(c.srv.scratch[:0], h.lp...)
	if r == 0 {
		lp = listpack.AppendNew(lp)
	}
	for rest := pairs; len(rest) > 0; rest = rest[2:] {
		if p := findField(lp, rest[0]); p >= 0 {
			lp, _ = listpack.Replace(lp, listpack.Next(lp, p), rest[1])
		} else {
			lp = listpack.Append(lp, rest[0])
			lp = listpack.Append(lp, rest[1])
			created++
		}
		if int64(listpack.Len(lp)/2) > limit {
			c.srv.keepScratch(lp)
			return hashTypeSetConverted(c, hash, key, r, lp, created, rest[2:])
		}
	}
	c.srv.keepScratch(lp)
	if r == 0 {
		_, ok = dbAdd(c, c.db, hash, key, typeHash, encodingListpack, lp)
	} else {
		_, ok = dbSetBytes(c, c.db, r, encodingListpack, lp)
	}
	return created, ok
}

func hashTypeSetTable(c *client, t *hashTable, pairs [][]byte) (created int, ok bool) {
	if len(pairs) > 2 {
		sum := int64(0)
		for _, arg := range pairs {
			sum += int64(len(arg))
		}
		if !t.HasRoom(len(pairs)/2, sum) { // all or none
			addReplyErrorObject(c, shared.oomerr)
			return 0, false
		}
	}
	for ; len(pairs) > 0; pairs = pairs[2:] {
		added, err := t.set(pairs[0], pairs[1])
		if err != nil {
			replyNoMemory(c, err)
			return created, false
		}
		if added {
			created++
		}
	}
	return created, true
}

// hashTypeSetConverted makes the hash at r a table that holds what is in lp and
// pairs. created is how many fields in lp are new.
func hashTypeSetConverted(c *client, hash uint64, key []byte, r dict.Ref, lp []byte, created int, pairs [][]byte) (int, bool) {
	fields := len(pairs) / 2
	if lp == nil {
		lp = listpack.AppendNew(c.srv.scratch[:0])
	} else {
		fields += listpack.Len(lp) / 2
	}
	t, err := hashTypeConvert(c.db, lp, fields)
	for ; err == nil && len(pairs) > 0; pairs = pairs[2:] {
		var added bool
		if added, err = t.set(pairs[0], pairs[1]); added {
			created++
		}
	}
	if err != nil {
		if t != nil {
			t.free()
		}
		replyNoMemory(c, err)
		return 0, false
	}
	ok := false
	if r == 0 {
		_, ok = dbAddObject(c, c.db, hash, key, typeHash, encodingHashtable, t)
	} else {
		_, ok = dbSetObject(c, c.db, r, encodingHashtable, t)
	}
	return created, ok
}

// hashTypeSetInPlace sets one field of the listpack at r, moving no more of it than
// it must.
func hashTypeSetInPlace(c *client, r dict.Ref, pair [][]byte) (created int, ok bool) {
	d := c.db.dict
	lp := d.Value(r)
	size, p := len(lp), findField(lp, pair[0])
	fields := listpack.Len(lp) / 2
	grown := size
	if p >= 0 {
		p = listpack.Next(lp, p)
		grown = listpack.ReplacedSize(lp, p, pair[1])
	} else {
		fields++
		grown += listpack.EntrySize(pair[0]) + listpack.EntrySize(pair[1])
	}
	if int64(fields) > c.srv.config.HashMaxListpackEntries {
		return hashTypeSetConverted(c, 0, nil, r, lp, 0, pair)
	}
	if grown > size {
		var err error
		if r, err = d.Grow(r, grown); err != nil {
			replyNoMemory(c, err)
			return 0, false
		}
		lp = d.Value(r)[:size]
	}
	if p < 0 {
		lp = listpack.Append(lp, pair[0])
		listpack.Append(lp, pair[1])
		return 1, true
	}
	listpack.Replace(lp, p, pair[1])
	if grown < size {
		d.Truncate(r, grown)
	}
	return 0, true
}

// lookupHashRead returns the hash under the first key of a command that reads. When
// there is none, it has told the client: missing, or WRONGTYPE.
func lookupHashRead(c *client, missing []byte) (hashType, bool) {
	r := lookupKeyReadOrReply(c, c.argv[1], missing)
	if r == 0 || checkType(c, r, typeHash) {
		return hashType{}, false
	}
	return hashTypeAt(c.db, r), true
}

// hashTypeLookupWriteOrCreate returns the entry of the hash under the first key, 0
// when it is to be made. False when there is something else, which it has told the
// client.
//
//go:noinline
func hashTypeLookupWriteOrCreate(c *client) (hash uint64, r dict.Ref, ok bool) {
	hash = c.hash(c.argv[1])
	r = lookupKeyHash(c, c.db, hash, c.argv[1], lookupWrite)
	return hash, r, r == 0 || !checkType(c, r, typeHash)
}

// hsetCommand is HSET, and HMSET with its older reply.
func hsetCommand(c *client) {
	if len(c.argv)%2 == 1 {
		addReplyErrorArity(c)
		return
	}
	hash, r, ok := hashTypeLookupWriteOrCreate(c)
	if !ok {
		return
	}
	pairs := c.argv[2:]
	created, ok := hashTypeSet(c, hash, c.argv[1], r, pairs)
	if !ok {
		return
	}
	keyModified(c)
	c.srv.dirty += int64(len(pairs)/2 - 1)
	if c.cmd.name == "hset" {
		addReplyLongLong(c, int64(created))
	} else {
		addReply(c, shared.ok)
	}
}

func hsetnxCommand(c *client) {
	hash, r, ok := hashTypeLookupWriteOrCreate(c)
	if !ok {
		return
	}
	if r != 0 && hashTypeExists(hashTypeAt(c.db, r), c.argv[2]) {
		addReply(c, shared.czero)
		return
	}
	if _, ok := hashTypeSet(c, hash, c.argv[1], r, c.argv[2:]); ok {
		keyModified(c)
		addReply(c, shared.cone)
	}
}

func hincrbyCommand(c *client) {
	by, ok := intArgument(c, c.argv[3])
	if !ok {
		return
	}
	hash, r, ok := hashTypeLookupWriteOrCreate(c)
	if !ok {
		return
	}
	var old int64
	if r != 0 {
		var scratch [20]byte
		if v, exists := hashTypeGetValue(hashTypeAt(c.db, r), c.argv[2], &scratch); exists {
			if old, ok = parseInt64(v); !ok {
				addReplyError(c, "hash value is not an integer")
				return
			}
		}
	}
	sum, ok := incrementOrReply(c, old, by)
	if !ok {
		return
	}
	var digits [20]byte
	if hashTypeSetOne(c, hash, r, strconv.AppendInt(digits[:0], sum, 10)) {
		keyModified(c)
		addReplyLongLong(c, sum)
	}
}

// hashTypeSetOne gives the field that is the command's first argument behind the
// key a computed value.
func hashTypeSetOne(c *client, hash uint64, r dict.Ref, value []byte) bool {
	pair := [2][]byte{c.argv[2], value}
	_, ok := hashTypeSet(c, hash, c.argv[1], r, pair[:])
	return ok
}

func hincrbyfloatCommand(c *client) {
	var sum, by longDouble
	if !by.parse(c.argv[3]) {
		addReplyErrorObject(c, shared.notfloaterr)
		return
	}
	if by.f.IsInf() {
		addReplyError(c, "value is NaN or Infinity")
		return
	}
	hash, r, ok := hashTypeLookupWriteOrCreate(c)
	if !ok {
		return
	}
	if r != 0 {
		var scratch [20]byte
		if v, exists := hashTypeGetValue(hashTypeAt(c.db, r), c.argv[2], &scratch); exists && !sum.parse(v) {
			addReplyError(c, "hash value is not a float")
			return
		}
	}
	if !sum.add(&by) {
		addReplyError(c, "increment would produce NaN or Infinity")
		return
	}
	var room [64]byte
	text := sum.appendHuman(room[:0])
	if hashTypeSetOne(c, hash, r, text) {
		keyModified(c)
		addReplyBulk(c, text)
	}
}

func addHashFieldToReply(c *client, h hashType, field []byte) {
	var scratch [20]byte
	if v, ok := hashTypeGetValue(h, field, &scratch); ok {
		addReplyBulk(c, v)
	} else {
		addReplyNull(c)
	}
}

func hgetCommand(c *client) {
	if h, ok := lookupHashRead(c, nullReply(c)); ok {
		addHashFieldToReply(c, h, c.argv[2])
	}
}

func hmgetCommand(c *client) {
	r := lookupKeyRead(c, c.argv[1])
	if r != 0 && checkType(c, r, typeHash) {
		return
	}
	fields := c.argv[2:]
	addReplyArrayLen(c, len(fields))
	if r == 0 {
		for range fields {
			addReplyNull(c)
		}
		return
	}
	h := hashTypeAt(c.db, r)
	for _, field := range fields {
		addHashFieldToReply(c, h, field)
	}
}

func hdelCommand(c *client) {
	hash, r, ok := lookupKeyWriteOrReply(c, typeHash, shared.czero)
	if !ok {
		return
	}
	deleted := hashTypeDelete(c, hash, r, c.argv[2:])
	if deleted > 0 {
		keyModified(c)
		c.srv.dirty += int64(deleted - 1)
	}
	addReplyLongLong(c, int64(deleted))
}

// hashTypeDelete deletes fields of the hash at r, and with the last of them the key.
// It returns how many there were.
//
//go:noinline
func hashTypeDelete(c *client, hash uint64, r dict.Ref, fields [][]byte) (deleted int) {
	d := c.db.dict
	h := hashTypeAt(c.db, r)
	if h.table != nil {
		for _, field := range fields {
			if h.table.Delete(field) {
				if deleted++; h.table.Len() == 0 {
					break
				}
			}
		}
		if h.table.Len() == 0 {
			dbDelete(c.srv, c.db, hash, r)
		}
		return deleted
	}
	lp := h.lp
	for _, field := range fields {
		if p := findField(lp, field); p >= 0 {
			lp, _ = listpack.DeleteFrom(lp, p, 2)
			deleted++
		}
	}
	switch {
	case listpack.First(lp) < 0:
		dbDelete(c.srv, c.db, hash, r)
	case deleted > 0:
		d.Truncate(r, len(lp))
	}
	return deleted
}

func hlenCommand(c *client) {
	if h, ok := lookupHashRead(c, shared.czero); ok {
		addReplyLongLong(c, int64(hashTypeLength(h)))
	}
}

func hstrlenCommand(c *client) {
	if h, ok := lookupHashRead(c, shared.czero); ok {
		var scratch [20]byte
		v, _ := hashTypeGetValue(h, c.argv[2], &scratch)
		addReplyLongLong(c, int64(len(v)))
	}
}

func hexistsCommand(c *client) {
	if h, ok := lookupHashRead(c, shared.czero); ok {
		if hashTypeExists(h, c.argv[2]) {
			addReply(c, shared.cone)
		} else {
			addReply(c, shared.czero)
		}
	}
}

// What genericHgetallCommand tells of a hash.
const (
	hashKeys = 1 << iota
	hashValues
)

// genericHgetallCommand is HKEYS, HVALS and HGETALL.
//
//go:noinline
func genericHgetallCommand(c *client, what int) {
	empty := shared.emptyArray
	if what == hashKeys|hashValues && c.resp > 2 {
		empty = shared.emptyMap
	}
	h, ok := lookupHashRead(c, empty)
	if !ok {
		return
	}
	if n := hashTypeLength(h); what == hashKeys|hashValues {
		addReplyMapLen(c, n)
	} else {
		addReplyArrayLen(c, n)
	}
	var scratch [20]byte
	for it := hashTypeInitIterator(h); hashTypeNext(&it); {
		if what&hashKeys != 0 {
			addReplyBulk(c, it.field(&scratch))
		}
		if what&hashValues != 0 {
			addReplyBulk(c, it.value(&scratch))
		}
	}
}

func hkeysCommand(c *client) { genericHgetallCommand(c, hashKeys) }

func hvalsCommand(c *client) { genericHgetallCommand(c, hashValues) }

func hgetallCommand(c *client) { genericHgetallCommand(c, hashKeys|hashValues) }

func hscanCommand(c *client) {
	cursor, ok := parseScanCursorOrReply(c, c.argv[2])
	if !ok {
		return
	}
	if h, ok := lookupHashRead(c, shared.emptyScan); ok {
		source := scanSource{lp: h.lp, value: func(v []byte, _ *[64]byte) []byte { return v }}
		if h.table != nil {
			source.dict = h.table.Dict
		}
		scanGenericCommand(c, c.argv[3:], cursor, &source)
	}
}

func hrandfieldCommand(c *client) {
	if len(c.argv) == 2 {
		h, ok := lookupHashRead(c, nullReply(c))
		if !ok {
			return
		}
		var scratch [20]byte
		if h.table != nil {
			addReplyBulk(c, h.table.Key(h.table.FairRandom()))
		} else {
			p := listpack.Seek(h.lp, 2*rand.IntN(hashTypeLength(h)))
			addReplyBulk(c, listpack.Bytes(h.lp, p, &scratch))
		}
		return
	}
	if count, withValues, ok := randomArguments(c, "withvalues"); ok {
		hrandfieldWithCountCommand(c, count, withValues)
	}
}

// hrandfieldWithCountCommand is HRANDFIELD with a count: so many distinct fields, or
// when it is negative, that many with repetitions.
//
//go:noinline
func hrandfieldWithCountCommand(c *client, count int64, withValues bool) {
	h, ok := lookupHashRead(c, shared.emptyArray)
	if !ok {
		return
	}
	if count == 0 {
		addReply(c, shared.emptyArray)
		return
	}
	size := hashTypeLength(h)
	distinct := count > 0
	if n := min(count, int64(size)); distinct {
		count = n
	} else {
		count = -count
	}
	if withValues && c.resp == 2 {
		addReplyArrayLen(c, int(count*2))
	} else {
		addReplyArrayLen(c, int(count))
	}
	switch {
	case h.table != nil && (!distinct || count == 1):
		for range count {
			if !c.checkLongReply() {
				return
			}
			h.replyEntry(c, h.table.FairRandom(), withValues)
		}
	case h.table != nil:
		for _, r := range randomEntries(c.srv, h.table.Dict, int(count)) {
			h.replyEntry(c, r, withValues)
		}
	case distinct:
		// Each field is taken with the probability that leaves the rest a fair chance.
		left := size
		for p := listpack.First(h.lp); count > 0; left-- {
			value := listpack.Next(h.lp, p)
			if rand.Int64N(int64(left)) < count {
				h.replyPair(c, p, value, withValues)
				count--
			}
			p = listpack.Next(h.lp, value)
		}
	default:
		at := c.srv.refs[:0]
		for p := listpack.First(h.lp); p >= 0; p = listpack.Next(h.lp, listpack.Next(h.lp, p)) {
			at = append(at, dict.Ref(p))
		}
		c.srv.refs = at
		for range count {
			if !c.checkLongReply() {
				return
			}
			p := int(at[rand.IntN(len(at))])
			h.replyPair(c, p, listpack.Next(h.lp, p), withValues)
		}
	}
}

// replyEntry replies with an entry of the table, replyPair with what is in the
// listpack: the field, and with it, as a pair where RESP3 allows, the value.

func (h hashType) replyEntry(c *client, r dict.Ref, withValues bool) {
	if withValues && c.resp > 2 {
		addReplyArrayLen(c, 2)
	}
	addReplyBulk(c, h.table.Key(r))
	if withValues {
		addReplyBulk(c, h.table.Value(r))
	}
}

func (h hashType) replyPair(c *client, field, value int, withValues bool) {
	var scratch [20]byte
	if withValues && c.resp > 2 {
		addReplyArrayLen(c, 2)
	}
	addReplyBulk(c, listpack.Bytes(h.lp, field, &scratch))
	if withValues {
		addReplyBulk(c, listpack.Bytes(h.lp, value, &scratch))
	}
}
