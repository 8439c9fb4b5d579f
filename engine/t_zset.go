package engine

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
	"unsafe"

	"github.com/redscope/redscope/engine/internal/btree"
	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/listpack"
	"github.com/redscope/redscope/engine/internal/slab"
)

// A small sorted set is a listpack in which each member is followed by its score,
// in order. A large one is a zset: a dict, which tells the score of a member, and a
// tree of the dict's entries, which tells their order. Users know it by the name of
// Redis's, encodingSkiplist; docs/adr/0007 says why it is none.

// zset is a sorted set of encodingSkiplist.
type zset struct {
	arena *slab.Arena
	dict  *dict.Dict // member → score, see putScore
	tree  *btree.Tree
}

func newZset(arena *slab.Arena) *zset {
	d := dict.New(arena)
	return &zset{arena: arena, dict: d, tree: btree.New(arena, d)}
}

// zsetFrom makes a zset of a dict of scores, whose entries are given in order. On an
// error the dict is as before.
func zsetFrom(arena *slab.Arena, d *dict.Dict, refs []dict.Ref) (*zset, error) {
	tree := btree.New(arena, d)
	for _, r := range refs {
		if !tree.Insert(scoreAt(d, r), r) {
			tree.Free()
			return nil, dict.ErrOutOfMemory
		}
	}
	return &zset{arena: arena, dict: d, tree: tree}, nil
}

func (z *zset) free() {
	z.tree.Free()
	z.dict.Clear()
}

func (z *zset) memory() int64 {
	return int64(unsafe.Sizeof(*z)+unsafe.Sizeof(*z.dict)+unsafe.Sizeof(*z.tree)) + z.dict.Used() + z.tree.Used()
}

// dup returns a copy (zsetDup).
func (z *zset) dup() (heapObject, error) {
	to := newZset(z.arena)
	to.dict.Reserve(z.dict.Len())
	for p := z.tree.First(); p != 0; p = z.tree.Next(p) {
		if err := to.add(z.tree.Member(p), z.tree.Score(p)); err != nil {
			to.free()
			return nil, err
		}
	}
	return to, nil
}

const scoreSize = 8

// putScore returns a score as the dict of a zset holds it.
func putScore(b *[scoreSize]byte, score float64) []byte {
	binary.LittleEndian.PutUint64(b[:], math.Float64bits(score))
	return b[:]
}

// scoreAt returns the score of an entry of a dict whose values are scores.
func scoreAt(d *dict.Dict, r dict.Ref) float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(d.Value(r)))
}

// add adds a member that is not in the set.
func (z *zset) add(member []byte, score float64) error {
	return z.addHash(dict.Hash(member), member, score)
}

// addHash is add for who has the member's hash.
func (z *zset) addHash(hash uint64, member []byte, score float64) error {
	var value [scoreSize]byte
	r, err := z.dict.AddHash(hash, member, putScore(&value, score), 0)
	if err != nil {
		return err
	}
	if !z.tree.Insert(score, r) {
		z.dict.DeleteRef(r)
		return dict.ErrOutOfMemory
	}
	return nil
}

// setScore changes the score of the member at r from old.
func (z *zset) setScore(r dict.Ref, old, score float64) error {
	if !z.tree.Update(old, r, score) {
		return dict.ErrOutOfMemory
	}
	binary.LittleEndian.PutUint64(z.dict.Value(r), math.Float64bits(score))
	return nil
}

// delete deletes the member at r.
func (z *zset) delete(r dict.Ref) {
	z.tree.Delete(scoreAt(z.dict, r), r)
	z.dict.DeleteRef(r)
}

// sortedSet is a sorted set in either encoding: z, or lp when that is nil. To look
// at one, lp is a view of the key's value; to change one, it is a copy in
// Server.scratch, which saveZset puts in the value's place.
type sortedSet struct {
	lp []byte
	z  *zset
}

// zsetAt returns the sorted set at r to look at.
func zsetAt(db *redisDb, r dict.Ref) sortedSet {
	if metaEncoding(db.dict.Meta(r)) == encodingListpack {
		return sortedSet{lp: db.dict.Value(r)}
	}
	return sortedSet{z: db.objectAt(r).(*zset)}
}

