package engine

import (
	"github.com/redscope/redscope/engine/internal/btree"
	"github.com/redscope/redscope/engine/internal/listpack"
)

const (
	errNotScore = "min or max is not a float"
	errNotLex   = "min or max not valid string range item"
)

// zslParseRange reads the bounds of a range of scores.
//
//go:noinline
func zslParseRange(low, high []byte) (r btree.ScoreRange, ok bool) {
	if r.Min, r.MinEx, ok = parseScoreBound(low); ok {
		r.Max, r.MaxEx, ok = parseScoreBound(high)
	}
	return r, ok
}

// parseScoreBound reads a score, which is not in the range if there is a "("
// before it. It is a C string, and one that is empty is 0.
func parseScoreBound(b []byte) (score float64, ex, ok bool) {
	if ex = len(b) > 0 && b[0] == '('; ex {
		b = b[1:]
	}
	score, n, _ := strtod(b)
	return score, ex, (n == len(b) || b[n] == 0) && score == score
}

// zslParseLexRange reads the bounds of a range of members.
//
//go:noinline
func zslParseLexRange(low, high []byte) (r btree.LexRange, ok bool) {
	if r.Min, ok = parseLexBound(low); ok {
		r.Max, ok = parseLexBound(high)
	}
	return r, ok
}

// parseLexBound reads "-" or "+", which are before and behind all members, or a
// member behind a "[", or a "(" if it is not in the range itself.
func parseLexBound(b []byte) (btree.LexBound, bool) {
	if len(b) == 0 {
		return btree.LexBound{}, false
	}
	switch b[0] {
	case '-':
		return btree.LexBound{Inf: -1, Ex: true}, len(b) == 1 || b[1] == 0
	case '+':
		return btree.LexBound{Inf: 1, Ex: true}, len(b) == 1 || b[1] == 0
	case '[', '(':
		return btree.LexBound{Member: b[1:], Ex: b[0] == '('}, true
	}
	return btree.LexBound{}, false
}

// zsetInScoreRange returns how many members come before the first in the range,
// and how many are in it.
func zsetInScoreRange(v *sortedSet, s *btree.ScoreRange) (rank, n int) {
	if v.z != nil {
		return v.z.tree.InScoreRange(s)
	}
	if s.Empty() {
		return 0, 0
	}
	for p := listpack.First(v.lp); p >= 0; {
		sp := listpack.Next(v.lp, p)
		switch score := zzlGetScore(v.lp, sp); {
		case !s.AtLeastMin(score):
			rank++
		case !s.AtMostMax(score):
			return rank, n
		default:
			n++
		}
		p = listpack.Next(v.lp, sp)
	}
	return rank, n
}

// zsetInLexRange is zsetInScoreRange for members. Where scores differ, it counts
// what is in one piece from the first, or with reverse to the last, in the range.
func zsetInLexRange(v *sortedSet, s *btree.LexRange, reverse bool) (rank, n int) {
	if v.z != nil {
		return v.z.tree.InLexRange(s)
	}
	if s.Empty() {
		return 0, 0
	}
	var i zsetCursor
	if reverse {
		rank = zsetLength(v)
		for i.from(v, rank-1); i.valid() && !s.AtMostMax(i.member()); i.prev() {
			rank--
		}
		for ; i.valid() && s.AtLeastMin(i.member()); i.prev() {
			rank--
			n++
		}
		return rank, n
	}
	for i.from(v, 0); i.valid() && !s.AtLeastMin(i.member()); i.next() {
		rank++
	}
	for ; i.valid() && s.AtMostMax(i.member()); i.next() {
		n++
	}
	return rank, n
}

func zcountCommand(c *client) {
	r, ok := zslParseRange(c.argv[2], c.argv[3])
	if !ok {
		addReplyError(c, errNotScore)
		return
	}
	if v, ok := zsetOrReply(c, c.argv[1], shared.czero); ok {
		_, n := zsetInScoreRange(&v, &r)
		addReplyLongLong(c, int64(n))
	}
}

func zlexcountCommand(c *client) {
	r, ok := zslParseLexRange(c.argv[2], c.argv[3])
	if !ok {
		addReplyError(c, errNotLex)
		return
	}
	if v, ok := zsetOrReply(c, c.argv[1], shared.czero); ok {
		_, n := zsetInLexRange(&v, &r, false)
		addReplyLongLong(c, int64(n))
	}
}

// zrangeType is what the bounds of a range are.
type zrangeType uint8

const (
	zrangeAuto zrangeType = iota // as the options of the command say
	zrangeRank
	zrangeScore
	zrangeLex
)

