package engine

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"unsafe"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/intset"
)

// A set is an intset while it has only integers and not too many of them
// (set-max-intset-entries), from then on a table.

// setTable is a large set: a table whose values are empty.
type setTable struct{ *dict.Dict }

func (t *setTable) free()         { t.Clear() }
func (t *setTable) memory() int64 { return t.Used() + int64(unsafe.Sizeof(*t)+unsafe.Sizeof(*t.Dict)) }

func (t *setTable) dup() (heapObject, error) {
	d, err := t.Dup()
	if err != nil {
		return nil, err
	}
	return &setTable{d}, nil
}

// setType is a set of either kind. The intset of one in the key space is a view of
// the entry.
type setType struct {
	is    []byte // nil when there is a table
	table *setTable
}

// setTypeAt returns the set at r.
func setTypeAt(db *redisDb, r dict.Ref) setType {
	if metaEncoding(db.dict.Meta(r)) == encodingIntset {
		return setType{is: db.dict.Value(r)}
	}
	return setType{table: db.objectAt(r).(*setTable)}
}

// same reports whether two sets, neither of them empty, are one.
func (s setType) same(other setType) bool {
	return s.table == other.table && unsafe.SliceData(s.is) == unsafe.SliceData(other.is)
}

// setTypeSize returns the number of members.
func setTypeSize(s setType) int {
	if s.table != nil {
		return s.table.Len()
	}
	return intset.Len(s.is)
}

func setTypeIsMember(s setType, member []byte) bool {
	if s.table != nil {
		return s.table.Find(member) != 0
	}
	n, ok := parseInt64(member)
	return ok && intset.Find(s.is, n)
}

// setTypeIterator walks over a set, which must not be changed or searched meanwhile.
type setTypeIterator struct {
	s   setType
	pos int // of the next integer
	it  dict.Iterator
}

func setTypeInitIterator(s setType) setTypeIterator {
	if s.table != nil {
		return setTypeIterator{s: s, it: s.table.UnsafeIterator()}
	}
	return setTypeIterator{s: s}
}

// setTypeNext returns the next member, nil behind the last: a view, or in scratch
// the digits of an integer.
func setTypeNext(it *setTypeIterator, scratch *[20]byte) []byte {
	switch {
	case it.s.table != nil:
		if it.it.Next() {
			return it.s.table.Key(it.it.Ref())
		}
		return nil
	case it.pos == intset.Len(it.s.is):
		return nil
	}
	it.pos++
	return strconv.AppendInt(scratch[:0], intset.Get(it.s.is, it.pos-1), 10)
}

// setTypeRandomElement returns a member, each with the same probability. The set
// must not be empty.
func setTypeRandomElement(s setType, scratch *[20]byte) []byte {
	if s.table != nil {
		return s.table.Key(s.table.FairRandom())
	}
	return strconv.AppendInt(scratch[:0], intset.Random(s.is), 10)
}

// setTypeConvert makes a table from an intset, with room for n members in all.
//
//go:noinline
func setTypeConvert(db *redisDb, is []byte, n int) (*setTable, error) {
	t := &setTable{dict.New(db.arena)}
	t.Reserve(n)
	var scratch [20]byte
	for it := setTypeInitIterator(setType{is: is}); ; {
		member := setTypeNext(&it, &scratch)
		if member == nil {
			return t, nil
		}
		if _, err := t.Add(member, nil, 0); err != nil {
			t.free()
			return nil, err
		}
	}
}

// add adds a member and reports whether it is new.
func (t *setTable) add(member []byte) (added bool, err error) {
	hash := dict.Hash(member)
	if t.FindHash(hash, member) != 0 {
		return false, nil
	}
	_, err = t.AddHash(hash, member, nil, 0)
	return err == nil, err
}

// maxIntset is the largest number of members of an intset.
func maxIntset(s *Server) int { return int(min(s.config.SetMaxIntsetEntries, 1<<30)) }

// setBuilder is a set in the making, outside of the key space. Its intset is in the
// server's scratch buffer, so there is one at a time.
type setBuilder struct {
	c *client
	setType
}

