package engine

import (
	"math"

	"github.com/tidwall/redcon"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/listpack"
	"github.com/redscope/redscope/engine/internal/rax"
)

// streamScratch is what the commands of streams use again and again.
type streamScratch struct {
	entries streamIterator
	pel     rax.Iterator[*streamNACK]
	ids     []streamID
}

// release forgets the stream that a command was about, lest it be kept when its key
// is gone.
func (scratch *streamScratch) release() {
	si := &scratch.entries
	si.it.Release()
	si.s, si.lp = nil, nil
	scratch.pel.Release()
}

// streamOf returns the stream at r, nil if r is 0.
func streamOf(db *redisDb, r dict.Ref) *stream {
	if r == 0 {
		return nil
	}
	return db.objectAt(r).(*stream)
}

// lookupStream looks up a stream, nil if there is none. It answers with WRONGTYPE,
// and returns false, when there is something else.
func lookupStream(c *client, key []byte, flags lookupFlags) (*stream, bool) {
	r := lookupKey(c, c.db, key, flags)
	if r != 0 && checkType(c, r, typeStream) {
		return nil, false
	}
	return streamOf(c.db, r), true
}

// lookupStreamOrReply is lookupStream that answers with reply, and returns nil,
// when there is none.
func lookupStreamOrReply(c *client, key []byte, flags lookupFlags, reply []byte) *stream {
	s, ok := lookupStream(c, key, flags)
	if ok && s == nil {
		addReplyOrError(c, reply)
	}
	return s
}

// createStream adds an empty stream, or answers that there is no memory.
func createStream(c *client, key []byte) *stream {
	s := newStream()
	if _, ok := dbAddObject(c, c.db, c.hash(key), key, typeStream, encodingStream, s); !ok {
		return nil
	}
	return s
}

func replyInvalidStreamID(c *client) {
	addReplyError(c, "Invalid stream ID specified as stream command argument")
}

// streamParseStrictIDOrReply reads the ID of one entry.
//
//go:noinline
func streamParseStrictIDOrReply(c *client, arg []byte, missing uint64) (streamID, bool) {
	id, _, ok := parseStreamID(arg, missing, false)
	if !ok {
		replyInvalidStreamID(c)
	}
	return id, ok
}

// streamParseIDOrReply also takes "-" and "+", the smallest and the greatest ID.
//
//go:noinline
func streamParseIDOrReply(c *client, arg []byte, missing uint64) (streamID, bool) {
	if text := cString(arg); len(text) == 1 && len(arg) <= maxStreamIDText {
		switch text[0] {
		case '-':
			return streamID{}, true
		case '+':
			return maxStreamID, true
		}
	}
	return streamParseStrictIDOrReply(c, arg, missing)
}

// streamParseIntervalOrReply reads both ends of a range. One that begins with "(" is
// not in it.
func streamParseIntervalOrReply(c *client, first, last []byte) (start, end streamID, ok bool) {
	if start, ok = streamParseStartOrReply(c, first); !ok {
		return start, end, false
	}
	end, exclusive, ok := streamParseIntervalIDOrReply(c, last, math.MaxUint64)
	if !ok {
		return start, end, false
	}
	if exclusive {
		if end, ok = end.prev(); !ok {
			addReplyError(c, "invalid end ID for the interval")
			return start, end, false
		}
	}
	return start, end, true
}

// streamParseStartOrReply reads the beginning of a range.
func streamParseStartOrReply(c *client, arg []byte) (streamID, bool) {
	start, exclusive, ok := streamParseIntervalIDOrReply(c, arg, 0)
	if ok && exclusive {
		if start, ok = start.next(); !ok {
			addReplyError(c, "invalid start ID for the interval")
		}
	}
	return start, ok
}

// streamParseIntervalIDOrReply reads one end of a range.
//
//go:noinline
func streamParseIntervalIDOrReply(c *client, arg []byte, missing uint64) (id streamID, exclusive, ok bool) {
	if len(arg) > 1 && arg[0] == '(' {
		id, ok = streamParseStrictIDOrReply(c, arg[1:], missing)
		return id, true, ok
	}
	id, ok = streamParseIDOrReply(c, arg, missing)
	return id, false, ok
}

// streamIDArguments reads IDs, all of them before the first is used. The result is
// valid until the next call.
func streamIDArguments(c *client, args [][]byte) ([]streamID, bool) {
	ids := c.srv.streams.ids[:0]
	for _, arg := range args {
		id, ok := streamParseStrictIDOrReply(c, arg, 0)
		if !ok {
			return nil, false
		}
		ids = append(ids, id)
	}
	c.srv.streams.ids = ids
	return ids, true
}

func addReplyStreamID(c *client, id streamID) {
	var text [48]byte
	addReplyBulk(c, id.appendText(text[:0]))
}

// streamNACKNow is an entry's delivery to a consumer, now and for the first time.
func streamNACKNow(c *client, k *streamConsumer) *streamNACK {
	return &streamNACK{deliveryTime: c.srv.loopClock.unixMs, deliveryCount: 1, consumer: k}
}

// consumerSeen returns the consumer of this name, which it makes if there is none,
// and notes that it was here.
func consumerSeen(c *client, g *streamCG, name []byte) *streamConsumer {
	now := c.srv.loopClock.unixMs
	k := g.consumer(name)
	if k == nil {
		k = g.createConsumer(name, now)
		keyModified(c)
	}
	k.seenTime = now
	return k
}

// addReplyEntry replies with the entry that the iterator has come to.
func addReplyEntry(c *client, si *streamIterator, id streamID, fields int) {
	addReplyArrayLen(c, 2)
	addReplyStreamID(c, id)
	addReplyArrayLen(c, 2*fields)
	var scratch [20]byte
	for range fields {
		field, value := si.nextField()
		addReplyBulk(c, listpack.Bytes(si.lp, field, &scratch))
		addReplyBulk(c, listpack.Bytes(si.lp, value, &scratch))
	}
}

// streamReplyWithEntry replies with the first entry of a range, or the last, and
// reports whether there is one.
func streamReplyWithEntry(c *client, s *stream, start, end streamID, last bool) bool {
	si := &c.srv.streams.entries
	si.begin(s, start, end, last)
	id, fields, ok := si.next()
	if ok {
		addReplyEntry(c, si, id, fields)
	}
	return ok
}

