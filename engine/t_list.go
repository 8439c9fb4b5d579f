package engine

import (
	"bytes"
	"math"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/quicklist"
)

// The ends of a list, as quicklist takes them.
const (
	listHead = true
	listTail = false
)

// listAt returns the list at r, a view that is valid while the entry stays where it
// is.
func listAt(db *redisDb, r dict.Ref) quicklist.List { return db.lists.At(db.dict.Value(r)) }

// createList makes header that of an empty list as the configuration has it.
func createList(s *Server, header *[quicklist.HeaderSize]byte) quicklist.List {
	return s.lists.New(header[:], s.config.ListMaxListpackSize, s.config.ListCompressDepth)
}

// addList adds a key whose value is the list with this header. On failure, which it
// has told the client, the list is freed.
func addList(c *client, db *redisDb, hash uint64, key []byte, header *[quicklist.HeaderSize]byte) bool {
	_, ok := dbAdd(c, db, hash, key, typeList, encodingQuicklist, header[:])
	if !ok {
		db.lists.At(header[:]).Free()
	}
	return ok
}

// listTypeDup copies a list, and returns the header of the copy, in scratch.
//
//go:noinline
func listTypeDup(db *redisDb, header []byte, scratch *[ownsMaxSize]byte) ([]byte, error) {
	to := db.lists.New(scratch[:], 0, 0)
	if !db.lists.At(header).CopyTo(to) {
		return nil, dict.ErrOutOfMemory
	}
	return scratch[:quicklist.HeaderSize], nil
}

// addReplyElement replies with an element as quicklist returns it.
func addReplyElement(c *client, v []byte, n int64, isInt bool) {
	if isInt {
		addReplyBulkLongLong(c, n)
		return
	}
	addReplyBulk(c, v)
}

// getListPositionFromObjectOrReply reads LEFT or RIGHT.
//
//go:noinline
func getListPositionFromObjectOrReply(c *client, arg []byte) (head, ok bool) {
	switch {
	case equalFoldC(arg, "left"):
		return listHead, true
	case equalFoldC(arg, "right"):
		return listTail, true
	}
	addReplyErrorObject(c, shared.syntaxerr)
	return false, false
}

// pushGenericCommand is LPUSH and RPUSH, and with xx LPUSHX and RPUSHX: all elements
// are added or none is.
//
//go:noinline
func pushGenericCommand(c *client, head, xx bool) {
	key, s := c.argv[1], c.srv
	hash := c.hash(key)
	r := lookupKeyHash(c, c.db, hash, key, lookupWrite)
	var header [quicklist.HeaderSize]byte
	var l quicklist.List
	switch {
	case r != 0:
		if checkType(c, r, typeList) {
			return
		}
		l = listAt(c.db, r)
	case xx:
		addReply(c, shared.czero)
		return
	default:
		l = createList(s, &header)
	}
	values := c.argv[2:]
	for i, v := range values {
		if !l.Push(v, head) {
			for range i {
				l.Drop(head)
			}
			replyNoMemory(c, dict.ErrOutOfMemory)
			return
		}
	}
	n := l.Len()
	if r == 0 && !addList(c, c.db, hash, key, &header) {
		return
	}
	keyModified(c)
	s.dirty += int64(len(values) - 1)
	addReplyLongLong(c, n)
}

func lpushCommand(c *client) { pushGenericCommand(c, listHead, false) }

func rpushCommand(c *client) { pushGenericCommand(c, listTail, false) }

func lpushxCommand(c *client) { pushGenericCommand(c, listHead, true) }

func rpushxCommand(c *client) { pushGenericCommand(c, listTail, true) }

