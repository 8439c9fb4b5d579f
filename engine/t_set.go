package engine

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"unsafe"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/intset"
	"github.com/redscope/redscope/engine/internal/listpack"
)

// A set is an intset while it has only integers and not too many of them
// (set-max-intset-entries). From then on it is what Redis calls a hashtable: packed,
// which is a listpack, while it is small, then a table, and never back.

// The limits of a packed set: members, and bytes of the listpack. Up to there a search
// is about as fast as one in a table.
const (
	packedMaxEntries = 32
	packedMaxBytes   = 512
)

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

// setType is a set of any kind, or none. The bytes of one in the key space are a view
// of the entry.
type setType struct {
	table *setTable
	bytes []byte   // when there is no table
	e     encoding // of the bytes
}

// setTypeAt returns the set at r.
func setTypeAt(db *redisDb, r dict.Ref) setType {
	if e := metaEncoding(db.dict.Meta(r)); e != encodingHashtable {
		return setType{bytes: db.dict.Value(r), e: e}
	}
	return setType{table: db.objectAt(r).(*setTable)}
}

// same reports whether two sets, neither of them empty, are one.
func (s setType) same(other setType) bool {
	return s.table == other.table && unsafe.SliceData(s.bytes) == unsafe.SliceData(other.bytes)
}

// setTypeSize returns the number of members.
func setTypeSize(s setType) int {
	switch {
	case s.table != nil:
		return s.table.Len()
	case s.e == encodingPacked:
		return listpack.Len(s.bytes)
	}
	return intset.Len(s.bytes)
}

func setTypeIsMember(s setType, member []byte) bool {
	switch {
	case s.table != nil:
		return s.table.Find(member) != 0
	case s.e == encodingPacked:
		return packedFind(s.bytes, member) >= 0
	}
	n, ok := parseInt64(member)
	return ok && intset.Find(s.bytes, n)
}

// packedFind returns where a member is in a listpack, -1 if it is not.
func packedFind(lp, member []byte) int {
	return listpack.Find(lp, listpack.First(lp), member, 0)
}

// setTypeIterator walks over a set, which must not be changed or searched meanwhile.
type setTypeIterator struct {
	s   setType
	pos int // of the next integer, or in the listpack, -1 behind the last
	it  dict.Iterator
}

func setTypeInitIterator(s setType) setTypeIterator {
	switch {
	case s.table != nil:
		return setTypeIterator{s: s, it: s.table.UnsafeIterator()}
	case s.e == encodingPacked:
		return setTypeIterator{s: s, pos: listpack.First(s.bytes)}
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
	case it.s.e == encodingPacked:
		if it.pos < 0 {
			return nil
		}
		p := it.pos
		it.pos = listpack.Next(it.s.bytes, p)
		return listpack.Bytes(it.s.bytes, p, scratch)
	case it.pos == intset.Len(it.s.bytes):
		return nil
	}
	it.pos++
	return strconv.AppendInt(scratch[:0], intset.Get(it.s.bytes, it.pos-1), 10)
}

// setTypeRandomElement returns a member, each with the same probability. The set
// must not be empty.
func setTypeRandomElement(s setType, scratch *[20]byte) []byte {
	switch {
	case s.table != nil:
		return s.table.Key(s.table.FairRandom())
	case s.e == encodingPacked:
		p := listpack.Seek(s.bytes, rand.IntN(listpack.Len(s.bytes)))
		return listpack.Bytes(s.bytes, p, scratch)
	}
	return strconv.AppendInt(scratch[:0], intset.Random(s.bytes), 10)
}

// packIntset makes a packed set of an intset, in the intset's place. It has
// packedMaxEntries integers at most, which stay far below packedMaxBytes.
func packIntset(is []byte) []byte {
	var integers [packedMaxEntries]int64
	n := intset.Len(is)
	for i := range n {
		integers[i] = intset.Get(is, i)
	}
	lp := listpack.AppendNew(is[:0])
	for _, v := range integers[:n] {
		lp = listpack.AppendInt(lp, v)
	}
	return lp
}