// groupRead says on whose behalf entries are read.
type groupRead struct {
	group    *streamCG
	consumer *streamConsumer
	noack    bool // do not have them wait for being acknowledged
}

// streamReplyWithRange replies with the entries from start to end, at most count of
// them unless that is 0. They count as delivered to the reader, if it has a group.
//
//go:noinline
func streamReplyWithRange(c *client, s *stream, start, end streamID, count int64, reverse bool, reader groupRead) {
	si := &c.srv.streams.entries
	head := addReplyDeferredLen(c)
	n := 0
	si.begin(s, start, end, reverse)
	for count == 0 || int64(n) < count {
		id, fields, ok := si.next()
		if !ok {
			break
		}
		if g := reader.group; g != nil {
			if g.lastID.before(id) {
				g.advance(s, id)
			}
			if !reader.noack {
				streamDeliver(c, reader, id)
			}
		}
		addReplyEntry(c, si, id, fields)
		n++
	}
	setDeferredArrayLen(c, head, n)
}

// advance makes id the entry that was delivered last.
func (g *streamCG) advance(s *stream, id streamID) {
	if g.entriesRead != unknownEntriesRead && !s.hasTombstones(id) {
		g.entriesRead++
	} else if s.entriesAdded > 0 {
		g.entriesRead = streamEstimateDistanceFromFirstEverEntry(s, id)
	}
	g.lastID = id
}

// streamDeliver has an entry wait for being acknowledged by the reader. If it has
// been delivered before, to whomever, it begins anew.
func streamDeliver(c *client, reader groupRead, id streamID) {
	key := id.key()
	if nack, ok := reader.group.pel.Find(key[:]); ok {
		nack.deliveryTime, nack.deliveryCount = c.srv.loopClock.unixMs, 1
		reader.consumer.take(key[:], nack)
		return
	}
	reader.group.addPending(key[:], streamNACKNow(c, reader.consumer))
}

// streamReplyWithRangeFromConsumerPEL replies with the entries from start on, at
// most count of them unless that is 0, that the consumer has not acknowledged. They
// count as delivered once more. One that has been deleted has no fields.
//
//go:noinline
func streamReplyWithRangeFromConsumerPEL(c *client, s *stream, start streamID, count int64, k *streamConsumer) {
	head := addReplyDeferredLen(c)
	n := 0
	it := &c.srv.streams.pel
	it.Reset(k.pel)
	key := start.key()
	for ok := it.Seek(rax.GreaterOrEqual, key[:]); ok && (count == 0 || int64(n) < count); ok = it.Next() {
		id := streamIDOf(it.Key())
		if streamReplyWithEntry(c, s, id, id, false) {
			nack := it.Value()
			nack.deliveryTime = c.srv.loopClock.unixMs
			nack.deliveryCount++
		} else {
			addReplyArrayLen(c, 2)
			addReplyStreamID(c, id)
			addReplyNullArray(c)
		}
		n++
	}
	setDeferredArrayLen(c, head, n)
}

// streamOptions are the arguments of XADD and XTRIM.
type streamOptions struct {
	trim       trimming
	noMkStream bool
	given      bool // an ID, in id
	auto       bool // without a seq
	id         streamID
}

// streamParseAddOrTrimArgsOrReply reads the options of XADD, which end with an ID or
// "*", or those of XTRIM. It returns the index of the argument where they end.
//
//go:noinline
func streamParseAddOrTrimArgsOrReply(c *client, o *streamOptions, xadd bool) (int, bool) {
	limited := false
	i := 2
options:
	for ; i < len(c.argv); i++ {
		opt, more := c.argv[i], len(c.argv)-1-i
		maxLen := more > 0 && equalFoldC(opt, "maxlen")
		switch {
		case xadd && string(cString(opt)) == "*":
			break options
		case maxLen, more > 0 && equalFoldC(opt, "minid"):
			t := &o.trim
			if t.strategy != trimNone {
				addReplyError(c, "syntax error, MAXLEN and MINID options at the same time are not compatible")
				return 0, false
			}
			t.approx = false
			if how := string(cString(c.argv[i+1])); more > 1 && (how == "~" || how == "=") {
				t.approx = how == "~"
				i++
			}
			i++
			var ok bool
			if !maxLen {
				t.strategy = trimMinID
				if t.minID, ok = streamParseStrictIDOrReply(c, c.argv[i], 0); !ok {
					return 0, false
				}
				continue
			}
			t.strategy = trimMaxLen
			if t.maxLen, ok = intArgument(c, c.argv[i]); !ok {
				return 0, false
			}
			if t.maxLen < 0 {
				addReplyError(c, "The MAXLEN argument must be >= 0.")
				return 0, false
			}
		case more > 0 && equalFoldC(opt, "limit"):
			i++
			var ok bool
			if o.trim.limit, ok = intArgument(c, c.argv[i]); !ok {
				return 0, false
			}
			if o.trim.limit < 0 {
				addReplyError(c, "The LIMIT argument must be >= 0.")
				return 0, false
			}
			limited = true
		case xadd && equalFoldC(opt, "nomkstream"):
			o.noMkStream = true
		case xadd:
			id, auto, ok := parseStreamID(opt, 0, true)
			if !ok {
				replyInvalidStreamID(c)
				return 0, false
			}
			o.given, o.id, o.auto = true, id, auto
			break options
		default:
			addReplyErrorObject(c, shared.syntaxerr)
			return 0, false
		}
	}
	switch t := &o.trim; {
	case t.limit != 0 && t.strategy == trimNone:
		addReplyError(c, "syntax error, LIMIT cannot be used without specifying a trimming strategy")
		return 0, false
	case !xadd && t.strategy == trimNone:
		addReplyError(c, "syntax error, XTRIM must be called with a trimming strategy")
		return 0, false
	case limited && !t.approx:
		addReplyError(c, "syntax error, LIMIT cannot be used without the special ~ option")
		return 0, false
	case t.approx && !limited:
		// As many as 100 full nodes hold, so that nobody waits long.
		t.limit = min(100*c.srv.config.StreamNodeMaxEntries, 1000000)
		if t.limit <= 0 {
			t.limit = 10000
		}
	}
	return i, true
}

