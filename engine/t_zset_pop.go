package engine

import (
	"math"
	"math/rand/v2"

	"github.com/redscope/redscope/engine/internal/dict"
)

// zpop is what ZPOPMIN and its kin want.
type zpop struct {
	max     bool  // the highest scores, from the top down
	count   int64 // -1: one, without COUNT
	emitKey bool  // say which key it was
	nested  bool  // reply with an array of pairs
	nilNone bool  // nothing is null, not an empty array
}

// genericZpopCommand pops from the first of keys that exists, and replies.
//
//go:noinline
func genericZpopCommand(c *client, keys [][]byte, p zpop) {
	for _, key := range keys {
		hash := c.hash(key)
		r := lookupKeyHash(c, c.db, hash, key, lookupWrite)
		if r == 0 {
			continue
		}
		if checkType(c, r, typeZset) {
			return
		}
		if p.count != 0 {
			zpopFrom(c, hash, key, r, p)
			return
		}
		addReply(c, shared.emptyArray)
		return
	}
	if p.nilNone {
		addReplyNullArray(c)
	} else {
		addReply(c, shared.emptyArray)
	}
}

// zpopFrom pops from the sorted set at r, which is key's.
func zpopFrom(c *client, hash uint64, key []byte, r dict.Ref, p zpop) {
	v := editZset(c, r)
	length := zsetLength(&v)
	n := length
	if p.count == -1 {
		n = 1
	} else if p.count < int64(n) {
		n = int(p.count)
	}
	mark := len(c.buf)
	switch {
	case p.nested && p.emitKey:
		addReplyArrayLen(c, 2)
		addReplyBulk(c, key)
		addReplyArrayLen(c, n)
	case p.emitKey:
		addReplyArrayLen(c, 2*n+1)
		addReplyBulk(c, key)
	case p.nested:
		addReplyArrayLen(c, n)
	default:
		addReplyArrayLen(c, 2*n)
	}
	first, at := 0, 0
	if p.max {
		first, at = length-n, length-1
	}
	var i zsetCursor
	i.from(&v, at)
	for range n {
		addReplyMemberAndScore(c, i.member(), i.score(), p.nested)
		i.step(p.max)
	}
	zsetDeleteRange(&v, first, n)
	reply := c.buf
	c.buf = c.buf[:mark] // void if there is no memory
	if !saveZset(c, hash, key, r, &v) {
		return
	}
	c.buf = reply
	c.srv.dirty += int64(n)
}

// zpopMinMaxCommand is ZPOPMIN and ZPOPMAX.
//
//go:noinline
func zpopMinMaxCommand(c *client, max bool) {
	count := int64(-1)
	switch {
	case len(c.argv) > 3:
		addReplyErrorObject(c, shared.syntaxerr)
		return
	case len(c.argv) == 3:
		var ok bool
		if count, ok = intArgumentRange(c, c.argv[2], 0, math.MaxInt64, notPositive); !ok {
			return
		}
	}
	genericZpopCommand(c, c.argv[1:2], zpop{max: max, count: count, nested: c.resp > 2 && count != -1})
}

func zpopminCommand(c *client) { zpopMinMaxCommand(c, false) }

func zpopmaxCommand(c *client) { zpopMinMaxCommand(c, true) }

// blockingGenericZpopCommand pops as genericZpopCommand does, and waits when none of
// the keys exists.
//
//go:noinline
func blockingGenericZpopCommand(c *client, keys [][]byte, timeout []byte, p zpop) {
	until, ok := timeoutArgument(c, timeout)
	if !ok {
		return
	}
	for i, key := range keys {
		if r := lookupKeyWrite(c, key); r != 0 {
			genericZpopCommand(c, keys[i:i+1], p)
			return
		}
	}
	blockForKeys(c, typeZset, keys, until, func(c *client, _ *redisDb, key []byte) bool {
		genericZpopCommand(c, [][]byte{key}, p)
		return true
	}, nil)
}

func bzpopminCommand(c *client) { bzpopMinMax(c, false) }

func bzpopmaxCommand(c *client) { bzpopMinMax(c, true) }