// editZset returns the sorted set at r to change.
func editZset(c *client, r dict.Ref) sortedSet {
	v := zsetAt(c.db, r)
	if v.z == nil {
		v.lp = append(c.srv.scratch[:0], v.lp...)
	}
	return v
}

// newSortedSet returns an empty sorted set to change. It is no listpack when it is
// known that it would not stay one.
func newSortedSet(c *client, large bool) sortedSet {
	if large {
		return sortedSet{z: newZset(c.db.arena)}
	}
	return sortedSet{lp: listpack.AppendNew(c.srv.scratch[:0])}
}

// saveZset stores the sorted set that was at r, key's entry, and has been changed;
// r is 0 when the key is new. An empty one deletes the key. On failure, which the
// client is told, a sorted set that was a listpack is as it was before.
func saveZset(c *client, hash uint64, key []byte, r dict.Ref, v *sortedSet) bool {
	if v.z == nil {
		c.srv.keepScratch(v.lp)
	}
	if zsetLength(v) == 0 {
		if r != 0 {
			dbDelete(c.srv, c.db, hash, r)
		} else if v.z != nil {
			v.z.free()
		}
		return true
	}
	ok := true
	switch {
	case r == 0 && v.z == nil:
		_, ok = dbAdd(c, c.db, hash, key, typeZset, encodingListpack, v.lp)
	case r == 0:
		_, ok = dbAddObject(c, c.db, hash, key, typeZset, encodingSkiplist, v.z)
	case v.z == nil:
		_, ok = dbSetBytes(c, c.db, r, encodingListpack, v.lp)
	case metaEncoding(c.db.dict.Meta(r)) == encodingListpack:
		_, ok = dbSetObject(c, c.db, r, encodingSkiplist, v.z)
	}
	return ok
}

// zsetStore puts v under key in place of whatever is there; nothing when v is empty.
// It returns the number of members; false when there is no memory, which the client
// is told. v must not be used afterwards.
func zsetStore(c *client, key []byte, v *sortedSet) (n int, ok bool) {
	n = zsetLength(v)
	hash := c.hash(key)
	r := lookupKeyHash(c, c.db, hash, key, lookupWrite)
	if v.z == nil {
		c.srv.keepScratch(v.lp)
	}
	if n == 0 {
		if v.z != nil {
			v.z.free()
		}
		if r != 0 {
			dbDelete(c.srv, c.db, hash, r)
			keyModified(c)
		}
		return 0, true
	}
	lru := c.srv.loopClock.lru
	if v.z == nil {
		_, ok = setKey(c, c.db, hash, key, r, v.lp, makeMeta(typeZset, encodingListpack, lru), noExpire)
	} else {
		number := c.db.objects.add(v.z)
		if _, ok = setKey(c, c.db, hash, key, r, number[:], makeMeta(typeZset, encodingSkiplist, lru), noExpire); !ok {
			c.db.releaseValue(encodingSkiplist, number[:])
		}
	}
	if ok {
		keyModified(c)
	}
	return n, ok
}

// lookupZset returns the sorted set under key to look at, and its entry, which is
// 0 when there is no such key; false when something else is there, which the client
// is told.
func lookupZset(c *client, key []byte) (v sortedSet, r dict.Ref, ok bool) {
	r = lookupKeyRead(c, key)
	if r == 0 {
		return v, 0, true
	}
	if checkType(c, r, typeZset) {
		return v, 0, false
	}
	return zsetAt(c.db, r), r, true
}

// zsetOrReply is lookupZset where a key that does not exist is answered by reply.
func zsetOrReply(c *client, key, reply []byte) (v sortedSet, ok bool) {
	v, r, ok := lookupZset(c, key)
	if ok && r == 0 {
		addReply(c, reply)
		return v, false
	}
	return v, ok
}

func zsetLength(v *sortedSet) int {
	if v.z == nil {
		return listpack.Len(v.lp) / 2
	}
	return v.z.tree.Len()
}

// The listpack. A position is that of a member; its score is the next element.

// zzlGetScore returns the score at p.
func zzlGetScore(lp []byte, p int) float64 {
	s, n, isInt := listpack.Get(lp, p)
	if isInt {
		return float64(n)
	}
	d, _, _ := strtod(s)
	return d
}

