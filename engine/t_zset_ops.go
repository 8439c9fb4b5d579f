package engine

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/listpack"
)

// setOperation is what is done to several sets.
type setOperation uint8

const (
	setUnion setOperation = iota
	setDiff
	setInter
)

// zaggregate is what becomes of the scores that a member has in several sets.
type zaggregate uint8

const (
	aggregateSum zaggregate = iota
	aggregateMin
	aggregateMax
)

// of aggregates two scores (zunionInterAggregate).
func (a zaggregate) of(x, y float64) float64 {
	switch a {
	case aggregateMin:
		if y < x {
			return y
		}
		return x
	case aggregateMax:
		if y > x {
			return y
		}
		return x
	}
	if x += y; x != x {
		return 0 // inf - inf
	}
	return x
}

// zsetOpSrc is a source of ZUNION and its kin: a sorted set, a set, whose members
// all have the score 1, or nothing.
type zsetOpSrc struct {
	entry  dict.Ref // 0: no such key
	zset   sortedSet
	set    setType
	isZset bool
	weight float64
	length int
}

// weighted returns a score that is in this source times the source's weight.
func (s *zsetOpSrc) weighted(score float64) float64 {
	if score *= s.weight; score != score {
		return 0 // inf * 0
	}
	return score
}

// find returns the score of a member; false when it is not in the source (zuiFind).
func (s *zsetOpSrc) find(member []byte) (float64, bool) {
	switch {
	case s.entry == 0:
		return 0, false
	case s.isZset:
		return zsetScore(&s.zset, member)
	}
	return 1, setTypeIsMember(s.set, member)
}

// each calls fn for each member until it returns false.
func (s *zsetOpSrc) each(fn func(member []byte, score float64) bool) {
	switch {
	case s.entry == 0:
	case s.isZset:
		var i zsetCursor
		for i.from(&s.zset, 0); i.valid(); i.next() {
			if !fn(i.member(), i.score()) {
				return
			}
		}
	default:
		var scratch [20]byte
		it := setTypeInitIterator(s.set)
		for m := setTypeNext(&it, &scratch); m != nil && fn(m, 1); m = setTypeNext(&it, &scratch) {
		}
	}
}

// zsetOpResult collects members and their scores.
type zsetOpResult struct {
	dict    *dict.Dict // member → score
	longest int        // bytes of a member
	bytes   int        // of all members
	err     error
}

func (r *zsetOpResult) add(member []byte, score float64) bool {
	var value [scoreSize]byte
	if _, r.err = r.dict.Add(member, putScore(&value, score), 0); r.err != nil {
		return false
	}
	r.longest = max(r.longest, len(member))
	r.bytes += len(member)
	return true
}

// sorted returns the entries in order of score and member.
func (r *zsetOpResult) sorted() []dict.Ref {
	refs := make([]dict.Ref, 0, r.dict.Len())
	it := r.dict.UnsafeIterator()
	for it.Next() {
		refs = append(refs, it.Ref())
	}
	it.Release()
	d := r.dict
	slices.SortFunc(refs, func(a, b dict.Ref) int {
		if x, y := scoreAt(d, a), scoreAt(d, b); x != y {
			return cmp.Compare(x, y)
		}
		return bytes.Compare(d.Key(a), d.Key(b))
	})
	return refs
}

// zsetOptions are the options of ZUNION and its kin.
type zsetOptions struct {
	aggregate  zaggregate
	withScores bool
	limit      int64 // of ZINTERCARD; 0 is none
}