// setTypeConvert makes a table from a small set, with room for n members in all.
//
//go:noinline
func setTypeConvert(db *redisDb, s setType, n int) (*setTable, error) {
	t := &setTable{dict.New(db.arena)}
	t.Reserve(n)
	var scratch [20]byte
	for it := setTypeInitIterator(s); ; {
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

// setBuilder is a set in the making, outside of the key space. The bytes of a small
// one are in the server's scratch buffer, so there is one at a time.
type setBuilder struct {
	s  *Server
	db *redisDb
	setType
	room int // members to have room for in a table
}

func newSetBuilder(s *Server, db *redisDb) setBuilder {
	return setBuilder{s: s, db: db, setType: setType{bytes: intset.AppendNew(s.scratch[:0]), e: encodingIntset}}
}

// add is setTypeAdd: it adds a member and reports whether it is new.
func (b *setBuilder) add(member []byte) (added bool, err error) {
	if b.e == encodingIntset {
		if n, ok := parseInt64(member); ok {
			if b.bytes, added = intset.Add(b.bytes, n); !added || intset.Len(b.bytes) <= maxIntset(b.s) {
				return added, nil
			}
		}
		if err = b.becomeHashtable(); err != nil || added {
			return added, err
		}
	}
	if b.e == encodingPacked {
		switch size := len(b.bytes) + listpack.EntrySize(member); {
		case packedFind(b.bytes, member) >= 0:
			return false, nil
		case size <= packedMaxBytes && listpack.Len(b.bytes) < packedMaxEntries:
			b.bytes = listpack.Append(b.bytes, member)
			return true, nil
		}
		if err = b.becomeTable(); err != nil {
			return false, err
		}
	}
	return b.table.add(member)
}

// becomeHashtable makes an intset what Redis calls a hashtable.
func (b *setBuilder) becomeHashtable() error {
	if intset.Len(b.bytes) > packedMaxEntries {
		return b.becomeTable()
	}
	b.bytes, b.e = packIntset(b.bytes), encodingPacked
	return nil
}

func (b *setBuilder) becomeTable() error {
	t, err := setTypeConvert(b.db, b.setType, max(b.room, setTypeSize(b.setType)+1))
	if err != nil {
		return err
	}
	b.s.keepScratch(b.bytes)
	b.setType = setType{table: t, e: encodingHashtable}
	return nil
}

// free gives back what has not been stored.
func (b *setBuilder) free() {
	if b.table != nil {
		b.table.free()
	} else {
		b.s.keepScratch(b.bytes)
	}
	b.setType = setType{}
}

// store makes the set the value of a key: of the entry r, whatever it was, or of a
// new one when r is 0. The expire time goes. The builder is not used again.
func (b *setBuilder) store(c *client, hash uint64, key []byte, r dict.Ref) bool {
	var number objectNumber
	value := b.bytes
	if b.table != nil {
		number = b.db.objects.add(b.table)
		value = number[:]
	}
	_, ok := setKey(c, b.db, hash, key, r, value, makeMeta(typeSet, b.e, b.s.loopClock.lru), noExpire)
	switch {
	case b.table == nil:
		b.free()
	case !ok:
		b.db.releaseValue(b.e, number[:])
	}
	return ok
}

// replace makes the set the value of the set at r. The expire time stays.
func (b *setBuilder) replace(c *client, r dict.Ref) (ok bool) {
	if b.table != nil {
		_, ok = dbSetObject(c, b.db, r, b.e, b.table)
		return ok
	}
	_, ok = dbSetBytes(c, b.db, r, b.e, b.bytes)
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
	case r == 0 || len(members) > 1:
	case s.e == encodingPacked:
		if added, ok, done := packedAddInPlace(c, r, s.bytes, members[0]); done {
			return added, ok
		}
	default:
		if n, isInt := parseInt64(members[0]); isInt && intset.Len(s.bytes) < maxIntset(c.srv) {
			return setTypeAddInPlace(c, r, s.bytes, n)
		} else if isInt && intset.Find(s.bytes, n) {
			return 0, true
		}
	}
	b := newSetBuilder(c.srv, c.db)
	if r != 0 {
		b.bytes, b.e = append(b.bytes[:0], s.bytes...), s.e
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
		return added, b.store(c, hash, key, 0)
	}
	return added, b.replace(c, r)
}

// packedAddInPlace adds a member to the packed set at r. done is false when it is too
// much for one.
func packedAddInPlace(c *client, r dict.Ref, lp, member []byte) (added int, ok, done bool) {
	if packedFind(lp, member) >= 0 {
		return 0, true, true
	}
	size := len(lp)
	grown := size + listpack.EntrySize(member)
	if grown > packedMaxBytes || listpack.Len(lp) == packedMaxEntries {
		return 0, false, false
	}
	r, err := c.db.dict.Grow(r, grown)
	if err != nil {
		replyNoMemory(c, err)
		return 0, false, true
	}
	listpack.Append(c.db.dict.Value(r)[:size], member)
	return 1, true, true
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
		c.db.dict.Truncate(r, len(s.bytes))
	}
	return removed
}