// zzlFind returns the position of a member and its score, or -1.
func zzlFind(lp, member []byte) (p int, score float64) {
	first := listpack.First(lp)
	if first < 0 {
		return -1, 0
	}
	if p = listpack.Find(lp, first, member, 1); p < 0 {
		return -1, 0
	}
	return p, zzlGetScore(lp, listpack.Next(lp, p))
}

// zzlCompare compares the member at p with another.
func zzlCompare(lp []byte, p int, member []byte) int {
	var scratch [20]byte
	return bytes.Compare(listpack.Bytes(lp, p, &scratch), member)
}

// zzlInsert adds a member that is not in the listpack, at its place.
func zzlInsert(lp, member []byte, score float64) []byte {
	for p := listpack.First(lp); p >= 0; {
		sp := listpack.Next(lp, p)
		if s := zzlGetScore(lp, sp); s > score || s == score && zzlCompare(lp, p, member) > 0 {
			lp, p = listpack.Insert(lp, p, member, false)
			return zzlInsertScore(lp, p, score)
		}
		p = listpack.Next(lp, sp)
	}
	return zzlAppend(lp, member, score)
}

// zzlAppend adds a member that belongs at the end.
func zzlAppend(lp, member []byte, score float64) []byte {
	lp = listpack.Append(lp, member)
	if n, ok := doubleInt(score); ok {
		return listpack.AppendInt(lp, n)
	}
	var scratch [32]byte
	return listpack.Append(lp, appendDouble(scratch[:0], score))
}

// zzlInsertScore adds the score of the member at p behind it.
func zzlInsertScore(lp []byte, p int, score float64) []byte {
	var scratch [32]byte
	text := scratch[:0]
	if n, ok := doubleInt(score); ok {
		text = strconv.AppendInt(text, n, 10)
	} else {
		text = appendDouble(text, score)
	}
	lp, _ = listpack.Insert(lp, p, text, true)
	return lp
}

// zzlTooLarge reports whether one more member, of so many bytes, is more than a
// listpack may hold.
func zzlTooLarge(s *Server, lp []byte, n int) bool {
	return int64(listpack.Len(lp)/2+1) > s.config.ZsetMaxListpackEntries || int64(n) > s.config.ZsetMaxListpackValue ||
		!listpack.SafeToAdd(lp, n)
}

// zsetConvert makes a listpack a zset. On an error v is as before.
//
//go:noinline
func zsetConvert(arena *slab.Arena, v *sortedSet) error {
	z := newZset(arena)
	var scratch [20]byte
	for p := listpack.First(v.lp); p >= 0; {
		sp := listpack.Next(v.lp, p)
		if err := z.add(listpack.Bytes(v.lp, p, &scratch), zzlGetScore(v.lp, sp)); err != nil {
			z.free()
			return err
		}
		p = listpack.Next(v.lp, sp)
	}
	v.z = z
	return nil
}

// zsetScore returns the score of a member; false when it is not in the set.
//
//go:noinline
func zsetScore(v *sortedSet, member []byte) (float64, bool) {
	if v.z == nil {
		p, score := zzlFind(v.lp, member)
		return score, p >= 0
	}
	r := v.z.dict.Find(member)
	if r == 0 {
		return 0, false
	}
	return scoreAt(v.z.dict, r), true
}

// zaddFlags are the options of ZADD, and what zsetAdd has done.
type zaddFlags uint16

const (
	zaddIncr zaddFlags = 1 << iota // add to the score
	zaddNX                         // only if the member is not in the set
	zaddXX                         // only if it is
	zaddGT                         // only if the new score is greater
	zaddLT                         // only if it is less
	zaddCH                         // count what was changed too

	zaddNaN     // the sum of the scores is no number, and nothing was done
	zaddNothing // an option forbade it
	zaddAdded
	zaddUpdated
)

// rescore returns the score that a member which has the score old gets, or says
// that it keeps what it has.
func (f zaddFlags) rescore(old, score float64) (float64, zaddFlags) {
	if f&zaddNX != 0 {
		return old, zaddNothing
	}
	if f&zaddIncr != 0 {
		if score += old; score != score {
			return old, zaddNaN
		}
	}
	if f&zaddLT != 0 && score >= old || f&zaddGT != 0 && score <= old {
		return old, zaddNothing
	}
	if score == old {
		return score, 0
	}
	return score, zaddUpdated
}