func newSetBuilder(c *client) setBuilder {
	return setBuilder{c: c, setType: setType{is: intset.AppendNew(c.srv.scratch[:0])}}
}

// add is setTypeAdd: it adds a member and reports whether it is new.
func (b *setBuilder) add(member []byte) (added bool, err error) {
	if b.table == nil {
		if n, ok := parseInt64(member); ok {
			if b.is, added = intset.Add(b.is, n); !added || intset.Len(b.is) <= maxIntset(b.c.srv) {
				return added, nil
			}
		}
		if b.table, err = setTypeConvert(b.c.db, b.is, intset.Len(b.is)+1); err != nil {
			return false, err
		}
		b.c.srv.keepScratch(b.is)
		b.is = nil
		if added {
			return true, nil
		}
	}
	return b.table.add(member)
}

// free gives back what has not been stored.
func (b *setBuilder) free() {
	if b.table != nil {
		b.table.free()
	} else {
		b.c.srv.keepScratch(b.is)
	}
	b.setType = setType{}
}

// store makes the set the value of a key: of the entry r, whatever it was, or of a
// new one when r is 0. The expire time goes. The builder is not used again.
func (b *setBuilder) store(hash uint64, key []byte, r dict.Ref) bool {
	c := b.c
	var number objectNumber
	value, e := b.is, encodingIntset
	if b.table != nil {
		number = c.db.objects.add(b.table)
		value, e = number[:], encodingHashtable
	}
	_, ok := setKey(c, c.db, hash, key, r, value, makeMeta(typeSet, e, c.srv.loopClock.lru), noExpire)
	switch {
	case b.table == nil:
		b.free()
	case !ok:
		c.db.releaseValue(e, number[:])
	}
	return ok
}

// replace makes the set the value of the set at r. The expire time stays.
func (b *setBuilder) replace(r dict.Ref) (ok bool) {
	if b.table != nil {
		_, ok = dbSetObject(b.c, b.c.db, r, encodingHashtable, b.table)
		return ok
	}
	_, ok = dbSetBytes(b.c, b.c.db, r, encodingIntset, b.is)
	b.free()
	return ok
}

// setTypeAdd adds members to the set at r, or to a new one when r is 0, and returns
// how many are new. When memory is out it tells the client and returns false, and
// nothing has changed.
//
//go:noinline
func setTypeAdd(c *client, hash uint64, key []byte, r dict.Ref, members [][]byte) (added int, ok bool) {
	var s setType
	if r != 0 {
		s = setTypeAt(c.db, r)
	}
	switch {
	case s.table != nil:
		return setTypeAddTable(c, s.table, members)
	case r != 0 && len(members) == 1:
		if n, isInt := parseInt64(members[0]); isInt && intset.Len(s.is) < maxIntset(c.srv) {
			return setTypeAddInPlace(c, r, s.is, n)
		} else if isInt && intset.Find(s.is, n) {
			return 0, true
		}
	}
	b := newSetBuilder(c)
	if r != 0 {
		b.is = append(b.is[:0], s.is...)
	}
	for _, m := range members {
		isNew, err := b.add(m)
		if err != nil {
			b.free()
			replyNoMemory(c, err)
			return 0, false
		}
		if isNew {
			added++
		}
	}
	if r == 0 {
		return added, b.store(hash, key, 0)
	}
	return added, b.replace(r)
}

func setTypeAddTable(c *client, t *setTable, members [][]byte) (added int, ok bool) {
	if len(members) > 1 {
		sum := int64(0)
		for _, m := range members {
			sum += int64(len(m))
		}
		if !t.HasRoom(len(members), sum) { // all or none
			addReplyErrorObject(c, shared.oomerr)
			return 0, false
		}
	}
	for _, m := range members {
		isNew, err := t.add(m)
		if err != nil {
			replyNoMemory(c, err)
			return added, false
		}
		if isNew {
			added++
		}
	}
	return added, true
}