// bzpopMinMax is BZPOPMIN and BZPOPMAX.
//
//go:noinline
func bzpopMinMax(c *client, max bool) {
	last := len(c.argv) - 1
	blockingGenericZpopCommand(c, c.argv[1:last], c.argv[last], zpop{max: max, count: -1, emitKey: true})
}

// zmpopGenericCommand is ZMPOP and BZMPOP, whose arguments begin with the number of
// keys. timeout is nil for ZMPOP.
//
//go:noinline
func zmpopGenericCommand(c *client, args [][]byte, timeout []byte) {
	n, ok := intArgumentRange(c, args[0], 1, math.MaxInt64, "numkeys should be greater than 0")
	if !ok {
		return
	}
	if n >= int64(len(args)-1) {
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	keys, rest := args[1:1+n], args[1+n:]
	p := zpop{count: -1, emitKey: true, nested: true, nilNone: true}
	switch {
	case equalFoldC(rest[0], "min"):
	case equalFoldC(rest[0], "max"):
		p.max = true
	default:
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	for rest = rest[1:]; len(rest) > 0; rest = rest[2:] {
		if p.count != -1 || len(rest) < 2 || !equalFoldC(rest[0], "count") {
			addReplyErrorObject(c, shared.syntaxerr)
			return
		}
		if p.count, ok = intArgumentRange(c, rest[1], 1, math.MaxInt64, "count should be greater than 0"); !ok {
			return
		}
	}
	if p.count == -1 {
		p.count = 1
	}
	if timeout != nil {
		blockingGenericZpopCommand(c, keys, timeout, p)
		return
	}
	genericZpopCommand(c, keys, p)
}

func zmpopCommand(c *client) { zmpopGenericCommand(c, c.argv[1:], nil) }

func bzmpopCommand(c *client) { zmpopGenericCommand(c, c.argv[2:], c.argv[1]) }

func zrandmemberCommand(c *client) {
	if len(c.argv) == 2 {
		if v, ok := zsetOrReply(c, c.argv[1], nullReply(c)); ok {
			var i zsetCursor
			i.from(&v, rand.IntN(zsetLength(&v)))
			addReplyBulk(c, i.member())
		}
		return
	}
	if n, withScores, ok := randomArguments(c, "withscores"); ok {
		zrandmemberWithCountCommand(c, n, withScores)
	}
}

// zrandmemberWithCountCommand replies with n different members, or all when there
// are fewer; with -n ones that may be the same.
//
//go:noinline
func zrandmemberWithCountCommand(c *client, n int64, withScores bool) {
	v, ok := zsetOrReply(c, c.argv[1], shared.emptyArray)
	if !ok {
		return
	}
	length := zsetLength(&v)
	unique := n >= 0
	if n < 0 {
		n = -n
	} else {
		n = min(n, int64(length))
	}
	if n == 0 {
		addReply(c, shared.emptyArray)
		return
	}
	if withScores && c.resp == 2 {
		addReplyArrayLen(c, int(2*n))
	} else {
		addReplyArrayLen(c, int(n))
	}
	var i zsetCursor
	emit := func() {
		if withScores {
			addReplyMemberAndScore(c, i.member(), i.score(), c.resp > 2)
		} else {
			addReplyBulk(c, i.member())
		}
	}
	switch {
	case !unique:
		for ; n > 0 && c.checkLongReply(); n-- {
			i.from(&v, rand.IntN(length))
			emit()
		}
	case n == int64(length):
		// From the last, as Redis does.
		for i.from(&v, length-1); i.valid(); i.prev() {
			emit()
		}
	case v.z == nil || 3*n > int64(length):
		// In order, each of those left with the probability that fills the reply.
		i.from(&v, 0)
		for left := length; n > 0; left-- {
			if rand.IntN(left) < int(n) {
				emit()
				n--
			}
			i.next()
		}
	default:
		// Floyd's algorithm: of the first m ranks, one more was chosen than of the
		// first m-1.
		chosen := make(map[int]struct{}, n)
		for m := length - int(n) + 1; m <= length; m++ {
			rank := rand.IntN(m)
			if _, again := chosen[rank]; again {
				rank = m - 1
			}
			chosen[rank] = struct{}{}
			i.from(&v, rank)
			emit()
		}
	}
}