// remove removes a member. A small set becomes shorter than the entry that it is in.
func (s *setType) remove(member []byte) (removed bool) {
	if s.table != nil {
		return s.table.Delete(member)
	}
	if s.e == encodingPacked {
		p := packedFind(s.bytes, member)
		if p >= 0 {
			s.bytes, _ = listpack.Delete(s.bytes, p)
		}
		return p >= 0
	}
	if n, ok := parseInt64(member); ok {
		s.bytes, removed = intset.Remove(s.bytes, n)
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
	hash, r, ok := lookupKeyWriteOrReply(c, typeSet, shared.czero)
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
		source := scanSource{set: s}
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
	hash, r, ok := lookupKeyWriteOrReply(c, typeSet, nullReply(c))
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
	count, ok := intArgumentRange(c, c.argv[2], 0, math.MaxInt64, notPositive)
	if !ok {
		return
	}
	hash, r, ok := lookupKeyWriteOrReply(c, typeSet, emptySetReply(c))
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
		spopSmall(c, r, s, taken)
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

// spopSmall takes n members of the small set at r, which are more. Each is taken with
// the probability that leaves the rest a fair chance; the others close ranks.
func spopSmall(c *client, r dict.Ref, s setType, n int) {
	left := setTypeSize(s)
	taken := func() bool {
		left--
		if rand.IntN(left+1) >= n {
			return false
		}
		n--
		return true
	}
	var scratch [20]byte
	if s.e == encodingPacked {
		for p := listpack.First(s.bytes); n > 0; {
			if taken() {
				addReplyBulk(c, listpack.Bytes(s.bytes, p, &scratch))
				s.bytes, p = listpack.Delete(s.bytes, p)
			} else {
				p = listpack.Next(s.bytes, p)
			}
		}
	} else {
		s.bytes = intset.Filter(s.bytes, func(v int64) bool {
			if !taken() {
				return true
			}
			addReplyBulk(c, strconv.AppendInt(scratch[:0], v, 10))
			return false
		})
	}
	c.db.dict.Truncate(r, len(s.bytes))
}

// spopAllBut makes a new set of n members of the set at r, chosen at random, and
// replies with the others. When memory is out it tells the client and returns false.
func spopAllBut(c *client, r dict.Ref, s setType, n int) bool {
	b := newSetBuilder(c.srv, c.db)
	var scratch [20]byte
	var err error
	if s.table != nil {
		for _, entry := range randomEntries(c.srv, s.table.Dict, n) {
			if err == nil {
				_, err = b.add(s.table.Key(entry))
			}
		}
	} else {
		it := setTypeInitIterator(s)
		for size, need := setTypeSize(s), n; need > 0 && err == nil; size-- {
			if m := setTypeNext(&it, &scratch); rand.IntN(size) < need {
				need--
				_, err = b.add(m)
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
	if !b.replace(c, r) {
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
		it := setTypeInitIterator(s)
		for ; count > 0; size-- {
			if m := setTypeNext(&it, &scratch); rand.Int64N(size) < count {
				count--
				addReplyBulk(c, m)
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

func (s setType) missing() bool { return s.bytes == nil && s.table == nil }

// storeResult stores what a …STORE command has found under its first key, whatever
// that was; nothing found deletes it.
func storeResult(c *client, b *setBuilder) {
	size := setTypeSize(b.setType)
	hash := c.hash(c.argv[1])
	r := c.db.dict.FindHash(hash, c.argv[1])
	if size > 0 {
		if b.store(c, hash, c.argv[1], r) {
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
			b := newSetBuilder(c.srv, c.db)
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
		b = newSetBuilder(c.srv, c.db)
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
	b := newSetBuilder(c.srv, c.db)
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