// setTypeAddInPlace adds an integer to the intset at r.
func setTypeAddInPlace(c *client, r dict.Ref, is []byte, n int64) (added int, ok bool) {
	if intset.Find(is, n) {
		return 0, true
	}
	size := len(is)
	r, err := c.db.dict.Grow(r, intset.SizeWith(is, n))
	if err != nil {
		replyNoMemory(c, err)
		return 0, false
	}
	intset.Add(c.db.dict.Value(r)[:size], n)
	return 1, true
}

// setTypeRemove removes members of the set at r, and with the last of them the key.
// It returns how many there were.
//
//go:noinline
func setTypeRemove(c *client, hash uint64, r dict.Ref, members [][]byte) (removed int) {
	s := setTypeAt(c.db, r)
	for _, m := range members {
		if s.remove(m) {
			if removed++; setTypeSize(s) == 0 {
				dbDelete(c.srv, c.db, hash, r)
				return removed
			}
		}
	}
	if s.table == nil && removed > 0 {
		c.db.dict.Truncate(r, len(s.is))
	}
	return removed
}

// remove removes a member. An intset becomes shorter than the entry that it is in.
func (s *setType) remove(member []byte) (removed bool) {
	if s.table != nil {
		return s.table.Delete(member)
	}
	if n, ok := parseInt64(member); ok {
		s.is, removed = intset.Remove(s.is, n)
	}
	return removed
}

// lookupSetRead returns the set under the first key of a command that reads. When
// there is none, it has told the client: missing, or WRONGTYPE.
func lookupSetRead(c *client, missing []byte) (setType, bool) {
	r := lookupKeyReadOrReply(c, c.argv[1], missing)
	if r == 0 || checkType(c, r, typeSet) {
		return setType{}, false
	}
	return setTypeAt(c.db, r), true
}

// lookupSetWrite returns the entry of the set under the first key of a command that
// takes from it; otherwise as lookupSetRead.
func lookupSetWrite(c *client, missing []byte) (hash uint64, r dict.Ref, ok bool) {
	hash = c.hash(c.argv[1])
	r = lookupKeyHash(c, c.db, hash, c.argv[1], lookupWrite)
	if r == 0 {
		addReply(c, missing)
		return 0, 0, false
	}
	return hash, r, !checkType(c, r, typeSet)
}

func saddCommand(c *client) {
	key := c.argv[1]
	hash := c.hash(key)
	r := lookupKeyHash(c, c.db, hash, key, lookupWrite)
	if r != 0 && checkType(c, r, typeSet) {
		return
	}
	added, ok := setTypeAdd(c, hash, key, r, c.argv[2:])
	if !ok {
		return
	}
	if added > 0 {
		keyModified(c)
		c.srv.dirty += int64(added - 1)
	}
	addReplyLongLong(c, int64(added))
}

func sremCommand(c *client) {
	hash, r, ok := lookupSetWrite(c, shared.czero)
	if !ok {
		return
	}
	removed := setTypeRemove(c, hash, r, c.argv[2:])
	if removed > 0 {
		keyModified(c)
		c.srv.dirty += int64(removed - 1)
	}
	addReplyLongLong(c, int64(removed))
}

func smoveCommand(c *client) {
	from, to, member := c.argv[1], c.argv[2], c.argv[3:4]
	hash, toHash := c.hash(from), c.hash(to)
	src := lookupKeyHash(c, c.db, hash, from, lookupWrite)
	dst := lookupKeyHash(c, c.db, toHash, to, lookupWrite)
	if src == 0 {
		addReply(c, shared.czero)
		return
	}
	if checkType(c, src, typeSet) || dst != 0 && checkType(c, dst, typeSet) {
		return
	}
	switch isMember := setTypeIsMember(setTypeAt(c.db, src), member[0]); {
	case !isMember:
		addReply(c, shared.czero)
		return
	case src == dst:
		addReply(c, shared.cone)
		return
	}
	// First what can fail.
	added, ok := setTypeAdd(c, toHash, to, dst, member)
	if !ok {
		return
	}
	setTypeRemove(c, hash, src, member)
	keyModified(c)
	if added > 0 {
		keyModified(c)
	}
	addReply(c, shared.cone)
}