func linsertCommand(c *client) {
	after := equalFoldC(c.argv[2], "after")
	if !after && !equalFoldC(c.argv[2], "before") {
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	_, r, ok := lookupKeyWriteOrReply(c, typeList, shared.czero)
	if !ok {
		return
	}
	l, pivot := listAt(c.db, r), c.argv[3]
	it := l.From(0, false)
	for it.Valid() && !it.Equal(pivot) {
		it.Next()
	}
	if !it.Valid() {
		addReplyLongLong(c, -1)
		return
	}
	if !l.Insert(&it, c.argv[4], after) {
		replyNoMemory(c, dict.ErrOutOfMemory)
		return
	}
	keyModified(c)
	addReplyLongLong(c, l.Len())
}

func llenCommand(c *client) {
	r := lookupKeyReadOrReply(c, c.argv[1], shared.czero)
	if r == 0 || checkType(c, r, typeList) {
		return
	}
	addReplyLongLong(c, listAt(c.db, r).Len())
}

// listIndex makes an index that may count from the end, -1 being the last element,
// one from the beginning, which may be out of range.
func listIndex(l quicklist.List, index int64) int64 {
	if index < 0 {
		return index + l.Len()
	}
	return index
}

func lindexCommand(c *client) {
	r := lookupKeyReadOrReply(c, c.argv[1], nullReply(c))
	if r == 0 || checkType(c, r, typeList) {
		return
	}
	index, ok := intArgument(c, c.argv[2])
	if !ok {
		return
	}
	l := listAt(c.db, r)
	it := l.From(listIndex(l, index), false)
	if !it.Valid() {
		addReplyNull(c)
		return
	}
	v, n, isInt := it.Get()
	addReplyElement(c, v, n, isInt)
}

func lsetCommand(c *client) {
	_, r, ok := lookupKeyWriteOrReply(c, typeList, shared.nokeyerr)
	if !ok {
		return
	}
	index, ok := intArgument(c, c.argv[2])
	if !ok {
		return
	}
	l := listAt(c.db, r)
	it := l.From(listIndex(l, index), false)
	if !it.Valid() {
		addReplyErrorObject(c, shared.outofrangeerr)
		return
	}
	if !l.Replace(&it, c.argv[3]) {
		replyNoMemory(c, dict.ErrOutOfMemory)
		return
	}
	keyModified(c)
	addReply(c, shared.ok)
}

// listElementsRemoved keeps the accounts of n elements that were taken from the list
// at r: one that is empty is deleted.
//
//go:noinline
func listElementsRemoved(c *client, db *redisDb, hash uint64, r dict.Ref, l quicklist.List, n int64) {
	if l.Len() == 0 {
		dbDelete(c.srv, db, hash, r)
	}
	keyModified(c)
	c.srv.dirty += n - 1
}

// addListRangeReply replies with the elements from start to end, both of which may
// count from the end of the list. With reverse the last comes first.
//
//go:noinline
func addListRangeReply(c *client, l quicklist.List, start, end int64, reverse bool) {
	size := l.Len()
	start, end = max(0, listIndex(l, start)), min(listIndex(l, end), size-1)
	if start > end {
		addReply(c, shared.emptyArray)
		return
	}
	n := end - start + 1
	addReplyArrayLen(c, int(n))
	if !c.prepareClientToWrite() {
		return
	}
	from := start
	if reverse {
		from = end
	}
	buf := c.buf
	for it := l.From(from, reverse); n > 0; n-- {
		if v, i, isInt := it.Get(); isInt {
			buf = appendBulkInt(buf, i)
		} else {
			buf = appendBulk(buf, v)
		}
		it.Next()
	}
	c.buf = buf
}

// popElement replies with the first or the last element of a list that has one and
// deletes it. When there is no memory to do that, it returns false.
func popElement(c *client, l quicklist.List, head bool) bool {
	v, n, isInt := l.End(head)
	addReplyElement(c, v, n, isInt)
	return l.Drop(head)
}

// popRange is popElement for n elements, which it replies with as an array.
func popRange(c *client, l quicklist.List, head bool, n int64) bool {
	first := int64(0)
	if !head {
		first = l.Len() - n
	}
	addListRangeReply(c, l, first, first+n-1, !head)
	return l.DeleteRange(first, n)
}

// replyNoMemoryInstead takes back what was replied since the reply was before bytes
// long, and tells the client that memory is out.
func replyNoMemoryInstead(c *client, before int) {
	c.buf = c.buf[:before]
	replyNoMemory(c, dict.ErrOutOfMemory)
}

const notPositive = "value is out of range, must be positive"

// popGenericCommand is LPOP and RPOP.
//
//go:noinline
func popGenericCommand(c *client, head bool) {
	if len(c.argv) > 3 {
		addReplyErrorArity(c)
		return
	}
	count, counted := int64(1), len(c.argv) == 3
	if counted {
		var ok bool
		if count, ok = intArgumentRange(c, c.argv[2], 0, math.MaxInt64, notPositive); !ok {
			return
		}
	}
	none := nullReply(c)
	if counted && c.resp == 2 {
		none = shared.nullArray
	}
	hash, r, ok := lookupKeyWriteOrReply(c, typeList, none)
	if !ok {
		return
	}
	l := listAt(c.db, r)
	before := len(c.buf)
	switch {
	case !counted:
		ok = popElement(c, l, head)
	case count == 0:
		addReply(c, shared.emptyArray)
		return
	default:
		count = min(count, l.Len())
		ok = popRange(c, l, head, count)
	}
	if !ok {
		replyNoMemoryInstead(c, before)
		return
	}
	listElementsRemoved(c, c.db, hash, r, l, count)
}

func lpopCommand(c *client) { popGenericCommand(c, listHead) }

func rpopCommand(c *client) { popGenericCommand(c, listTail) }

func lrangeCommand(c *client) {
	start, end, ok := intArguments(c, c.argv[2], c.argv[3])
	if !ok {
		return
	}
	r := lookupKeyReadOrReply(c, c.argv[1], shared.emptyArray)
	if r == 0 || checkType(c, r, typeList) {
		return
	}
	addListRangeReply(c, listAt(c.db, r), start, end, false)
}

func ltrimCommand(c *client) {
	start, end, ok := intArguments(c, c.argv[2], c.argv[3])
	if !ok {
		return
	}
	hash, r, ok := lookupKeyWriteOrReply(c, typeList, shared.ok)
	if !ok {
		return
	}
	l := listAt(c.db, r)
	size := l.Len()
	start, end = max(0, listIndex(l, start)), min(listIndex(l, end), size-1)
	if start > end {
		start, end = size, size-1 // keep none
	}
	// The tail first, whose place does not depend on the head's length.
	if !l.DeleteRange(end+1, size-1-end) || !l.DeleteRange(0, start) {
		replyNoMemory(c, dict.ErrOutOfMemory)
		return
	}
	listElementsRemoved(c, c.db, hash, r, l, start+size-1-end)
	addReply(c, shared.ok)
}

func lposCommand(c *client) {
	rank, count, most := int64(1), int64(-1), int64(0)
	for args := c.argv[3:]; len(args) > 0; args = args[2:] {
		ok := false
		switch opt := args[0]; {
		case len(args) < 2:
		case equalFoldC(opt, "rank"):
			if rank, ok = intArgument(c, args[1]); !ok {
				return
			}
			if rank == 0 {
				addReplyError(c, "RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list")
				return
			}
		case equalFoldC(opt, "count"):
			if count, ok = intArgumentRange(c, args[1], 0, math.MaxInt64, "COUNT can't be negative"); !ok {
				return
			}
		case equalFoldC(opt, "maxlen"):
			if most, ok = intArgumentRange(c, args[1], 0, math.MaxInt64, "MAXLEN can't be negative"); !ok {
				return
			}
		}
		if !ok {
			addReplyErrorObject(c, shared.syntaxerr)
			return
		}
	}
	counted := count >= 0
	r := lookupKeyRead(c, c.argv[1])
	if r == 0 {
		if counted {
			addReply(c, shared.emptyArray)
		} else {
			addReplyNull(c)
		}
		return
	}
	if checkType(c, r, typeList) {
		return
	}
	l, element := listAt(c.db, r), c.argv[2]
	size := l.Len()
	from, backwards := int64(0), rank < 0
	if backwards {
		from, rank = size-1, -rank // the least stays negative, as in C
	}
	if most == 0 || most > size {
		most = size
	}
	head := 0
	if counted {
		head = addReplyDeferredLen(c)
	}
	found, matches := 0, int64(0)
	it := l.From(from, backwards)
	for index := int64(0); index < most; index++ {
		if it.Equal(element) {
			if matches++; matches >= rank {
				at := index
				if backwards {
					at = size - 1 - index
				}
				addReplyLongLong(c, at)
				found++
				if !counted || count != 0 && matches-rank+1 >= count { // the least rank overflows
					break
				}
			}
		}
		it.Next()
	}
	switch {
	case counted:
		setDeferredArrayLen(c, head, found)
	case found == 0:
		addReplyNull(c)
	}
}

func lremCommand(c *client) {
	count, ok := intArgument(c, c.argv[2])
	if !ok {
		return
	}
	hash, r, ok := lookupKeyWriteOrReply(c, typeList, shared.czero)
	if !ok {
		return
	}
	l := listAt(c.db, r)
	removed, ok := l.Remove(c.argv[3], count)
	if removed > 0 {
		listElementsRemoved(c, c.db, hash, r, l, removed)
	}
	if !ok {
		replyNoMemory(c, dict.ErrOutOfMemory)
		return
	}
	addReplyLongLong(c, removed)
}

// moveElement takes the first or the last element of the list l at r and puts it at
// an end of the list under to, which is at over, or does not exist when that is 0. It
// replies with the element. What fails has changed nothing.
func moveElement(c *client, db *redisDb, hash uint64, r dict.Ref, fromHead bool, toHash uint64, to []byte, over dict.Ref, toHead bool) {
	l := listAt(db, r)
	v := l.EndBytes(fromHead)
	before := len(c.buf)
	if over == r {
		addReplyBulk(c, v)
		if !l.Rotate(fromHead, toHead) {
			replyNoMemoryInstead(c, before)
			return
		}
		listElementsRemoved(c, db, hash, r, l, 1)
		return
	}
	var header [quicklist.HeaderSize]byte
	dst, added := createList(c.srv, &header), over == 0
	if !added {
		dst = listAt(db, over)
	}
	if !dst.Push(v, toHead) {
		replyNoMemory(c, dict.ErrOutOfMemory)
		return
	}
	if added && !addList(c, db, toHash, to, &header) {
		return
	}
	addReplyBulk(c, v)
	if !l.Drop(fromHead) {
		if added {
			dbDelete(c.srv, db, toHash, db.dict.FindHash(toHash, to))
		} else {
			dst.Drop(toHead)
		}
		replyNoMemoryInstead(c, before)
		return
	}
	listElementsRemoved(c, db, hash, r, l, 1)
}

// lmoveGenericCommand is LMOVE and RPOPLPUSH.
//
//go:noinline
func lmoveGenericCommand(c *client, fromHead, toHead bool) {
	hash, r, ok := lookupKeyWriteOrReply(c, typeList, nullReply(c))
	if !ok {
		return
	}
	to := c.argv[2]
	toHash := c.hash(to)
	over := lookupKeyHash(c, c.db, toHash, to, lookupWrite)
	if over != 0 && checkType(c, over, typeList) {
		return
	}
	moveElement(c, c.db, hash, r, fromHead, toHash, to, over, toHead)
}

// lmoveEnds reads the two LEFT or RIGHT of LMOVE and BLMOVE.
func lmoveEnds(c *client) (fromHead, toHead, ok bool) {
	if fromHead, ok = getListPositionFromObjectOrReply(c, c.argv[3]); ok {
		toHead, ok = getListPositionFromObjectOrReply(c, c.argv[4])
	}
	return fromHead, toHead, ok
}

func lmoveCommand(c *client) {
	if fromHead, toHead, ok := lmoveEnds(c); ok {
		lmoveGenericCommand(c, fromHead, toHead)
	}
}

func rpoplpushCommand(c *client) { lmoveGenericCommand(c, listTail, listHead) }

// onePerPop is the count of BLPOP and BRPOP, which reply with an element and not with
// an array.
const onePerPop = -1

// listPopRangeAndReplyWithKey takes up to count elements, or onePerPop, from the list
// at r and replies with the key and them.
//
//go:noinline
func listPopRangeAndReplyWithKey(c *client, db *redisDb, hash uint64, r dict.Ref, key []byte, head bool, count int64) {
	l, before, ok := listAt(db, r), len(c.buf), false
	addReplyArrayLen(c, 2)
	addReplyBulk(c, key)
	if count == onePerPop {
		count, ok = 1, popElement(c, l, head)
	} else {
		count = min(count, l.Len())
		ok = popRange(c, l, head, count)
	}
	if !ok {
		replyNoMemoryInstead(c, before)
		return
	}
	listElementsRemoved(c, db, hash, r, l, count)
}

// popFirstList pops from the first of these keys that exists. It returns false when
// there is none, and nothing was replied.
func popFirstList(c *client, keys [][]byte, head bool, count int64) bool {
	for _, key := range keys {
		hash := c.hash(key)
		r := lookupKeyHash(c, c.db, hash, key, lookupWrite)
		if r == 0 {
			continue
		}
		if !checkType(c, r, typeList) {
			listPopRangeAndReplyWithKey(c, c.db, hash, r, key, head, count)
		}
		return true
	}
	return false
}

// blockingPopGenericCommand is BLPOP and BRPOP, and with a count BLMPOP.
//
//go:noinline
func blockingPopGenericCommand(c *client, keys [][]byte, head bool, timeout []byte, count int64) {
	until, ok := timeoutArgument(c, timeout)
	if !ok || popFirstList(c, keys, head, count) {
		return
	}
	blockForKeys(c, typeList, keys, until, func(c *client, db *redisDb, key []byte) bool {
		hash := c.hash(key)
		listPopRangeAndReplyWithKey(c, db, hash, db.dict.FindHash(hash, key), key, head, count)
		return true
	}, nil)
}

func blpopCommand(c *client) {
	last := len(c.argv) - 1
	blockingPopGenericCommand(c, c.argv[1:last], listHead, c.argv[last], onePerPop)
}

func brpopCommand(c *client) {
	last := len(c.argv) - 1
	blockingPopGenericCommand(c, c.argv[1:last], listTail, c.argv[last], onePerPop)
}

// blmoveGenericCommand is BLMOVE and BRPOPLPUSH.
//
//go:noinline
func blmoveGenericCommand(c *client, fromHead, toHead bool, timeout []byte) {
	until, ok := timeoutArgument(c, timeout)
	if !ok {
		return
	}
	r := lookupKeyWrite(c, c.argv[1])
	if r != 0 {
		if !checkType(c, r, typeList) {
			lmoveGenericCommand(c, fromHead, toHead)
		}
		return
	}
	to := bytes.Clone(c.argv[2])
	blockForKeys(c, typeList, c.argv[1:2], until, func(c *client, db *redisDb, key []byte) bool {
		hash, toHash := c.hash(key), c.hash(to)
		over := lookupKeyHash(c, db, toHash, to, lookupWrite)
		if over == 0 || !checkType(c, over, typeList) {
			moveElement(c, db, hash, db.dict.FindHash(hash, key), fromHead, toHash, to, over, toHead)
		}
		return true
	}, nil)
}

func blmoveCommand(c *client) {
	if fromHead, toHead, ok := lmoveEnds(c); ok {
		blmoveGenericCommand(c, fromHead, toHead, c.argv[5])
	}
}

func brpoplpushCommand(c *client) { blmoveGenericCommand(c, listTail, listHead, c.argv[3]) }

// lmpopGenericCommand is LMPOP, or with a timeout BLMPOP. args are the arguments from
// the number of keys on.
//
//go:noinline
func lmpopGenericCommand(c *client, args [][]byte, timeout []byte) {
	n, ok := intArgumentRange(c, args[0], 1, math.MaxInt64, "numkeys should be greater than 0")
	if !ok {
		return
	}
	if n > int64(len(args)-2) {
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	keys, args := args[1:n+1], args[n+1:]
	head, ok := getListPositionFromObjectOrReply(c, args[0])
	if !ok {
		return
	}
	count, counted := int64(1), false
	for args = args[1:]; len(args) > 0; args = args[2:] {
		if counted || len(args) < 2 || !equalFoldC(args[0], "count") {
			addReplyErrorObject(c, shared.syntaxerr)
			return
		}
		if count, ok = intArgumentRange(c, args[1], 1, math.MaxInt64, "count should be greater than 0"); !ok {
			return
		}
		counted = true
	}
	switch {
	case timeout != nil:
		blockingPopGenericCommand(c, keys, head, timeout, count)
	case !popFirstList(c, keys, head, count):
		addReplyNullArray(c)
	}
}

func lmpopCommand(c *client) { lmpopGenericCommand(c, c.argv[1:], nil) }

func blmpopCommand(c *client) { lmpopGenericCommand(c, c.argv[2:], c.argv[1]) }