// zrangeBounds are the bounds of a range of one of the types.
type zrangeBounds struct {
	kind        zrangeType
	first, last int64 // ranks
	score       btree.ScoreRange
	lex         btree.LexRange
}

// parseZrangeBounds reads bounds, or tells the client what is wrong with them.
func parseZrangeBounds(c *client, kind zrangeType, low, high []byte, b *zrangeBounds) (ok bool) {
	b.kind = kind
	switch kind {
	case zrangeRank:
		b.first, b.last, ok = intArguments(c, low, high)
	case zrangeScore:
		if b.score, ok = zslParseRange(low, high); !ok {
			addReplyError(c, errNotScore)
		}
	case zrangeLex:
		if b.lex, ok = zslParseLexRange(low, high); !ok {
			addReplyError(c, errNotLex)
		}
	}
	return ok
}

// in returns how many members come before the first within the bounds, and how
// many are within. With reverse, ranks count from the end.
func (b *zrangeBounds) in(v *sortedSet, reverse bool) (rank, n int) {
	switch b.kind {
	case zrangeScore:
		return zsetInScoreRange(v, &b.score)
	case zrangeLex:
		return zsetInLexRange(v, &b.lex, reverse)
	}
	length := int64(zsetLength(v))
	first, last := b.first, b.last
	if first < 0 {
		first = max(0, first+length)
	}
	if last < 0 {
		last += length
	}
	last = min(last, length-1)
	if first > last {
		return 0, 0
	}
	n = int(last - first + 1)
	if reverse {
		first = length - 1 - last
	}
	return int(first), n
}

// zremrangeGenericCommand is ZREMRANGEBYRANK, BYSCORE and BYLEX.
//
//go:noinline
func zremrangeGenericCommand(c *client, kind zrangeType) {
	var bounds zrangeBounds
	if !parseZrangeBounds(c, kind, c.argv[2], c.argv[3], &bounds) {
		return
	}
	hash, r, ok := lookupKeyWriteOrReply(c, typeZset, shared.czero)
	if !ok {
		return
	}
	v := editZset(c, r)
	rank, n := bounds.in(&v, false)
	if n > 0 {
		zsetDeleteRange(&v, rank, n)
		if !saveZset(c, hash, c.argv[1], r, &v) {
			return
		}
	}
	c.srv.dirty += int64(n)
	addReplyLongLong(c, int64(n))
}

func zremrangebyrankCommand(c *client) { zremrangeGenericCommand(c, zrangeRank) }

func zremrangebyscoreCommand(c *client) { zremrangeGenericCommand(c, zrangeScore) }

func zremrangebylexCommand(c *client) { zremrangeGenericCommand(c, zrangeLex) }

// zrangeDirection is where a range begins.
type zrangeDirection uint8

const (
	directionAuto zrangeDirection = iota // as the options of the command say
	directionForward
	directionReverse
)