// zunionInterDiffGenericCommand is ZUNION, ZINTER, ZDIFF, with store their STORE
// forms, and with cardinality ZINTERCARD. args begin with the number of keys.
//
//go:noinline
func zunionInterDiffGenericCommand(c *client, store []byte, args [][]byte, op setOperation, cardinality bool) {
	n, ok := intArgument(c, args[0])
	if !ok {
		return
	}
	if n < 1 {
		addReplyErrorFormat(c, "at least 1 input key is needed for '%s' command", c.cmd.fullName)
		return
	}
	if n > int64(len(args)-1) {
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	src := make([]zsetOpSrc, n)
	for i, key := range args[1 : 1+n] {
		if !src[i].open(c, key) {
			return
		}
	}
	var opts zsetOptions
	if !opts.parse(c, args[1+n:], src, op, store != nil, cardinality) {
		return
	}
	if op != setDiff {
		slices.SortStableFunc(src, func(a, b zsetOpSrc) int { return cmp.Compare(a.length, b.length) })
	}
	if cardinality {
		count := int64(0)
		zinter(src, opts.aggregate, func([]byte, float64) bool {
			count++
			return count != opts.limit
		})
		addReplyLongLong(c, count)
		return
	}
	result := zsetOpResult{dict: dict.New(c.db.arena)}
	switch op {
	case setInter:
		zinter(src, opts.aggregate, result.add)
	case setUnion:
		result.union(src, opts.aggregate)
	case setDiff:
		zdiff(src, result.add)
	}
	if result.err != nil {
		result.dict.Clear()
		replyNoMemory(c, result.err)
		return
	}
	if store != nil {
		result.store(c, store)
		return
	}
	d := result.dict
	if opts.withScores && c.resp == 2 {
		addReplyArrayLen(c, 2*d.Len())
	} else {
		addReplyArrayLen(c, d.Len())
	}
	for _, r := range result.sorted() {
		if opts.withScores {
			addReplyMemberAndScore(c, d.Key(r), scoreAt(d, r), c.resp > 2)
		} else {
			addReplyBulk(c, d.Key(r))
		}
	}
	d.Clear()
}

// open looks up a source, or tells the client that it is of another type.
func (s *zsetOpSrc) open(c *client, key []byte) bool {
	s.weight = 1
	s.entry = lookupKeyRead(c, key)
	if s.entry == 0 {
		return true
	}
	switch metaType(c.db.dict.Meta(s.entry)) {
	case typeZset:
		s.isZset, s.zset = true, zsetAt(c.db, s.entry)
		s.length = zsetLength(&s.zset)
	case typeSet:
		s.set = setTypeAt(c.db, s.entry)
		s.length = setTypeSize(s.set)
	default:
		addReplyErrorObject(c, shared.wrongtypeerr)
		return false
	}
	return true
}

// parse reads the options, or tells the client what is wrong with them.
func (o *zsetOptions) parse(c *client, args [][]byte, src []zsetOpSrc, op setOperation, store, cardinality bool) bool {
	for len(args) > 0 {
		switch opt := args[0]; {
		case op != setDiff && !cardinality && len(args) > len(src) && equalFoldC(opt, "weights"):
			for i := range src {
				var ok bool
				if src[i].weight, ok = doubleArgument(c, args[1+i], "weight value is not a float"); !ok {
					return false
				}
			}
			args = args[1+len(src):]
		case op != setDiff && !cardinality && len(args) >= 2 && equalFoldC(opt, "aggregate"):
			switch how := args[1]; {
			case equalFoldC(how, "sum"):
				o.aggregate = aggregateSum
			case equalFoldC(how, "min"):
				o.aggregate = aggregateMin
			case equalFoldC(how, "max"):
				o.aggregate = aggregateMax
			default:
				addReplyErrorObject(c, shared.syntaxerr)
				return false
			}
			args = args[2:]
		case !store && !cardinality && equalFoldC(opt, "withscores"):
			o.withScores = true
			args = args[1:]
		case cardinality && len(args) >= 2 && equalFoldC(opt, "limit"):
			var ok bool
			if o.limit, ok = intArgumentRange(c, args[1], 0, math.MaxInt64, "LIMIT can't be negative"); !ok {
				return false
			}
			args = args[2:]
		default:
			addReplyErrorObject(c, shared.syntaxerr)
			return false
		}
	}
	return true
}

// zinter calls fn for each member that is in all sources, the first of which is the
// smallest, until it returns false.
func zinter(src []zsetOpSrc, aggregate zaggregate, fn func(member []byte, score float64) bool) {
	first := &src[0]
	first.each(func(member []byte, own float64) bool {
		score := first.weighted(own)
		for i := range src[1:] {
			s := &src[1+i]
			other, found := own, true
			if s.entry != first.entry {
				other, found = s.find(member)
			}
			if !found {
				return true
			}
			// Not s.weighted: Redis lets inf * 0 be NaN until it is aggregated.
			score = aggregate.of(score, other*s.weight)
		}
		return fn(member, score)
	})
}

// union adds the members that are in any source.
func (r *zsetOpResult) union(src []zsetOpSrc, aggregate zaggregate) {
	for i := range src {
		s := &src[i]
		s.each(func(member []byte, score float64) bool {
			score = s.weighted(score)
			at := r.dict.Find(member)
			if at == 0 {
				return r.add(member, score)
			}
			score = aggregate.of(scoreAt(r.dict, at), score)
			binary.LittleEndian.PutUint64(r.dict.Value(at), math.Float64bits(score))
			return true
		})
		if r.err != nil {
			return
		}
	}
}

// zdiff calls fn for each member of the first source that is in no other, until it
// returns false. The larger sources are asked first, as they are likelier to have it.
func zdiff(src []zsetOpSrc, fn func(member []byte, score float64) bool) {
	others := src[1:]
	for i := range others {
		if others[i].entry == src[0].entry {
			return
		}
	}
	slices.SortStableFunc(others, func(a, b zsetOpSrc) int { return cmp.Compare(b.length, a.length) })
	src[0].each(func(member []byte, score float64) bool {
		for i := range others {
			if _, found := others[i].find(member); found {
				return true
			}
		}
		return fn(member, score)
	})
}

// store puts the result under key, and replies with the number of members. It
// returns that, and false when there is no memory.
func (r *zsetOpResult) store(c *client, key []byte) (n int, ok bool) {
	v, err := r.sortedSet(c)
	if err != nil {
		r.dict.Clear()
		replyNoMemory(c, err)
		return 0, false
	}
	if n, ok = zsetStore(c, key, &v); ok {
		addReplyLongLong(c, int64(n))
	}
	return n, ok
}

// sortedSet makes the result a sorted set: a listpack when it is small
// (zsetConvertToListpackIfNeeded), else a zset with the result's own dict.
func (r *zsetOpResult) sortedSet(c *client) (v sortedSet, err error) {
	refs, d, s := r.sorted(), r.dict, c.srv
	if int64(len(refs)) <= s.config.ZsetMaxListpackEntries && int64(r.longest) <= s.config.ZsetMaxListpackValue && listpack.SafeToAdd(nil, r.bytes) {
		v = newSortedSet(c, false)
		for _, ref := range refs {
			v.lp = zzlAppend(v.lp, d.Key(ref), scoreAt(d, ref))
		}
		d.Clear()
		return v, nil
	}
	v.z, err = zsetFrom(c.db.arena, d, refs)
	return v, err
}

func zunionstoreCommand(c *client) {
	zunionInterDiffGenericCommand(c, c.argv[1], c.argv[2:], setUnion, false)
}

func zinterstoreCommand(c *client) {
	zunionInterDiffGenericCommand(c, c.argv[1], c.argv[2:], setInter, false)
}

func zdiffstoreCommand(c *client) {
	zunionInterDiffGenericCommand(c, c.argv[1], c.argv[2:], setDiff, false)
}

func zunionCommand(c *client) {
	zunionInterDiffGenericCommand(c, nil, c.argv[1:], setUnion, false)
}

func zinterCommand(c *client) {
	zunionInterDiffGenericCommand(c, nil, c.argv[1:], setInter, false)
}

func zdiffCommand(c *client) { zunionInterDiffGenericCommand(c, nil, c.argv[1:], setDiff, false) }

func zintercardCommand(c *client) {
	zunionInterDiffGenericCommand(c, nil, c.argv[1:], setInter, true)
}