// zsetAdd adds a member to a set that is to be changed, or gives it another score,
// as the options say. It returns the new score, and what was done. A listpack that
// is too small becomes a zset. On an error nothing has changed.
//
//go:noinline
func zsetAdd(c *client, v *sortedSet, member []byte, score float64, flags zaddFlags) (float64, zaddFlags, error) {
	if v.z == nil {
		if p, old := zzlFind(v.lp, member); p >= 0 {
			score, done := flags.rescore(old, score)
			if done == zaddUpdated {
				v.lp, _ = listpack.DeleteFrom(v.lp, p, 2)
				v.lp = zzlInsert(v.lp, member, score)
			}
			return score, done, nil
		}
		if flags&zaddXX != 0 {
			return 0, zaddNothing, nil
		}
		if !zzlTooLarge(c.srv, v.lp, len(member)) {
			v.lp = zzlInsert(v.lp, member, score)
			return score, zaddAdded, nil
		}
		lp := v.lp
		if err := zsetConvert(c.db.arena, v); err != nil {
			return 0, 0, err
		}
		c.srv.keepScratch(lp)
	}
	z := v.z
	hash := dict.Hash(member)
	if r := z.dict.FindHash(hash, member); r != 0 {
		old := scoreAt(z.dict, r)
		score, done := flags.rescore(old, score)
		if done == zaddUpdated {
			if err := z.setScore(r, old, score); err != nil {
				return 0, 0, err
			}
		}
		return score, done, nil
	}
	if flags&zaddXX != 0 {
		return 0, zaddNothing, nil
	}
	if err := z.addHash(hash, member, score); err != nil {
		return 0, 0, err
	}
	return score, zaddAdded, nil
}

// zsetDel deletes a member from a set that is to be changed, and reports whether it
// was there.
//
//go:noinline
func zsetDel(v *sortedSet, member []byte) bool {
	if v.z == nil {
		p, _ := zzlFind(v.lp, member)
		if p < 0 {
			return false
		}
		v.lp, _ = listpack.DeleteFrom(v.lp, p, 2)
		return true
	}
	r := v.z.dict.Find(member)
	if r != 0 {
		v.z.delete(r)
	}
	return r != 0
}

// zsetDeleteRange deletes n members, before the first of which come rank others,
// from a set that is to be changed.
func zsetDeleteRange(v *sortedSet, rank, n int) {
	if v.z == nil {
		v.lp = listpack.DeleteRange(v.lp, 2*rank, 2*n)
		return
	}
	v.z.tree.DeleteRange(rank, n)
}

// zsetRank returns how many members come before this one, -1 when it is not in the
// set.
//
//go:noinline
func zsetRank(v *sortedSet, member []byte) int {
	if v.z == nil {
		rank := 0
		for p := listpack.First(v.lp); p >= 0; rank++ {
			if listpack.Compare(v.lp, p, member) {
				return rank
			}
			p = listpack.Next(v.lp, listpack.Next(v.lp, p))
		}
		return -1
	}
	r := v.z.dict.Find(member)
	if r == 0 {
		return -1
	}
	return v.z.tree.Rank(scoreAt(v.z.dict, r), r)
}

// zsetCursor walks over a sorted set, in either direction. The set must not change
// meanwhile.
type zsetCursor struct {
	set     sortedSet
	pos     btree.Pos
	p       int // in the listpack; below 0 at the end
	scratch [20]byte
}

// from puts the cursor on the member that rank others come before.
func (i *zsetCursor) from(v *sortedSet, rank int) {
	i.set = *v
	if v.z == nil {
		i.p = listpack.Seek(v.lp, 2*rank)
	} else {
		i.pos = v.z.tree.At(rank)
	}
}

func (i *zsetCursor) valid() bool {
	if i.set.z == nil {
		return i.p >= 0
	}
	return i.pos != 0
}

// member returns a view that is valid until the cursor goes on, and no longer than
// until the next write to the key space.
func (i *zsetCursor) member() []byte {
	if i.set.z == nil {
		return listpack.Bytes(i.set.lp, i.p, &i.scratch)
	}
	return i.set.z.tree.Member(i.pos)
}

func (i *zsetCursor) score() float64 {
	if i.set.z == nil {
		return zzlGetScore(i.set.lp, listpack.Next(i.set.lp, i.p))
	}
	return i.set.z.tree.Score(i.pos)
}