func addReplyMember(c *client, isMember bool) {
	if isMember {
		addReply(c, shared.cone)
	} else {
		addReply(c, shared.czero)
	}
}

func sismemberCommand(c *client) {
	if s, ok := lookupSetRead(c, shared.czero); ok {
		addReplyMember(c, setTypeIsMember(s, c.argv[2]))
	}
}

func smismemberCommand(c *client) {
	r := lookupKeyRead(c, c.argv[1])
	if r != 0 && checkType(c, r, typeSet) {
		return
	}
	var s setType
	if r != 0 {
		s = setTypeAt(c.db, r)
	}
	addReplyArrayLen(c, len(c.argv)-2)
	for _, m := range c.argv[2:] {
		addReplyMember(c, r != 0 && setTypeIsMember(s, m))
	}
}

func scardCommand(c *client) {
	if s, ok := lookupSetRead(c, shared.czero); ok {
		addReplyLongLong(c, int64(setTypeSize(s)))
	}
}

func sscanCommand(c *client) {
	cursor, ok := parseScanCursorOrReply(c, c.argv[2])
	if !ok {
		return
	}
	if s, ok := lookupSetRead(c, shared.emptyScan); ok {
		source := scanSource{is: s.is}
		if s.table != nil {
			source.dict = s.table.Dict
		}
		scanGenericCommand(c, c.argv[3:], cursor, &source)
	}
}

// replyMembers replies with all members.
func replyMembers(c *client, s setType) {
	var scratch [20]byte
	it := setTypeInitIterator(s)
	for m := setTypeNext(&it, &scratch); m != nil; m = setTypeNext(&it, &scratch) {
		addReplyBulk(c, m)
	}
}