func xaddCommand(c *client) {
	defer c.srv.streams.release()
	var o streamOptions
	i, ok := streamParseAddOrTrimArgsOrReply(c, &o, true)
	if !ok {
		return
	}
	if n := len(c.argv) - i - 1; n < 2 || n%2 == 1 {
		addReplyErrorArity(c)
		return
	}
	pairs := c.argv[i+1:]
	if o.given && !o.auto && o.id == (streamID{}) {
		addReplyError(c, "The ID specified in XADD must be greater than 0-0")
		return
	}
	key := c.argv[1]
	s, ok := lookupStream(c, key, lookupWrite)
	if !ok {
		return
	}
	if s == nil {
		if o.noMkStream {
			addReplyNull(c)
			return
		}
		if s = createStream(c, key); s == nil {
			return
		}
	}
	if s.lastID == maxStreamID {
		addReplyError(c, "The stream has exhausted the last possible ID, unable to add more items")
		return
	}
	id := o.id
	switch {
	case !o.given:
		id, _ = s.nextID(c.srv.loopClock.unixMs)
	case o.auto && id.ms == s.lastID.ms:
		if s.lastID.seq == math.MaxUint64 {
			addReplyError(c, "Elements are too large to be stored") // for want of a better text
			return
		}
		id.seq = s.lastID.seq + 1
	}
	if !s.lastID.before(id) {
		addReplyError(c, "The ID specified in XADD is equal or smaller than the target stream top item")
		return
	}
	size := int64(0)
	for _, arg := range pairs {
		size += int64(len(arg))
	}
	if size > streamNodeLimit {
		addReplyError(c, "Elements are too large to be stored")
		return
	}
	scratch := &c.srv.streams.entries
	s.append(&scratch.it, id, pairs, size, streamNodeLimits{c.srv.config.StreamNodeMaxBytes, c.srv.config.StreamNodeMaxEntries})
	addReplyStreamID(c, id)
	keyModified(c)
	streamTrim(s, scratch, &o.trim)
	signalKeyAsReady(c.srv, c.db, key, typeStream)
}

func xtrimCommand(c *client) {
	defer c.srv.streams.release()
	var o streamOptions
	if _, ok := streamParseAddOrTrimArgsOrReply(c, &o, false); !ok {
		return
	}
	s := lookupStreamOrReply(c, c.argv[1], lookupWrite, shared.czero)
	if s == nil {
		return
	}
	deleted := streamTrim(s, &c.srv.streams.entries, &o.trim)
	c.srv.dirty += deleted
	addReplyLongLong(c, deleted)
}

func xlenCommand(c *client) {
	if s := lookupStreamOrReply(c, c.argv[1], lookupNone, shared.czero); s != nil {
		addReplyLongLong(c, int64(s.length))
	}
}

func xrangeCommand(c *client) { xrangeGenericCommand(c, c.argv[2], c.argv[3], false) }

func xrevrangeCommand(c *client) { xrangeGenericCommand(c, c.argv[3], c.argv[2], true) }

// xrangeGenericCommand is XRANGE and XREVRANGE.
//
//go:noinline
func xrangeGenericCommand(c *client, first, last []byte, reverse bool) {
	defer c.srv.streams.release()
	start, end, ok := streamParseIntervalOrReply(c, first, last)
	if !ok {
		return
	}
	count, none := int64(0), false
	for args := c.argv[4:]; len(args) > 0; args = args[2:] {
		if len(args) < 2 || !equalFoldC(args[0], "count") {
			addReplyErrorObject(c, shared.syntaxerr)
			return
		}
		if count, ok = intArgument(c, args[1]); !ok {
			return
		}
		none = count <= 0
	}
	s := lookupStreamOrReply(c, c.argv[1], lookupNone, shared.emptyArray)
	if s == nil {
		return
	}
	if none {
		addReplyNullArray(c)
		return
	}
	streamReplyWithRange(c, s, start, end, count, reverse, groupRead{})
}

func xdelCommand(c *client) {
	defer c.srv.streams.release()
	s := lookupStreamOrReply(c, c.argv[1], lookupWrite, shared.czero)
	if s == nil {
		return
	}
	ids, ok := streamIDArguments(c, c.argv[2:])
	if !ok {
		return
	}
	si := &c.srv.streams.entries
	deleted, first := int64(0), false
	for _, id := range ids {
		if !s.deleteItem(si, id) {
			continue
		}
		first = first || id == s.firstID
		if s.maxDeletedID.before(id) {
			s.maxDeletedID = id
		}
		deleted++
	}
	switch {
	case deleted == 0:
	case s.length == 0:
		s.firstID = streamID{}
	case first:
		s.updateFirstID(si)
	}
	c.srv.dirty += deleted
	addReplyLongLong(c, deleted)
}