func (i *zsetCursor) next() {
	if i.set.z == nil {
		i.p = listpack.Next(i.set.lp, listpack.Next(i.set.lp, i.p))
	} else {
		i.pos = i.set.z.tree.Next(i.pos)
	}
}

func (i *zsetCursor) prev() {
	if i.set.z != nil {
		i.pos = i.set.z.tree.Prev(i.pos)
	} else if i.p = listpack.Prev(i.set.lp, i.p); i.p >= 0 {
		i.p = listpack.Prev(i.set.lp, i.p)
	}
}

func (i *zsetCursor) step(reverse bool) {
	if reverse {
		i.prev()
	} else {
		i.next()
	}
}

// The commands on single members.

const errNaN = "resulting score is not a number (NaN)"

// zaddGenericCommand is ZADD, and with zaddIncr ZINCRBY.
//
//go:noinline
func zaddGenericCommand(c *client, flags zaddFlags) {
	pairs := c.argv[2:]
options:
	for ; len(pairs) > 0; pairs = pairs[1:] {
		switch opt := pairs[0]; {
		case equalFoldC(opt, "nx"):
			flags |= zaddNX
		case equalFoldC(opt, "xx"):
			flags |= zaddXX
		case equalFoldC(opt, "ch"):
			flags |= zaddCH
		case equalFoldC(opt, "incr"):
			flags |= zaddIncr
		case equalFoldC(opt, "gt"):
			flags |= zaddGT
		case equalFoldC(opt, "lt"):
			flags |= zaddLT
		default:
			break options
		}
	}
	switch {
	case len(pairs)%2 != 0 || len(pairs) == 0:
		addReplyErrorObject(c, shared.syntaxerr)
		return
	case flags&zaddNX != 0 && flags&zaddXX != 0:
		addReplyError(c, "XX and NX options at the same time are not compatible")
		return
	case flags&zaddGT != 0 && flags&(zaddNX|zaddLT) != 0, flags&zaddLT != 0 && flags&zaddNX != 0:
		addReplyError(c, "GT, LT, and/or NX options at the same time are not compatible")
		return
	case flags&zaddIncr != 0 && len(pairs) > 2:
		addReplyError(c, "INCR option supports a single increment-element pair")
		return
	}
	// All scores are checked before any is used.
	scores := c.srv.scores[:0]
	for i := 0; i < len(pairs); i += 2 {
		score, ok := doubleArgument(c, pairs[i], "")
		if !ok {
			return
		}
		scores = append(scores, score)
	}
	c.srv.keepScores(scores)
	zaddScores(c, flags, scores, pairs[1:], 2)
}

// keepScores keeps what a buffer for scores has grown to.
func (s *Server) keepScores(scores []float64) {
	if cap(scores) <= keptArgs {
		s.scores = scores
	}
}

// zaddScores gives every step-th of members one of scores, as the options say, and
// replies.
func zaddScores(c *client, flags zaddFlags, scores []float64, members [][]byte, step int) {
	s, key := c.srv, c.argv[1]
	hash := c.hash(key)
	r := lookupKeyHash(c, c.db, hash, key, lookupWrite)
	var v sortedSet
	switch {
	case r == 0 && flags&zaddXX != 0:
		zaddReply(c, flags, zaddNothing, 0, 0)
		return
	case r == 0:
		large := s.config.ZsetMaxListpackEntries == 0 || s.config.ZsetMaxListpackValue < int64(len(members[0]))
		v = newSortedSet(c, large)
	case checkType(c, r, typeZset):
		return
	default:
		v = editZset(c, r)
	}
	if v.z != nil && len(scores) > 1 && !v.z.hasRoom(members, step) {
		if r == 0 {
			v.z.free()
		}
		addReplyErrorObject(c, shared.oomerr)
		return
	}
	count, changes := int64(0), int64(0)
	var score float64
	var done zaddFlags
	for i, by := range scores {
		var err error
		if score, done, err = zsetAdd(c, &v, members[i*step], by, flags); err != nil {
			// Of a set that was no zset before, nothing has been stored yet.
			if v.z != nil && (r == 0 || metaEncoding(c.db.dict.Meta(r)) == encodingListpack) {
				v.z.free()
			}
			replyNoMemory(c, err)
			return
		}
		if done&zaddNaN != 0 {
			addReplyError(c, errNaN)
			return
		}
		if done&(zaddAdded|zaddUpdated) != 0 {
			changes++
			if done&zaddAdded != 0 || flags&zaddCH != 0 {
				count++
			}
		}
	}
	if changes > 0 && !saveZset(c, hash, key, r, &v) {
		return
	}
	s.dirty += changes
	zaddReply(c, flags, done, score, count)
}