func spopCommand(c *client) {
	if len(c.argv) > 3 {
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	if len(c.argv) == 3 {
		spopWithCountCommand(c)
		return
	}
	hash, r, ok := lookupSetWrite(c, nullReply(c))
	if !ok {
		return
	}
	s := setTypeAt(c.db, r)
	if s.table == nil {
		var scratch [20]byte
		member := [1][]byte{setTypeRandomElement(s, &scratch)}
		addReplyBulk(c, member[0])
		setTypeRemove(c, hash, r, member[:])
	} else {
		entry := s.table.FairRandom()
		addReplyBulk(c, s.table.Key(entry))
		if s.table.DeleteRef(entry); s.table.Len() == 0 {
			dbDelete(c.srv, c.db, hash, r)
		}
	}
	keyModified(c)
}

// spopMoveStrategyMul says when it is cheaper to pick those that stay: when what is
// taken is more than so many times that.
const spopMoveStrategyMul = 5

// spopWithCountCommand is SPOP with a count.
//
//go:noinline
func spopWithCountCommand(c *client) {
	count, ok := intArgumentRange(c, c.argv[2], 0, math.MaxInt64, "value is out of range, must be positive")
	if !ok {
		return
	}
	hash, r, ok := lookupSetWrite(c, emptySetReply(c))
	if !ok {
		return
	}
	if count == 0 {
		addReply(c, emptySetReply(c))
		return
	}
	s := setTypeAt(c.db, r)
	size := setTypeSize(s)
	taken := int(min(count, int64(size)))
	switch left := size - taken; {
	case left == 0:
		addReplySetLen(c, taken)
		replyMembers(c, s)
		dbDelete(c.srv, c.db, hash, r)
	case left*spopMoveStrategyMul <= taken:
		if !spopAllBut(c, r, s, left) {
			return
		}
	case s.table == nil:
		addReplySetLen(c, taken)
		spopIntset(c, r, s.is, taken)
	default:
		addReplySetLen(c, taken)
		for range taken {
			entry := s.table.FairRandom()
			addReplyBulk(c, s.table.Key(entry))
			s.table.DeleteRef(entry)
		}
	}
	keyModified(c)
	c.srv.dirty += int64(taken - 1)
}

// spopIntset takes n of the integers at r, which are more. Each is taken with the
// probability that leaves the rest a fair chance; the others close ranks.
func spopIntset(c *client, r dict.Ref, is []byte, n int) {
	left := intset.Len(is)
	var scratch [20]byte
	is = intset.Filter(is, func(v int64) bool {
		left--
		if rand.IntN(left+1) >= n {
			return true
		}
		n--
		addReplyBulk(c, strconv.AppendInt(scratch[:0], v, 10))
		return false
	})
	c.db.dict.Truncate(r, len(is))
}

// spopAllBut makes a new set of n members of the set at r, chosen at random, and
// replies with the others. When memory is out it tells the client and returns false.
func spopAllBut(c *client, r dict.Ref, s setType, n int) bool {
	b := newSetBuilder(c)
	var scratch [20]byte
	var err error
	if s.table != nil {
		for _, entry := range randomEntries(c.srv, s.table.Dict, n) {
			if err == nil {
				_, err = b.add(s.table.Key(entry))
			}
		}
	} else {
		size, need := intset.Len(s.is), n
		for i := 0; i < size && err == nil; i++ {
			if rand.IntN(size-i) < need {
				need--
				_, err = b.add(strconv.AppendInt(scratch[:0], intset.Get(s.is, i), 10))
			}
		}
	}
	if err != nil {
		b.free()
		replyNoMemory(c, err)
		return false
	}
	mark := addReplyDeferredLen(c)
	it := setTypeInitIterator(s)
	for m := setTypeNext(&it, &scratch); m != nil; m = setTypeNext(&it, &scratch) {
		if !setTypeIsMember(b.setType, m) {
			addReplyBulk(c, m)
		}
	}
	taken := setTypeSize(s) - n
	end := len(c.buf)
	if !b.replace(r) {
		c.buf = slices.Delete(c.buf, mark, end) // all but the error
		return false
	}
	setDeferredSetLen(c, mark, taken)
	return true
}

func srandmemberCommand(c *client) {
	if len(c.argv) == 3 {
		srandmemberWithCountCommand(c)
		return
	}
	if len(c.argv) > 3 {
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	if s, ok := lookupSetRead(c, nullReply(c)); ok {
		var scratch [20]byte
		addReplyBulk(c, setTypeRandomElement(s, &scratch))
	}
}

// srandmemberWithCountCommand is SRANDMEMBER with a count: so many distinct members,
// or when it is negative, that many with repetitions.
//
//go:noinline
func srandmemberWithCountCommand(c *client) {
	count, ok := intArgumentRange(c, c.argv[2], -math.MaxInt64, math.MaxInt64, "")
	if !ok {
		return
	}
	s, ok := lookupSetRead(c, shared.emptyArray)
	if !ok {
		return
	}
	if count == 0 {
		addReply(c, shared.emptyArray)
		return
	}
	var scratch [20]byte
	size := int64(setTypeSize(s))
	switch {
	case count < 0 || count == 1:
		if count < 0 {
			count = -count
		}
		addReplyArrayLen(c, int(count))
		for range count {
			if !c.checkLongReply() {
				return
			}
			addReplyBulk(c, setTypeRandomElement(s, &scratch))
		}
	case count >= size:
		addReplyArrayLen(c, int(size))
		replyMembers(c, s)
	case s.table != nil:
		addReplyArrayLen(c, int(count))
		for _, entry := range randomEntries(c.srv, s.table.Dict, int(count)) {
			addReplyBulk(c, s.table.Key(entry))
		}
	default:
		addReplyArrayLen(c, int(count))
		for i := range size {
			if rand.Int64N(size-i) < count {
				count--
				addReplyBulk(c, strconv.AppendInt(scratch[:0], intset.Get(s.is, int(i)), 10))
			}
		}
	}
}

// lookupSets returns the sets under these keys, those that are missing as empty
// ones, and how many those are. False when one is no set, which it has told the
// client. They are in a buffer of the server's.
func lookupSets(c *client, keys [][]byte) (sets []setType, missing int, ok bool) {
	sets = c.srv.sets[:0]
	for _, key := range keys {
		r := lookupKeyRead(c, key)
		switch {
		case r == 0:
			sets = append(sets, setType{})
			missing++
		case checkType(c, r, typeSet):
			return nil, 0, false
		default:
			sets = append(sets, setTypeAt(c.db, r))
		}
	}
	c.srv.sets = sets
	return sets, missing, true
}

func (s setType) missing() bool { return s.is == nil && s.table == nil }

// storeResult stores what a …STORE command has found under its first key, whatever
// that was; nothing found deletes it.
func storeResult(c *client, b *setBuilder) {
	size := setTypeSize(b.setType)
	hash := c.hash(c.argv[1])
	r := c.db.dict.FindHash(hash, c.argv[1])
	if size > 0 {
		if b.store(hash, c.argv[1], r) {
			keyModified(c)
			addReplyLongLong(c, int64(size))
		}
		return
	}
	b.free()
	if r != 0 {
		dbDelete(c.srv, c.db, hash, r)
		keyModified(c)
	}
	addReply(c, shared.czero)
}

// What sinterGenericCommand and sunionDiffGenericCommand do with what they find.
type setResult uint8

const (
	resultReply setResult = iota // send it
	resultStore                  // store it under the first key
	resultCount                  // send its size
)

// sinterGenericCommand intersects the sets under keys. A count stops at limit,
// unless that is 0.
//
//go:noinline
func sinterGenericCommand(c *client, keys [][]byte, result setResult, limit int64) {
	sets, missing, ok := lookupSets(c, keys)
	if !ok {
		return
	}
	defer clear(sets)
	if missing > 0 {
		switch result {
		case resultStore:
			b := newSetBuilder(c)
			storeResult(c, &b)
		case resultCount:
			addReply(c, shared.czero)
		default:
			addReply(c, emptySetReply(c))
		}
		return
	}
	// From the smallest on: its members are looked up in the others.
	slices.SortFunc(sets, func(a, b setType) int { return setTypeSize(a) - setTypeSize(b) })
	first, others := sets[0], slices.DeleteFunc(sets[1:], sets[0].same)
	if result == resultReply && len(others) == 0 {
		addReplySetLen(c, setTypeSize(first))
		replyMembers(c, first)
		return
	}
	var b setBuilder
	head := 0
	switch result {
	case resultStore:
		b = newSetBuilder(c)
	case resultReply:
		head = addReplyDeferredLen(c)
	}
	found := int64(0)
	var scratch [20]byte
	it := setTypeInitIterator(first)
members:
	for m := setTypeNext(&it, &scratch); m != nil; m = setTypeNext(&it, &scratch) {
		for _, s := range others {
			if !setTypeIsMember(s, m) {
				continue members
			}
		}
		found++
		switch result {
		case resultReply:
			addReplyBulk(c, m)
		case resultStore:
			if _, err := b.add(m); err != nil {
				b.free()
				replyNoMemory(c, err)
				return
			}
		case resultCount:
			if found == limit {
				break members
			}
		}
	}
	switch result {
	case resultReply:
		setDeferredSetLen(c, head, int(found))
	case resultStore:
		storeResult(c, &b)
	case resultCount:
		addReplyLongLong(c, found)
	}
}

// sinterCommand is SINTER, and SMEMBERS, which is the same with one key.
func sinterCommand(c *client) { sinterGenericCommand(c, c.argv[1:], resultReply, 0) }

func sinterstoreCommand(c *client) { sinterGenericCommand(c, c.argv[2:], resultStore, 0) }

func sinterCardCommand(c *client) {
	n, ok := intArgumentRange(c, c.argv[1], 1, math.MaxInt64, "numkeys should be greater than 0")
	if !ok {
		return
	}
	if n > int64(len(c.argv)-2) {
		addReplyError(c, "Number of keys can't be greater than number of args")
		return
	}
	limit := int64(0)
	keys, args := c.argv[2:2+n], c.argv[2+n:]
	for ; len(args) > 0; args = args[2:] {
		if !equalFoldC(args[0], "limit") || len(args) == 1 {
			addReplyErrorObject(c, shared.syntaxerr)
			return
		}
		if limit, ok = intArgumentRange(c, args[1], 0, math.MaxInt64, "LIMIT can't be negative"); !ok {
			return
		}
	}
	sinterGenericCommand(c, keys, resultCount, limit)
}

// sunionDiffGenericCommand unites the sets under keys, or takes from the first what
// is in the others.
//
//go:noinline
func sunionDiffGenericCommand(c *client, keys [][]byte, diff bool, result setResult) {
	sets, _, ok := lookupSets(c, keys)
	if !ok {
		return
	}
	defer clear(sets)
	b := newSetBuilder(c)
	var err error
	switch {
	case !diff:
		err = b.union(sets)
	case sets[0].missing() || slices.ContainsFunc(sets[1:], sets[0].same):
	case diffByLookup(sets):
		if result == resultReply {
			b.free()
			mark := addReplyDeferredLen(c)
			found, _ := lookupDiff(c, sets, nil)
			setDeferredSetLen(c, mark, found)
			return
		}
		_, err = lookupDiff(c, sets, &b)
	default:
		err = b.removeDiff(sets)
	}
	switch {
	case err != nil:
		b.free()
		replyNoMemory(c, err)
	case result == resultStore:
		storeResult(c, &b)
	default:
		addReplySetLen(c, setTypeSize(b.setType))
		replyMembers(c, b.setType)
		b.free()
	}
}

func (b *setBuilder) union(sets []setType) error {
	var scratch [20]byte
	for _, s := range sets {
		if s.missing() {
			continue
		}
		it := setTypeInitIterator(s)
		for m := setTypeNext(&it, &scratch); m != nil; m = setTypeNext(&it, &scratch) {
			if _, err := b.add(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// diffByLookup chooses between the two ways to a difference: look up each member of
// the first set in the others, or remove the members of the others from a copy of
// the first. The former counts half, as it often ends early.
func diffByLookup(sets []setType) bool {
	lookups, removals := int64(0), int64(0)
	for _, s := range sets {
		if !s.missing() {
			lookups += int64(setTypeSize(sets[0]))
			removals += int64(setTypeSize(s))
		}
	}
	return lookups/2 <= removals
}

// lookupDiff adds the difference to b, or sends its members when b is nil, and
// returns how many they are.
func lookupDiff(c *client, sets []setType, b *setBuilder) (found int, err error) {
	others := slices.DeleteFunc(sets[1:], setType.missing)
	// The largest is the likeliest to have a member.
	slices.SortFunc(others, func(a, b setType) int { return setTypeSize(b) - setTypeSize(a) })
	var scratch [20]byte
	it := setTypeInitIterator(sets[0])
members:
	for m := setTypeNext(&it, &scratch); m != nil; m = setTypeNext(&it, &scratch) {
		for _, s := range others {
			if setTypeIsMember(s, m) {
				continue members
			}
		}
		found++
		if b == nil {
			addReplyBulk(c, m)
		} else if _, err = b.add(m); err != nil {
			return 0, err
		}
	}
	return found, nil
}

func (b *setBuilder) removeDiff(sets []setType) error {
	if err := b.union(sets[:1]); err != nil {
		return err
	}
	var scratch [20]byte
	for _, s := range sets[1:] {
		if s.missing() {
			continue
		}
		it := setTypeInitIterator(s)
		for m := setTypeNext(&it, &scratch); m != nil && setTypeSize(b.setType) > 0; m = setTypeNext(&it, &scratch) {
			b.remove(m)
		}
	}
	return nil
}

func sunionCommand(c *client) { sunionDiffGenericCommand(c, c.argv[1:], false, resultReply) }

func sunionstoreCommand(c *client) { sunionDiffGenericCommand(c, c.argv[2:], false, resultStore) }

func sdiffCommand(c *client) { sunionDiffGenericCommand(c, c.argv[1:], true, resultReply) }

func sdiffstoreCommand(c *client) { sunionDiffGenericCommand(c, c.argv[2:], true, resultStore) }