// zrangeGenericCommand is ZRANGE and all its kin. args are the arguments from the
// key on. What is found goes to the client, or into the key store if there is one.
//
//go:noinline
func zrangeGenericCommand(c *client, args [][]byte, store []byte, kind zrangeType, direction zrangeDirection) {
	withScores := false
	offset, limit := int64(0), int64(-1)
	for opts := args[3:]; len(opts) > 0; opts = opts[1:] {
		switch opt := opts[0]; {
		case store == nil && equalFoldC(opt, "withscores"):
			withScores = true
		case equalFoldC(opt, "limit") && len(opts) > 2:
			var ok bool
			if offset, limit, ok = intArguments(c, opts[1], opts[2]); !ok {
				return
			}
			opts = opts[2:]
		case direction == directionAuto && equalFoldC(opt, "rev"):
			direction = directionReverse
		case kind == zrangeAuto && equalFoldC(opt, "bylex"):
			kind = zrangeLex
		case kind == zrangeAuto && equalFoldC(opt, "byscore"):
			kind = zrangeScore
		default:
			addReplyErrorObject(c, shared.syntaxerr)
			return
		}
	}
	if kind == zrangeAuto {
		kind = zrangeRank
	}
	if limit != -1 && kind == zrangeRank {
		addReplyError(c, "syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
		return
	}
	if withScores && kind == zrangeLex {
		addReplyError(c, "syntax error, WITHSCORES not supported in combination with BYLEX")
		return
	}
	reverse := direction == directionReverse
	low, high := args[1], args[2]
	if reverse && kind != zrangeRank {
		low, high = high, low
	}
	var bounds zrangeBounds
	if !parseZrangeBounds(c, kind, low, high, &bounds) {
		return
	}
	v, r, ok := lookupZset(c, args[0])
	if !ok {
		return
	}
	rank, n := 0, 0
	if r != 0 {
		rank, n = bounds.in(&v, reverse)
		if kind != zrangeRank {
			rank, n = limitRange(rank, n, reverse, offset, limit)
		}
	}
	if reverse {
		rank += n - 1
	}
	if store == nil {
		addReplyZrange(c, &v, rank, n, reverse, withScores)
		return
	}
	storeZrange(c, store, &v, rank, n, reverse)
}

// limitRange leaves of a range what LIMIT does. A negative offset leaves nothing; a
// negative limit is none.
func limitRange(rank, n int, reverse bool, offset, limit int64) (int, int) {
	if offset < 0 || offset >= int64(n) {
		return 0, 0
	}
	left := n - int(offset)
	if limit >= 0 {
		left = int(min(int64(left), limit))
	}
	if reverse {
		return rank + n - int(offset) - left, left
	}
	return rank + int(offset), left
}

// addReplyZrange replies with n members from rank on, or back to the first.
func addReplyZrange(c *client, v *sortedSet, rank, n int, reverse, withScores bool) {
	if withScores && c.resp == 2 {
		addReplyArrayLen(c, 2*n)
	} else {
		addReplyArrayLen(c, n)
	}
	if n == 0 {
		return
	}
	if v.z != nil {
		addReplyTree(c, v.z.tree, rank, n, reverse, withScores)
		return
	}
	var i zsetCursor
	for i.from(v, rank); ; i.step(reverse) {
		if withScores {
			addReplyMemberAndScore(c, i.member(), i.score(), c.resp > 2)
		} else {
			addReplyBulk(c, i.member())
		}
		if n--; n == 0 {
			return
		}
	}
}

// addReplyTree is addReplyZrange behind the length, for at least one member.
func addReplyTree(c *client, t *btree.Tree, rank, n int, reverse, withScores bool) {
	if !c.prepareClientToWrite() {
		return
	}
	next := t.At(rank)
	var room [16]btree.Pos
	for n > 0 {
		places := room[:min(n, len(room))]
		next = t.Collect(next, reverse, places)
		n -= len(places)
		for _, p := range places {
			if withScores {
				addReplyMemberAndScore(c, t.Member(p), t.Score(p), c.resp > 2)
			} else {
				c.buf = appendBulk(c.buf, t.Member(p))
			}
		}
	}
}

// addReplyMemberAndScore replies with two values, or with one that is a pair.
func addReplyMemberAndScore(c *client, member []byte, score float64, pair bool) {
	if pair {
		addReplyArrayLen(c, 2)
	}
	addReplyBulk(c, member)
	addReplyDouble(c, score)
}

// storeZrange puts n members of v from rank on, or back to the first, under key.
func storeZrange(c *client, key []byte, v *sortedSet, rank, n int, reverse bool) {
	to := newSortedSet(c, int64(n) > c.srv.config.ZsetMaxListpackEntries)
	if n > 0 {
		var i zsetCursor
		i.from(v, rank)
		for left := n; left > 0; left-- {
			if _, _, err := zsetAdd(c, &to, i.member(), i.score(), 0); err != nil {
				if to.z != nil {
					to.z.free()
				}
				replyNoMemory(c, err)
				return
			}
			i.step(reverse)
		}
	}
	if n, ok := zsetStore(c, key, &to); ok {
		addReplyLongLong(c, int64(n))
	}
}

func zrangeCommand(c *client) {
	zrangeGenericCommand(c, c.argv[1:], nil, zrangeAuto, directionAuto)
}

func zrangestoreCommand(c *client) {
	zrangeGenericCommand(c, c.argv[2:], c.argv[1], zrangeAuto, directionAuto)
}

func zrevrangeCommand(c *client) {
	zrangeGenericCommand(c, c.argv[1:], nil, zrangeRank, directionReverse)
}

func zrangebyscoreCommand(c *client) {
	zrangeGenericCommand(c, c.argv[1:], nil, zrangeScore, directionForward)
}

func zrevrangebyscoreCommand(c *client) {
	zrangeGenericCommand(c, c.argv[1:], nil, zrangeScore, directionReverse)
}

func zrangebylexCommand(c *client) {
	zrangeGenericCommand(c, c.argv[1:], nil, zrangeLex, directionForward)
}

func zrevrangebylexCommand(c *client) {
	zrangeGenericCommand(c, c.argv[1:], nil, zrangeLex, directionReverse)
}