// zaddReply answers ZADD, of whose last pair it is told the outcome.
func zaddReply(c *client, flags, done zaddFlags, score float64, count int64) {
	switch {
	case flags&zaddIncr == 0:
		addReplyLongLong(c, count)
	case done&zaddNothing != 0:
		addReplyNull(c)
	default:
		addReplyDouble(c, score)
	}
}

// hasRoom reports whether every step-th of members surely finds room.
func (z *zset) hasRoom(members [][]byte, step int) bool {
	const perMember = scoreSize + 64 // a node, of which few have more than two levels
	n, size := 0, int64(0)
	for i := 0; i < len(members); i += step {
		size += int64(len(members[i])) + perMember
		n++
	}
	return z.dict.HasRoom(n, size)
}

func zaddCommand(c *client) { zaddGenericCommand(c, 0) }

func zincrbyCommand(c *client) { zaddGenericCommand(c, zaddIncr) }

func zremCommand(c *client) {
	hash, r, ok := lookupKeyWriteOrReply(c, typeZset, shared.czero)
	if !ok {
		return
	}
	v := editZset(c, r)
	deleted := int64(0)
	for _, member := range c.argv[2:] {
		if zsetDel(&v, member) {
			if deleted++; zsetLength(&v) == 0 {
				break
			}
		}
	}
	if deleted > 0 && !saveZset(c, hash, c.argv[1], r, &v) {
		return
	}
	c.srv.dirty += deleted
	addReplyLongLong(c, deleted)
}

func zcardCommand(c *client) {
	if v, ok := zsetOrReply(c, c.argv[1], shared.czero); ok {
		addReplyLongLong(c, int64(zsetLength(&v)))
	}
}

func zscoreCommand(c *client) {
	v, ok := zsetOrReply(c, c.argv[1], nullReply(c))
	if !ok {
		return
	}
	if score, ok := zsetScore(&v, c.argv[2]); ok {
		addReplyDouble(c, score)
	} else {
		addReplyNull(c)
	}
}

func zmscoreCommand(c *client) {
	v, r, ok := lookupZset(c, c.argv[1])
	if !ok {
		return
	}
	members := c.argv[2:]
	addReplyArrayLen(c, len(members))
	for _, member := range members {
		var score float64
		found := false
		if r != 0 {
			score, found = zsetScore(&v, member)
		}
		if found {
			addReplyDouble(c, score)
		} else {
			addReplyNull(c)
		}
	}
}

// zrankGenericCommand is ZRANK and ZREVRANK.
//
//go:noinline
func zrankGenericCommand(c *client, reverse bool) {
	v, ok := zsetOrReply(c, c.argv[1], nullReply(c))
	if !ok {
		return
	}
	rank := zsetRank(&v, c.argv[2])
	switch {
	case rank < 0:
		addReplyNull(c)
	case reverse:
		addReplyLongLong(c, int64(zsetLength(&v)-1-rank))
	default:
		addReplyLongLong(c, int64(rank))
	}
}

func zrankCommand(c *client) { zrankGenericCommand(c, false) }

func zrevrankCommand(c *client) { zrankGenericCommand(c, true) }

func zscanCommand(c *client) {
	cursor, ok := parseScanCursorOrReply(c, c.argv[2])
	if !ok {
		return
	}
	v, ok := zsetOrReply(c, c.argv[1], shared.emptyScan)
	if !ok {
		return
	}
	source := scanSource{lp: v.lp, value: func(stored []byte, scratch *[64]byte) []byte {
		return appendDouble(scratch[:0], math.Float64frombits(binary.LittleEndian.Uint64(stored)))
	}}
	if v.z != nil {
		source.dict = v.z.dict
	}
	scanGenericCommand(c, c.argv[3:], cursor, &source)
}