func xsetidCommand(c *client) {
	defer c.srv.streams.release()
	id, ok := streamParseStrictIDOrReply(c, c.argv[2], 0)
	if !ok {
		return
	}
	added, maxDeleted := int64(-1), streamID{}
	for args := c.argv[3:]; len(args) > 0; args = args[2:] {
		switch opt := args[0]; {
		case len(args) > 1 && equalFoldC(opt, "entriesadded"):
			if added, ok = intArgument(c, args[1]); !ok {
				return
			}
			if added < 0 {
				addReplyError(c, "entries_added must be positive")
				return
			}
		case len(args) > 1 && equalFoldC(opt, "maxdeletedid"):
			if maxDeleted, ok = streamParseStrictIDOrReply(c, args[1], 0); !ok {
				return
			}
			if id.before(maxDeleted) {
				addReplyError(c, "The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
				return
			}
		default:
			addReplyErrorObject(c, shared.syntaxerr)
			return
		}
	}
	s := lookupStreamOrReply(c, c.argv[1], lookupWrite, shared.nokeyerr)
	if s == nil {
		return
	}
	if s.length > 0 {
		if id.before(s.lastValidID(&c.srv.streams.entries)) {
			addReplyError(c, "The ID specified in XSETID is smaller than the target stream top item")
			return
		}
		if added != -1 && s.length > uint64(added) {
			addReplyError(c, "The entries_added specified in XSETID is smaller than the target stream length")
			return
		}
	}
	s.lastID = id
	if added != -1 {
		s.entriesAdded = uint64(added)
	}
	if maxDeleted != (streamID{}) {
		s.maxDeletedID = maxDeleted
	}
	addReply(c, shared.ok)
	keyModified(c)
}

// streamRead is an XREAD or XREADGROUP: what a client that blocks keeps of it.
type streamRead struct {
	keys            []string
	after           []streamID // of each key's stream, what the client has
	group, consumer []byte     // of XREADGROUP
	count           int64      // of entries; 0: all
	noack           bool
}

// blockedReadCount is XREAD_BLOCKED_DEFAULT_COUNT: without COUNT, a client that was
// blocked is not sent more at once.
const blockedReadCount = 1000

func xreadCommand(c *client) { xreadGenericCommand(c, false) }

func xreadgroupCommand(c *client) { xreadGenericCommand(c, true) }

// xreadGenericCommand is XREAD, and with grouped XREADGROUP.
//
//go:noinline
func xreadGenericCommand(c *client, grouped bool) {
	defer c.srv.streams.release()
	var read streamRead
	until, blocks := int64(0), false
	streams := 0 // index of the first key
options:
	for i := 1; i < len(c.argv); i++ {
		opt, more := c.argv[i], len(c.argv)-1-i
		var ok bool
		switch {
		case more > 0 && equalFoldC(opt, "block"):
			i++
			if until, ok = timeoutArgumentMs(c, c.argv[i]); !ok {
				return
			}
			blocks = true
		case more > 0 && equalFoldC(opt, "count"):
			i++
			if read.count, ok = intArgument(c, c.argv[i]); !ok {
				return
			}
			read.count = max(read.count, 0)
		case more > 0 && equalFoldC(opt, "streams"):
			streams = i + 1
			if more%2 != 0 {
				addReplyError(c, "Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.")
				return
			}
			break options
		case more > 1 && equalFoldC(opt, "group"):
			if !grouped {
				addReplyError(c, "The GROUP option is only supported by XREADGROUP. You called XREAD instead.")
				return
			}
			read.group, read.consumer = c.argv[i+1], c.argv[i+2]
			i += 2
		case equalFoldC(opt, "noack"):
			if !grouped {
				addReplyError(c, "The NOACK option is only supported by XREADGROUP. You called XREAD instead.")
				return
			}
			read.noack = true
		default:
			addReplyErrorObject(c, shared.syntaxerr)
			return
		}
	}
	if streams == 0 {
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	if grouped && read.group == nil {
		addReplyError(c, "Missing GROUP option for XREADGROUP")
		return
	}
	n := (len(c.argv) - streams) / 2
	keys, ids := c.argv[streams:streams+n], c.argv[streams+n:]
	after := c.srv.streams.ids[:0]
	for i, key := range keys {
		id, ok := read.position(c, key, ids[i])
		if !ok {
			return
		}
		after = append(after, id)
	}
	c.srv.streams.ids, read.after = after, after
	if read.serve(c, keys) {
		return
	}
	if !blocks {
		addReplyNullArray(c)
		return
	}
	read.block(c, keys, until)
}

// position returns the ID after which entries are wanted, as its argument says. For
// what is new to a group (">") it is maxStreamID.
func (read *streamRead) position(c *client, key, arg []byte) (id streamID, ok bool) {
	s, ok := lookupStream(c, key, lookupNone)
	if !ok {
		return id, false
	}
	if read.group != nil && (s == nil || s.group(read.group) == nil) {
		addReplyErrorFormat(c, "-NOGROUP No such key '%s' or consumer group '%s' in XREADGROUP with GROUP option", cString(key), cString(read.group))
		return id, false
	}
	switch string(cString(arg)) {
	case "$":
		if read.group != nil {
			addReplyError(c, "The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.")
			return id, false
		}
		if s != nil {
			id = s.lastID
		}
		return id, true
	case ">":
		if read.group == nil {
			addReplyError(c, "The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.")
			return id, false
		}
		return maxStreamID, true
	}
	return streamParseStrictIDOrReply(c, arg, 0)
}

// serve replies with what there is in the streams, or returns false when there is
// nothing.
func (read *streamRead) serve(c *client, keys [][]byte) bool {
	head, served := 0, 0
	for i, key := range keys {
		r := lookupKeyRead(c, key)
		if r == 0 || metaType(c.db.dict.Meta(r)) != typeStream {
			continue
		}
		s, after := streamOf(c.db, r), read.after[i]
		var g *streamCG
		history := false
		if read.group != nil {
			g = s.group(read.group)
			if history = after != maxStreamID; !history {
				after = g.lastID
			}
		}
		if !history && (s.length == 0 || !after.before(s.lastValidID(&c.srv.streams.entries))) {
			continue
		}
		if served++; served == 1 {
			head = addReplyDeferredLen(c)
		}
		if c.resp == 2 {
			addReplyArrayLen(c, 2)
		}
		addReplyBulk(c, key)
		start, _ := after.next()
		reader := groupRead{group: g, noack: read.noack}
		if g != nil {
			reader.consumer = consumerSeen(c, g, read.consumer)
			keyModified(c)
		}
		if history {
			streamReplyWithRangeFromConsumerPEL(c, s, start, read.count, reader.consumer)
		} else {
			streamReplyWithRange(c, s, start, maxStreamID, read.count, false, reader)
		}
	}
	switch {
	case served == 0:
		return false
	case c.resp == 2:
		setDeferredArrayLen(c, head, served)
	default:
		setDeferredMapLen(c, head, served)
	}
	return true
}

// block has the client wait for entries.
func (read *streamRead) block(c *client, keys [][]byte, until int64) {
	// What the client will be asked about must outlive its arguments.
	kept := &streamRead{noack: read.noack, count: read.count}
	if kept.count == 0 {
		kept.count = blockedReadCount
	}
	for i, key := range keys {
		kept.keys = append(kept.keys, string(key))
		kept.after = append(kept.after, read.after[i])
	}
	var deleted func(*client, *redisDb, []byte) bool
	if read.group != nil {
		kept.group = append([]byte{}, read.group...)
		kept.consumer = append([]byte{}, read.consumer...)
		deleted = func(c *client, _ *redisDb, _ []byte) bool {
			addReplyError(c, "-UNBLOCKED the stream key no longer exists")
			return true
		}
	}
	blockForKeys(c, typeStream, keys, until, kept.serveBlocked, deleted)
}

// serveBlocked replies with what is new in a stream, if anything is.
func (read *streamRead) serveBlocked(c *client, db *redisDb, key []byte) bool {
	defer c.srv.streams.release()
	s := streamOf(db, lookupKey(c, db, key, lookupNoTouch|lookupNoStats))
	var reader groupRead
	var after streamID
	if read.group != nil {
		// Others may have been served from the group since.
		reader.group = s.group(read.group)
		if reader.group == nil {
			addReplyError(c, "-NOGROUP the consumer group this client was blocked on no longer exists")
			return true
		}
		after = reader.group.lastID
	} else {
		for i, k := range read.keys {
			if k == string(key) {
				after = read.after[i]
				break
			}
		}
	}
	if !after.before(s.lastID) {
		return false
	}
	if reader.group != nil {
		reader.consumer, reader.noack = consumerSeen(c, reader.group, read.consumer), read.noack
		keyModified(c)
	}
	if c.resp == 2 {
		addReplyArrayLen(c, 1)
		addReplyArrayLen(c, 2)
	} else {
		addReplyMapLen(c, 1)
	}
	addReplyBulk(c, key)
	start, _ := after.next()
	streamReplyWithRange(c, s, start, maxStreamID, read.count, false, reader)
	return true
}

// streamGroupOrReply looks up a stream and one of its groups, or answers that there
// is none.
func streamGroupOrReply(c *client, key, name []byte) (*stream, *streamCG) {
	s, ok := lookupStream(c, key, lookupNone)
	if !ok {
		return nil, nil
	}
	if s != nil {
		if g := s.group(name); g != nil {
			return s, g
		}
	}
	addReplyErrorFormat(c, "-NOGROUP No such key '%s' or consumer group '%s'", cString(key), cString(name))
	return nil, nil
}

func replyNoGroup(c *client, key, name []byte) {
	addReplyErrorFormat(c, "-NOGROUP No such consumer group '%s' for key name '%s'", cString(name), cString(key))
}

func xackCommand(c *client) {
	s, ok := lookupStream(c, c.argv[1], lookupNone)
	if !ok {
		return
	}
	var g *streamCG
	if s != nil {
		g = s.group(c.argv[2])
	}
	if g == nil {
		addReply(c, shared.czero)
		return
	}
	ids, ok := streamIDArguments(c, c.argv[3:])
	if !ok {
		return
	}
	n := int64(0)
	for _, id := range ids {
		key := id.key()
		if g.removePending(key[:]) {
			n++
		}
	}
	c.srv.dirty += n
	addReplyLongLong(c, n)
}

func xpendingCommand(c *client) {
	defer c.srv.streams.release()
	argc := len(c.argv)
	if argc != 3 && (argc < 6 || argc > 9) {
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	if argc == 3 {
		if _, g := streamGroupOrReply(c, c.argv[1], c.argv[2]); g != nil {
			addReplyPendingSummary(c, g)
		}
		return
	}
	args, idle := c.argv[3:], int64(0)
	var ok bool
	if equalFoldC(args[0], "idle") {
		if idle, ok = intArgument(c, args[1]); !ok {
			return
		}
		if args = args[2:]; len(args) < 3 {
			addReplyErrorObject(c, shared.syntaxerr)
			return
		}
	}
	count, ok := intArgument(c, args[2])
	if !ok {
		return
	}
	start, end, ok := streamParseIntervalOrReply(c, args[0], args[1])
	if !ok {
		return
	}
	_, g := streamGroupOrReply(c, c.argv[1], c.argv[2])
	if g == nil {
		return
	}
	pel := g.pel
	if len(args) > 3 {
		k := g.consumer(args[3])
		if k == nil {
			addReply(c, shared.emptyArray)
			return
		}
		pel = k.pel
	}
	addReplyPending(c, pel, start, end, count, idle)
}

// addReplyPendingSummary replies with how many entries wait to be acknowledged,
// from where to where, and how many are whose.
func addReplyPendingSummary(c *client, g *streamCG) {
	addReplyArrayLen(c, 4)
	addReplyLongLong(c, int64(g.pel.Len()))
	it := &c.srv.streams.pel
	it.Reset(g.pel)
	if !it.First() {
		addReplyNull(c)
		addReplyNull(c)
		addReplyNullArray(c)
		return
	}
	addReplyStreamID(c, streamIDOf(it.Key()))
	it.Last()
	addReplyStreamID(c, streamIDOf(it.Key()))
	head, n := addReplyDeferredLen(c), 0
	g.eachConsumer(func(k *streamConsumer) {
		if k.pel.Len() > 0 {
			addReplyArrayLen(c, 2)
			addReplyBulkString(c, k.name)
			addReplyBulkLongLong(c, int64(k.pel.Len()))
			n++
		}
	})
	setDeferredArrayLen(c, head, n)
}

// addReplyPending replies with at most count entries of pel from start to end that
// were delivered at least idle ms ago.
func addReplyPending(c *client, pel *rax.Tree[*streamNACK], start, end streamID, count, idle int64) {
	head, n := addReplyDeferredLen(c), int64(0)
	it := &c.srv.streams.pel
	it.Reset(pel)
	key := start.key()
	for ok := it.Seek(rax.GreaterOrEqual, key[:]); ok && n < count; ok = it.Next() {
		id, nack := streamIDOf(it.Key()), it.Value()
		if end.before(id) {
			break
		}
		passed := c.srv.loopClock.unixMs - nack.deliveryTime
		if idle != 0 && passed < idle {
			continue
		}
		addReplyArrayLen(c, 4)
		addReplyStreamID(c, id)
		addReplyBulkString(c, nack.consumer.name)
		addReplyLongLong(c, max(passed, 0))
		addReplyLongLong(c, int64(nack.deliveryCount))
		n++
	}
	setDeferredArrayLen(c, head, int(n))
}

// claimOptions are those of XCLAIM.
type claimOptions struct {
	idle         int64 // ms since the last delivery, at least; 0: any
	deliveryTime int64 // Unix time, ms; -1: now
	retryCount   int64 // -1: one more
	force        bool  // take what waits for nobody
	justID       bool
	lastID       streamID
}

// parse reads the options, and answers what is wrong with them.
func (o *claimOptions) parse(c *client, args [][]byte) bool {
	now := c.srv.loopClock.unixMs
	o.deliveryTime, o.retryCount = -1, -1
	for ; len(args) > 0; args = args[1:] {
		opt, more := args[0], len(args) > 1
		var ok bool
		switch {
		case equalFoldC(opt, "force"):
			o.force = true
			continue
		case equalFoldC(opt, "justid"):
			o.justID = true
			continue
		case more && equalFoldC(opt, "idle"):
			if o.deliveryTime, ok = claimArgument(c, args[1], "Invalid IDLE option argument for XCLAIM"); !ok {
				return false
			}
			o.deliveryTime = now - o.deliveryTime
		case more && equalFoldC(opt, "time"):
			if o.deliveryTime, ok = claimArgument(c, args[1], "Invalid TIME option argument for XCLAIM"); !ok {
				return false
			}
		case more && equalFoldC(opt, "retrycount"):
			if o.retryCount, ok = claimArgument(c, args[1], "Invalid RETRYCOUNT option argument for XCLAIM"); !ok {
				return false
			}
		case more && equalFoldC(opt, "lastid"):
			if o.lastID, ok = streamParseStrictIDOrReply(c, args[1], 0); !ok {
				return false
			}
		default:
			addReplyErrorFormat(c, "Unrecognized XCLAIM option '%s'", cString(opt))
			return false
		}
		args = args[1:]
	}
	// A time to come is the mistake of another's clock, and no reason to fail.
	if o.deliveryTime < 0 || o.deliveryTime > now {
		o.deliveryTime = now
	}
	return true
}

// claimArgument reads an integer, or answers with message.
func claimArgument(c *client, arg []byte, message string) (int64, bool) {
	n, ok := parseInt64(arg)
	if !ok {
		addReplyError(c, message)
	}
	return n, ok
}

// claim makes k the consumer of a pending entry, delivered now. It counts as
// another delivery unless only its ID is wanted.
func (k *streamConsumer) claim(key []byte, nack *streamNACK, now int64, justID bool) {
	nack.deliveryTime = now
	if !justID {
		nack.deliveryCount++
	}
	k.take(key, nack)
}

// addReplyClaimed replies with an entry that exists, or its ID.
func addReplyClaimed(c *client, s *stream, id streamID, justID bool) {
	if justID {
		addReplyStreamID(c, id)
		return
	}
	streamReplyWithEntry(c, s, id, id, false)
}

func xclaimCommand(c *client) {
	defer c.srv.streams.release()
	s, g := streamGroupOrReply(c, c.argv[1], c.argv[2])
	if g == nil {
		return
	}
	var o claimOptions
	var ok bool
	if o.idle, ok = claimArgument(c, c.argv[4], "Invalid min-idle-time argument for XCLAIM"); !ok {
		return
	}
	// What is no ID begins the options.
	args, ids := c.argv[5:], c.srv.streams.ids[:0]
	for len(args) > 0 {
		id, _, ok := parseStreamID(args[0], 0, false)
		if !ok {
			break
		}
		ids, args = append(ids, id), args[1:]
	}
	c.srv.streams.ids = ids
	if !o.parse(c, args) {
		return
	}
	if g.lastID.before(o.lastID) {
		g.lastID = o.lastID
		keyModified(c)
	}
	var k *streamConsumer // is made by what it claims
	now := c.srv.loopClock.unixMs
	head, n := addReplyDeferredLen(c), 0
	for _, id := range ids {
		key := id.key()
		if !s.hasEntry(&c.srv.streams.entries, id) {
			if g.removePending(key[:]) {
				keyModified(c)
			}
			continue
		}
		nack, ok := g.pel.Find(key[:])
		switch {
		case ok && o.idle > 0 && now-nack.deliveryTime < o.idle:
			continue
		case !ok && !o.force:
			continue
		case !ok:
			nack = streamNACKNow(c, nil)
			g.addPending(key[:], nack)
		}
		if k == nil {
			k = consumerSeen(c, g, c.argv[3])
		}
		k.claim(key[:], nack, o.deliveryTime, o.justID)
		if o.retryCount >= 0 {
			nack.deliveryCount = uint64(o.retryCount)
		}
		addReplyClaimed(c, s, id, o.justID)
		keyModified(c)
		n++
	}
	setDeferredArrayLen(c, head, n)
}

// XAUTOCLAIM looks at no more than so many pending entries for each that it may
// return.
const autoclaimAttempts = 10

func xautoclaimCommand(c *client) {
	defer c.srv.streams.release()
	idle, ok := claimArgument(c, c.argv[4], "Invalid min-idle-time argument for XAUTOCLAIM")
	if !ok {
		return
	}
	start, ok := streamParseStartOrReply(c, c.argv[5])
	if !ok {
		return
	}
	count, justID := int64(100), false
	for args := c.argv[6:]; len(args) > 0; args = args[1:] {
		switch {
		case len(args) > 1 && equalFoldC(args[0], "count"):
			if count, ok = parseInt64(args[1]); !ok || count < 1 || count > math.MaxInt64/16 {
				addReplyError(c, "COUNT must be > 0")
				return
			}
			args = args[1:]
		case equalFoldC(args[0], "justid"):
			justID = true
		default:
			addReplyErrorObject(c, shared.syntaxerr)
			return
		}
	}
	s, g := streamGroupOrReply(c, c.argv[1], c.argv[2])
	if g == nil {
		return
	}
	var k *streamConsumer // is made by what it claims
	now, attempts := c.srv.loopClock.unixMs, count*autoclaimAttempts
	deleted := c.srv.streams.ids[:0]
	head, n := addReplyDeferredLen(c), 0
	it := &c.srv.streams.pel
	it.Reset(g.pel)
	key := start.key()
	for it.Seek(rax.GreaterOrEqual, key[:]); it.Valid() && count > 0 && attempts > 0; attempts-- {
		key = streamKey(it.Key())
		id, nack := streamIDOf(key[:]), it.Value()
		if !s.hasEntry(&c.srv.streams.entries, id) {
			g.removePending(key[:])
			keyModified(c)
			deleted = append(deleted, id)
			count--
			it.Seek(rax.GreaterOrEqual, key[:])
			continue
		}
		if idle <= 0 || now-nack.deliveryTime >= idle {
			if k == nil {
				k = consumerSeen(c, g, c.argv[3])
			}
			k.claim(key[:], nack, now, justID)
			addReplyClaimed(c, s, id, justID)
			keyModified(c)
			count--
			n++
		}
		it.Next()
	}
	c.srv.streams.ids = deleted
	var cursor streamID // where to go on; 0-0 at the end
	if it.Valid() {
		cursor = streamIDOf(it.Key())
	}
	var room [96]byte
	b := append(room[:0], "*3\r\n"...)
	var text [48]byte
	b = redcon.AppendBulk(b, cursor.appendText(text[:0]))
	setDeferredReply(c, head, redcon.AppendArray(b, n))
	addReplyArrayLen(c, len(deleted))
	for _, id := range deleted {
		addReplyStreamID(c, id)
	}
}

var xgroupHelp = []string{
	"CREATE <key> <groupname> <id|$> [option]",
	"    Create a new consumer group. Options are:",
	"    * MKSTREAM",
	"      Create the empty stream if it does not exist.",
	"    * ENTRIESREAD entries_read",
	"      Set the group's entries_read counter (internal use).",
	"CREATECONSUMER <key> <groupname> <consumer>",
	"    Create a new consumer in the specified group.",
	"DELCONSUMER <key> <groupname> <consumer>",
	"    Remove the specified consumer.",
	"DESTROY <key> <groupname>",
	"    Remove the specified group.",
	"SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
	"    Set the current group ID and entries_read counter.",
}

// xgroupCommand is XGROUP with each of its subcommands.
func xgroupCommand(c *client) {
	sub := c.cmd.name
	if sub == "help" {
		addReplyHelp(c, xgroupHelp)
		return
	}
	key, name := c.argv[2], c.argv[3]
	mkstream, read := false, int64(unknownEntriesRead)
	if sub == "create" || sub == "setid" {
		var ok bool
		if mkstream, read, ok = groupOptions(c, c.argv[5:], sub == "create"); !ok {
			return
		}
	}
	s, ok := lookupStream(c, key, lookupWrite)
	if !ok {
		return
	}
	if s == nil && !mkstream {
		addReplyError(c, "The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.")
		return
	}
	var g *streamCG
	if s != nil {
		g = s.group(name)
	}
	if g == nil && sub != "create" && sub != "destroy" {
		replyNoGroup(c, key, name)
		return
	}
	switch sub {
	case "create":
		createGroup(c, s, read)
	case "setid":
		if argc := len(c.argv); argc != 5 && argc != 7 {
			addReplySubcommandSyntaxError(c)
			return
		}
		id, ok := groupIDArgument(c, s, streamParseIDOrReply)
		if !ok {
			return
		}
		g.lastID, g.entriesRead = id, read
		addReply(c, shared.ok)
		keyModified(c)
	case "destroy":
		if g == nil {
			addReply(c, shared.czero)
			return
		}
		s.groups.Remove(name)
		addReply(c, shared.cone)
		keyModified(c)
		// Who is blocked on the group has to learn of it.
		signalKeyAsReady(c.srv, c.db, key, typeStream)
	case "createconsumer":
		if g.createConsumer(c.argv[4], c.srv.loopClock.unixMs) == nil {
			addReply(c, shared.czero)
			return
		}
		addReply(c, shared.cone)
		keyModified(c)
	case "delconsumer":
		k := g.consumer(c.argv[4])
		if k == nil {
			addReply(c, shared.czero)
			return
		}
		addReplyLongLong(c, int64(k.pel.Len()))
		g.removeConsumer(k)
		keyModified(c)
	}
}

// groupOptions reads what may follow the ID of XGROUP CREATE and SETID.
func groupOptions(c *client, args [][]byte, create bool) (mkstream bool, read int64, ok bool) {
	read = unknownEntriesRead
	for ; len(args) > 0; args = args[1:] {
		switch {
		case create && equalFoldC(args[0], "mkstream"):
			mkstream = true
		case len(args) > 1 && equalFoldC(args[0], "entriesread"):
			if read, ok = intArgument(c, args[1]); !ok {
				return false, 0, false
			}
			if read < 0 && read != unknownEntriesRead {
				addReplyError(c, "value for ENTRIESREAD must be positive or -1")
				return false, 0, false
			}
			args = args[1:]
		default:
			addReplySubcommandSyntaxError(c)
			return false, 0, false
		}
	}
	return mkstream, read, true
}

// groupIDArgument reads the ID of XGROUP CREATE or SETID, which may be "$" for the
// last of the stream.
func groupIDArgument(c *client, s *stream, parse func(*client, []byte, uint64) (streamID, bool)) (id streamID, ok bool) {
	if string(cString(c.argv[4])) != "$" {
		return parse(c, c.argv[4], 0)
	}
	if s != nil {
		id = s.lastID
	}
	return id, true
}

// createGroup is XGROUP CREATE on s, or on a new stream if that is nil.
func createGroup(c *client, s *stream, read int64) {
	if len(c.argv) > 8 {
		addReplySubcommandSyntaxError(c)
		return
	}
	id, ok := groupIDArgument(c, s, streamParseStrictIDOrReply)
	if !ok {
		return
	}
	if s == nil {
		if s = createStream(c, c.argv[2]); s == nil {
			return
		}
	}
	if s.createGroup(c.argv[3], id, read) == nil {
		addReplyError(c, "-BUSYGROUP Consumer Group name already exists")
		return
	}
	addReply(c, shared.ok)
	keyModified(c)
}

var xinfoHelp = []string{
	"CONSUMERS <key> <groupname>",
	"    Show consumers of <groupname>.",
	"GROUPS <key>",
	"    Show the stream consumer groups.",
	"STREAM <key> [FULL [COUNT <count>]",
	"    Show information about the stream.",
}

// xinfoCommand is XINFO with each of its subcommands.
func xinfoCommand(c *client) {
	if c.cmd.name == "help" {
		addReplyHelp(c, xinfoHelp)
		return
	}
	s := lookupStreamOrReply(c, c.argv[2], lookupNone, shared.nokeyerr)
	if s == nil {
		return
	}
	switch c.cmd.name {
	case "consumers":
		g := s.group(c.argv[3])
		if g == nil {
			replyNoGroup(c, c.argv[2], c.argv[3])
			return
		}
		addReplyArrayLen(c, g.consumers.Len())
		g.eachConsumer(func(k *streamConsumer) {
			addReplyMapLen(c, 3)
			addReplyBulkString(c, "name")
			addReplyBulkString(c, k.name)
			addReplyBulkString(c, "pending")
			addReplyLongLong(c, int64(k.pel.Len()))
			addReplyBulkString(c, "idle")
			addReplyLongLong(c, max(0, c.srv.loopClock.unixMs-k.seenTime))
		})
	case "groups":
		addReplyArrayLen(c, s.groups.Len())
		s.eachGroup(func(name []byte, g *streamCG) {
			addReplyMapLen(c, 6)
			addReplyBulkString(c, "name")
			addReplyBulk(c, name)
			addReplyBulkString(c, "consumers")
			addReplyLongLong(c, int64(g.consumers.Len()))
			addReplyBulkString(c, "pending")
			addReplyLongLong(c, int64(g.pel.Len()))
			addReplyGroupProgress(c, s, g)
		})
	case "stream":
		xinfoReplyWithStreamInfo(c, s)
	}
}

// addReplyGroupProgress replies with how far a group has come: three pairs of a map.
func addReplyGroupProgress(c *client, s *stream, g *streamCG) {
	addReplyBulkString(c, "last-delivered-id")
	addReplyStreamID(c, g.lastID)
	addReplyBulkString(c, "entries-read")
	if g.entriesRead != unknownEntriesRead {
		addReplyLongLong(c, g.entriesRead)
	} else {
		addReplyNull(c)
	}
	addReplyBulkString(c, "lag")
	if lag, ok := s.lag(g); ok {
		addReplyLongLong(c, lag)
	} else {
		addReplyNull(c)
	}
}

// xinfoReplyWithStreamInfo is XINFO STREAM.
//
//go:noinline
func xinfoReplyWithStreamInfo(c *client, s *stream) {
	defer c.srv.streams.release()
	full, count := len(c.argv) > 3, int64(10)
	switch opts := c.argv[3:]; {
	case !full:
	case len(opts) != 1 && len(opts) != 3, !equalFoldC(opts[0], "full"), len(opts) == 3 && !equalFoldC(opts[1], "count"):
		addReplySubcommandSyntaxError(c)
		return
	case len(opts) == 3:
		var ok bool
		if count, ok = intArgument(c, opts[2]); !ok {
			return
		}
		if count < 0 {
			count = 10
		}
	}
	pairs := 10
	if full {
		pairs = 9
	}
	addReplyMapLen(c, pairs)
	addReplyBulkString(c, "length")
	addReplyLongLong(c, int64(s.length))
	addReplyBulkString(c, "radix-tree-keys")
	addReplyLongLong(c, int64(s.nodes.Len()))
	addReplyBulkString(c, "radix-tree-nodes")
	addReplyLongLong(c, int64(s.nodes.Nodes()))
	addReplyBulkString(c, "last-generated-id")
	addReplyStreamID(c, s.lastID)
	addReplyBulkString(c, "max-deleted-entry-id")
	addReplyStreamID(c, s.maxDeletedID)
	addReplyBulkString(c, "entries-added")
	addReplyLongLong(c, int64(s.entriesAdded))
	addReplyBulkString(c, "recorded-first-entry-id")
	addReplyStreamID(c, s.firstID)
	if !full {
		addReplyBulkString(c, "groups")
		addReplyLongLong(c, int64(s.groups.Len()))
		addReplyBulkString(c, "first-entry")
		if !streamReplyWithEntry(c, s, streamID{}, maxStreamID, false) {
			addReplyNull(c)
		}
		addReplyBulkString(c, "last-entry")
		if !streamReplyWithEntry(c, s, streamID{}, maxStreamID, true) {
			addReplyNull(c)
		}
		return
	}
	addReplyBulkString(c, "entries")
	streamReplyWithRange(c, s, streamID{}, maxStreamID, count, false, groupRead{})
	addReplyBulkString(c, "groups")
	addReplyArrayLen(c, s.groups.Len())
	s.eachGroup(func(name []byte, g *streamCG) {
		addReplyMapLen(c, 7)
		addReplyBulkString(c, "name")
		addReplyBulk(c, name)
		addReplyGroupProgress(c, s, g)
		addReplyBulkString(c, "pel-count")
		addReplyLongLong(c, int64(g.pel.Len()))
		addReplyBulkString(c, "pending")
		addReplyDeliveries(c, g.pel, count, true)
		addReplyBulkString(c, "consumers")
		addReplyArrayLen(c, g.consumers.Len())
		g.eachConsumer(func(k *streamConsumer) {
			addReplyMapLen(c, 4)
			addReplyBulkString(c, "name")
			addReplyBulkString(c, k.name)
			addReplyBulkString(c, "seen-time")
			addReplyLongLong(c, k.seenTime)
			addReplyBulkString(c, "pel-count")
			addReplyLongLong(c, int64(k.pel.Len()))
			addReplyBulkString(c, "pending")
			addReplyDeliveries(c, k.pel, count, false)
		})
	})
}

// addReplyDeliveries replies with the first entries of pel, at most count of them
// unless that is 0: to whom if named, when and how often each was delivered.
func addReplyDeliveries(c *client, pel *rax.Tree[*streamNACK], count int64, named bool) {
	n := pel.Len()
	if count > 0 {
		n = int(min(int64(n), count))
	}
	addReplyArrayLen(c, n)
	it := &c.srv.streams.pel
	it.Reset(pel)
	for ok := it.First(); ok && n > 0; ok = it.Next() {
		nack := it.Value()
		if named {
			addReplyArrayLen(c, 4)
		} else {
			addReplyArrayLen(c, 3)
		}
		addReplyStreamID(c, streamIDOf(it.Key()))
		if named {
			addReplyBulkString(c, nack.consumer.name)
		}
		addReplyLongLong(c, nack.deliveryTime)
		addReplyLongLong(c, int64(nack.deliveryCount))
		n--
	}
}
