package engine

import (
	"encoding/binary"
	"math"
	"strconv"
	"unsafe"

	"github.com/redscope/redscope/engine/internal/listpack"
	"github.com/redscope/redscope/engine/internal/rax"
	"github.com/redscope/redscope/engine/internal/resp"
)

// stream is the value of a stream key: entries in the order of their IDs, and the
// groups that consume them.
//
// Entries lie in listpacks, many to one, which are the nodes of a radix tree. A
// node's key is the ID of its first entry when it was made, the master ID. A node
// begins with the master entry, which has the fields of that first entry:
//
//	count of entries | deleted entries | number of fields | field … | 0
//
// Each entry follows, relative to it:
//
//	flags | ms - master's | seq - master's | number of fields | field | value … | elements in the entry but this
//
// An entry with the fields of the master entry (entrySameFields) leaves out the
// number and the fields. A deleted entry is only marked; with its last entry the
// node goes. The layout is Redis's, for nodes go into dumps and RDB files as they
// are.
type stream struct {
	nodes        *rax.Tree[[]byte]
	nodeBytes    int64 // that the listpacks take
	length       uint64
	lastID       streamID // of the entry added last, be it deleted or not
	firstID      streamID // of the first entry; 0-0 if there is none
	maxDeletedID streamID // the greatest that XDEL deleted
	entriesAdded uint64   // in all its life
	groups       *rax.Tree[*streamCG]
}

// streamID is the ID of an entry: a Unix time in ms and a sequence number.
type streamID struct{ ms, seq uint64 }

var maxStreamID = streamID{math.MaxUint64, math.MaxUint64}

// streamCG is a consumer group.
type streamCG struct {
	lastID      streamID               // delivered last
	entriesRead int64                  // how many of entriesAdded were delivered, or unknownEntriesRead
	pel         *rax.Tree[*streamNACK] // delivered and not acknowledged, by encoded ID
	consumers   *rax.Tree[*streamConsumer]
}

// unknownEntriesRead is SCG_INVALID_ENTRIES_READ: a group that was set to some ID
// cannot tell how many entries came before it.
const unknownEntriesRead = -1

// streamConsumer is a consumer of a group.
type streamConsumer struct {
	name     string
	seenTime int64                  // Unix time, ms, when it last asked for something
	pel      *rax.Tree[*streamNACK] // its share of the group's
}

// streamNACK is an entry that was delivered and not acknowledged. The group's and
// the consumer's list hold the same one.
type streamNACK struct {
	deliveryTime  int64 // Unix time, ms, of the last delivery
	deliveryCount uint64
	consumer      *streamConsumer
}

// The flags of an entry.
const (
	entryDeleted    = 1 << iota // STREAM_ITEM_FLAG_DELETED
	entrySameFields             // STREAM_ITEM_FLAG_SAMEFIELDS
)

// streamNodeLimit is STREAM_LISTPACK_MAX_SIZE: how long a node may become whatever
// stream-node-max-bytes says.
const streamNodeLimit = 1 << 30

func newStream() *stream { return &stream{nodes: rax.New[[]byte](), groups: rax.New[*streamCG]()} }

// before reports whether id comes before other.
func (id streamID) before(other streamID) bool {
	return id.ms < other.ms || id.ms == other.ms && id.seq < other.seq
}

// next returns the ID after id; there is none after the greatest.
func (id streamID) next() (streamID, bool) {
	if id.seq < math.MaxUint64 {
		return streamID{id.ms, id.seq + 1}, true
	}
	if id.ms < math.MaxUint64 {
		return streamID{id.ms + 1, 0}, true
	}
	return streamID{}, false
}

// prev returns the ID before id; there is none before 0-0.
func (id streamID) prev() (streamID, bool) {
	if id.seq > 0 {
		return streamID{id.ms, id.seq - 1}, true
	}
	if id.ms > 0 {
		return streamID{id.ms - 1, math.MaxUint64}, true
	}
	return maxStreamID, false
}

// streamKey is an ID as the key of a tree, big-endian, so that keys sort as IDs do.
type streamKey = [16]byte

func (id streamID) key() (k streamKey) {
	binary.BigEndian.PutUint64(k[:], id.ms)
	binary.BigEndian.PutUint64(k[8:], id.seq)
	return k
}

// streamIDOf decodes the key of a tree.
func streamIDOf(key []byte) streamID {
	return streamID{binary.BigEndian.Uint64(key), binary.BigEndian.Uint64(key[8:])}
}

// appendText appends an ID as clients see it.
func (id streamID) appendText(b []byte) []byte {
	b = append(strconv.AppendUint(b, id.ms, 10), '-')
	return strconv.AppendUint(b, id.seq, 10)
}

// maxStreamIDText is the longest text, in bytes, that may be an ID.
const maxStreamIDText = 127

// parseStreamID reads "ms" or "ms-seq". Where there is no seq, it is missing.
// "ms-*" is allowed, and told by auto, when the caller can choose a seq.
func parseStreamID(text []byte, missing uint64, mayChoose bool) (id streamID, auto, ok bool) {
	if len(text) > maxStreamIDText {
		return id, false, false
	}
	text = cString(text)
	ms, seq, dash := text, text, -1
	for i, b := range text {
		if b == '-' {
			ms, seq, dash = text[:i], text[i+1:], i
			break
		}
	}
	if id.ms, ok = string2ull(ms); !ok {
		return id, false, false
	}
	switch {
	case dash < 0:
		id.seq = missing
	case mayChoose && len(seq) == 1 && seq[0] == '*':
		auto = true
	default:
		id.seq, ok = string2ull(seq)
	}
	return id, auto, ok
}

// string2ull reads an unsigned number as Redis does: as a signed one, or else with
// C's strtoull, which allows spaces before it and a sign, and counts a negative one
// back from 2^64.
//
//go:noinline
func string2ull(text []byte) (uint64, bool) {
	if n, ok := resp.ParseInt(text); ok {
		return uint64(n), n >= 0
	}
	for len(text) > 0 && isSpace(text[0]) {
		text = text[1:]
	}
	return strtoull(text)
}

// streamIterator goes through the entries of a range that are not deleted. The zero
// value is ready for begin; it can be used again and then allocates nothing.
type streamIterator struct {
	s          *stream
	start, end streamID
	reverse    bool
	it         rax.Iterator[[]byte]
	lp         []byte // the node under way; nil: go to the one where it stands
	master     streamID
	fields     int // of the master entry
	fieldsAt   int // position of the first
	terminator int // position of the master entry's last element
	flags      int // position of the entry
	p          int // going forwards: what comes next of the entry, or behind it; backwards: the end of the entry before
	left       int // elements of the entry at value and behind
	field      int // position of the next field
	value      int // position of the next element
	same       bool
}

// begin makes next go through the entries from start to end, both
// included, or backwards from end to start.
func (si *streamIterator) begin(s *stream, start, end streamID, reverse bool) {
	si.s, si.start, si.end, si.reverse, si.lp = s, start, end, reverse, nil
	si.it.Reset(s.nodes)
	if reverse {
		key := end.key()
		si.it.Seek(rax.LessOrEqual, key[:])
		return
	}
	// The entry may be in the middle of the node before.
	key := start.key()
	if !si.it.Seek(rax.LessOrEqual, key[:]) {
		si.it.First()
	}
}

// enter makes the node where the tree's iterator stands the one under way.
func (si *streamIterator) enter() {
	lp := si.it.Value()
	si.lp, si.master = lp, streamIDOf(si.it.Key())
	p := listpack.First(lp)
	p = listpack.Next(lp, p) // deleted
	p = listpack.Next(lp, p)
	si.fields = int(listpack.Int(lp, p))
	p = listpack.Next(lp, p)
	si.fieldsAt = p
	p = skipElements(lp, p, si.fields)
	si.terminator = p
	si.left = 0
	if !si.reverse {
		si.value = listpack.Next(lp, p)
		return
	}
	si.p = listpack.Last(lp)
}

// skipElements returns the position n elements behind p.
func skipElements(lp []byte, p, n int) int {
	for ; n > 0 && p >= 0; n-- {
		p = listpack.Next(lp, p)
	}
	return p
}

// next goes to the next entry and returns its ID and its number of fields.
func (si *streamIterator) next() (id streamID, fields int, ok bool) {
	for {
		if si.lp == nil {
			if !si.it.Valid() {
				return id, 0, false
			}
			si.enter()
		} else if !si.reverse && si.left >= 0 {
			// What was not read of the entry, and its count of elements.
			si.value = skipElements(si.lp, si.value, si.left+1)
		}
		lp := si.lp
		p := si.value
		if si.reverse {
			if p = si.p; p == si.terminator {
				p = -1
			}
		}
		if p < 0 {
			si.lp = nil
			if si.reverse {
				si.it.Prev()
			} else {
				si.it.Next()
			}
			continue
		}
		if si.reverse {
			for n := listpack.Int(lp, p); n > 0; n-- {
				p = listpack.Prev(lp, p)
			}
			si.p = listpack.Prev(lp, p)
		}
		si.flags = p
		flags := listpack.Int(lp, p)
		p = listpack.Next(lp, p)
		id.ms = si.master.ms + uint64(listpack.Int(lp, p))
		p = listpack.Next(lp, p)
		id.seq = si.master.seq + uint64(listpack.Int(lp, p))
		p = listpack.Next(lp, p)
		if si.same = flags&entrySameFields != 0; si.same {
			fields = si.fields
			si.left = fields
			si.field = si.fieldsAt
		} else {
			fields = int(listpack.Int(lp, p))
			p = listpack.Next(lp, p)
			si.left = 2 * fields
		}
		si.value = p
		switch {
		case flags&entryDeleted != 0:
			// It says nothing of those behind it: after an XSETID there may be some
			// with smaller IDs.
		case si.reverse && id.before(si.start), !si.reverse && si.end.before(id):
			return id, 0, false
		case !id.before(si.start) && !si.end.before(id):
			return id, fields, true
		}
	}
}

// nextField returns the positions in lp of the next field of the entry and of its
// value.
func (si *streamIterator) nextField() (field, value int) {
	if si.same {
		field, value = si.field, si.value
		si.field = listpack.Next(si.lp, field)
		si.left--
	} else {
		field = si.value
		value = listpack.Next(si.lp, field)
		si.left -= 2
	}
	si.value = listpack.Next(si.lp, value)
	return field, value
}

// remove deletes the entry that the iterator is at, which is then nowhere.
func (si *streamIterator) remove() {
	s, lp := si.s, si.lp
	s.length--
	count := listpack.First(lp)
	live := listpack.Int(lp, count)
	if live <= 1 {
		key := streamKey(si.it.Key())
		s.removeNode(key[:])
		return
	}
	before := cap(lp)
	lp, _ = listpack.ReplaceInt(lp, si.flags, listpack.Int(lp, si.flags)|entryDeleted)
	lp = addToNodeCounts(lp, -1, 1)
	s.nodeBytes += int64(cap(lp) - before)
	si.it.SetValue(lp)
}

// addToNodeCounts changes a node's counts of entries and of deleted ones.
func addToNodeCounts(lp []byte, entries, deleted int64) []byte {
	p := listpack.First(lp)
	lp, p = listpack.ReplaceInt(lp, p, listpack.Int(lp, p)+entries)
	p = listpack.Next(lp, p)
	lp, _ = listpack.ReplaceInt(lp, p, listpack.Int(lp, p)+deleted)
	return lp
}

// removeNode removes a node, whose entries the caller accounts for.
func (s *stream) removeNode(key []byte) {
	lp, _ := s.nodes.Remove(key)
	s.nodeBytes -= int64(cap(lp))
}

// streamNodeLimits are stream-node-max-bytes and stream-node-max-entries; 0 is none.
type streamNodeLimits struct{ bytes, entries int64 }

// append adds an entry, whose ID the caller has found to be greater than lastID,
// with pairs of a field and a value that are size bytes together.
func (s *stream) append(it *rax.Iterator[[]byte], id streamID, pairs [][]byte, size int64, limits streamNodeLimits) {
	it.Reset(s.nodes)
	fields := len(pairs) / 2
	same := false
	var lp []byte
	var master streamID
	if it.Last() {
		lp, master = it.Value(), streamIDOf(it.Key())
		if limits.full(lp, size) {
			s.shrink(it)
			lp = nil
		}
	}
	before, isNew := cap(lp), lp == nil
	if isNew {
		master, same = id, true
		lp = listpack.New()
		lp = listpack.AppendInt(lp, 1)
		lp = listpack.AppendInt(lp, 0)
		lp = listpack.AppendInt(lp, int64(fields))
		for i := 0; i < len(pairs); i += 2 {
			lp = listpack.Append(lp, pairs[i])
		}
		lp = listpack.AppendInt(lp, 0)
	} else {
		lp = addToNodeCounts(lp, 1, 0)
		same = hasMasterFields(lp, pairs)
	}
	flags, elements := int64(0), int64(fields+3)
	if same {
		flags = entrySameFields
	} else {
		elements += int64(fields + 1)
	}
	lp = listpack.AppendInt(lp, flags)
	lp = listpack.AppendInt(lp, int64(id.ms-master.ms))
	lp = listpack.AppendInt(lp, int64(id.seq-master.seq))
	if same {
		for i := 1; i < len(pairs); i += 2 {
			lp = listpack.Append(lp, pairs[i])
		}
	} else {
		lp = listpack.AppendInt(lp, int64(fields))
		for _, b := range pairs {
			lp = listpack.Append(lp, b)
		}
	}
	lp = listpack.AppendInt(lp, elements)
	s.nodeBytes += int64(cap(lp) - before)
	if isNew {
		key := master.key()
		s.nodes.Insert(key[:], lp)
	} else {
		it.SetValue(lp)
	}
	s.length++
	s.entriesAdded++
	s.lastID = id
	if s.length == 1 {
		s.firstID = id
	}
}

// full reports whether the node lp takes no entry of size bytes.
func (l streamNodeLimits) full(lp []byte, size int64) bool {
	limit := l.bytes
	if limit == 0 || limit > streamNodeLimit {
		limit = streamNodeLimit
	}
	if int64(len(lp))+size >= limit {
		return true
	}
	p := listpack.First(lp)
	return l.entries != 0 && listpack.Int(lp, p)+listpack.Int(lp, listpack.Next(lp, p)) >= l.entries
}

// shrink gives back the room that the node at it had to grow.
func (s *stream) shrink(it *rax.Iterator[[]byte]) {
	lp := it.Value()
	tight := append(make([]byte, 0, len(lp)), lp...)
	s.nodeBytes += int64(cap(tight) - cap(lp))
	it.SetValue(tight)
}

// hasMasterFields reports whether pairs have the fields of the node's master entry.
func hasMasterFields(lp []byte, pairs [][]byte) bool {
	p := listpack.Next(lp, listpack.Next(lp, listpack.First(lp)))
	if listpack.Int(lp, p) != int64(len(pairs)/2) {
		return false
	}
	for i := 0; i < len(pairs); i += 2 {
		if p = listpack.Next(lp, p); !listpack.Compare(lp, p, pairs[i]) {
			return false
		}
	}
	return true
}

// nextID returns the ID of an entry that is added now (Unix time, ms): later than
// all before it, even when the clock went back. There is none after the greatest.
func (s *stream) nextID(now int64) (streamID, bool) {
	if uint64(now) > s.lastID.ms {
		return streamID{uint64(now), 0}, true
	}
	return s.lastID.next()
}

// trimming says what to remove from the beginning of a stream.
type trimming struct {
	strategy trimStrategy
	approx   bool // only whole nodes
	maxLen   int64
	minID    streamID
	limit    int64 // of entries to remove; 0 is none
}

type trimStrategy uint8

const (
	trimNone trimStrategy = iota
	trimMaxLen
	trimMinID
)

// streamTrim removes entries and returns how many.
//
//go:noinline
func streamTrim(s *stream, si *streamIterator, t *trimming) int64 {
	if t.strategy == trimNone {
		return 0
	}
	deleted := int64(0)
	it := &si.it
	it.Reset(s.nodes)
	for ok := it.First(); ok; {
		if t.strategy == trimMaxLen && s.length <= uint64(t.maxLen) {
			break
		}
		lp := it.Value()
		entries := listpack.Int(lp, listpack.First(lp))
		if t.limit != 0 && deleted+entries > t.limit {
			break
		}
		master := streamIDOf(it.Key())
		whole := false
		if t.strategy == trimMaxLen {
			whole = s.length-uint64(entries) >= uint64(t.maxLen)
		} else {
			whole = lastOfNode(lp, master).before(t.minID)
		}
		if !whole {
			if !t.approx {
				deleted += s.trimNode(it, master, t)
			}
			break
		}
		key := streamKey(it.Key())
		s.removeNode(key[:])
		s.length -= uint64(entries)
		deleted += entries
		ok = it.Seek(rax.GreaterOrEqual, key[:])
	}
	if s.length == 0 {
		s.firstID = streamID{}
	} else if deleted > 0 {
		s.updateFirstID(si)
	}
	return deleted
}

// lastOfNode returns the ID of a node's last entry, deleted or not.
func lastOfNode(lp []byte, master streamID) streamID {
	p := listpack.Last(lp)
	n := listpack.Int(lp, p)
	if n == 0 {
		return streamID{} // the master entry
	}
	for ; n > 1; n-- {
		p = listpack.Prev(lp, p)
	}
	ms := listpack.Int(lp, p)
	return streamID{master.ms + uint64(ms), master.seq + uint64(listpack.Int(lp, listpack.Next(lp, p)))}
}

// trimNode marks the first entries of the node at it as deleted.
func (s *stream) trimNode(it *rax.Iterator[[]byte], master streamID, t *trimming) int64 {
	lp := it.Value()
	before := cap(lp)
	p := listpack.Next(lp, listpack.Next(lp, listpack.First(lp)))
	masterFields := int(listpack.Int(lp, p))
	p = skipElements(lp, p, 1+masterFields+1)
	deleted := int64(0)
	for p >= 0 {
		entry, flags := p, listpack.Int(lp, p)
		p = listpack.Next(lp, p)
		id := streamID{ms: master.ms + uint64(listpack.Int(lp, p))}
		p = listpack.Next(lp, p)
		id.seq = master.seq + uint64(listpack.Int(lp, p))
		p = listpack.Next(lp, p)
		if t.strategy == trimMaxLen && s.length <= uint64(t.maxLen) || t.strategy == trimMinID && !id.before(t.minID) {
			break
		}
		n := masterFields
		if flags&entrySameFields == 0 {
			n = 1 + 2*int(listpack.Int(lp, p))
		}
		p = skipElements(lp, p, n+1)
		if flags&entryDeleted == 0 {
			// In the place of a small number there is room for another.
			lp, _ = listpack.ReplaceInt(lp, entry, flags|entryDeleted)
			deleted++
			s.length--
		}
	}
	lp = addToNodeCounts(lp, -deleted, deleted)
	s.nodeBytes += int64(cap(lp) - before)
	it.SetValue(lp)
	return deleted
}

// updateFirstID looks up what firstID is now that entries are gone.
func (s *stream) updateFirstID(si *streamIterator) {
	si.begin(s, streamID{}, maxStreamID, false)
	id, _, ok := si.next()
	if !ok {
		id = maxStreamID
	}
	s.firstID = id
}

// deleteItem deletes the entry id and reports whether there was one. The caller
// sees to firstID.
func (s *stream) deleteItem(si *streamIterator, id streamID) bool {
	si.begin(s, id, id, false)
	if _, _, ok := si.next(); !ok {
		return false
	}
	si.remove()
	return true
}

// lastValidID returns the ID of the last entry that is not deleted.
func (s *stream) lastValidID(si *streamIterator) streamID {
	si.begin(s, streamID{}, maxStreamID, true)
	id, _, ok := si.next()
	if !ok {
		return streamID{}
	}
	return id
}

// hasEntry reports whether there is an entry id.
func (s *stream) hasEntry(si *streamIterator, id streamID) bool {
	si.begin(s, id, id, false)
	_, _, ok := si.next()
	return ok
}

// hasTombstones reports whether, as far as is known, an entry from start on has
// been deleted by XDEL, and what is before it has not all gone.
func (s *stream) hasTombstones(start streamID) bool {
	return s.length != 0 && s.maxDeletedID != streamID{} && !s.maxDeletedID.before(s.firstID) && !s.maxDeletedID.before(start)
}

// streamEstimateDistanceFromFirstEverEntry returns how many entries were added up to the one with this ID, or
// unknownEntriesRead when deletions or an arbitrary ID make that impossible to tell.
//
//go:noinline
func streamEstimateDistanceFromFirstEverEntry(s *stream, id streamID) int64 {
	switch {
	case s.entriesAdded == 0:
		return 0
	case s.length == 0 && !s.lastID.before(id), id == s.lastID:
		return int64(s.entriesAdded)
	case s.lastID.before(id):
		return unknownEntriesRead
	}
	if (s.maxDeletedID == streamID{}) || s.maxDeletedID.before(s.firstID) {
		if id.before(s.firstID) {
			return int64(s.entriesAdded - s.length)
		}
		if id == s.firstID {
			return int64(s.entriesAdded - s.length + 1)
		}
	}
	return unknownEntriesRead
}

// lag returns how many entries the group has yet to read, if that is known.
func (s *stream) lag(g *streamCG) (n int64, ok bool) {
	if s.entriesAdded == 0 {
		return 0, true
	}
	read := g.entriesRead
	if read == unknownEntriesRead || s.hasTombstones(g.lastID) {
		if read = streamEstimateDistanceFromFirstEverEntry(s, g.lastID); read == unknownEntriesRead {
			return 0, false
		}
	}
	return int64(s.entriesAdded) - read, true
}

// createGroup adds a consumer group, or returns nil when there is one of the name.
func (s *stream) createGroup(name []byte, id streamID, entriesRead int64) *streamCG {
	g := &streamCG{lastID: id, entriesRead: entriesRead, pel: rax.New[*streamNACK](), consumers: rax.New[*streamConsumer]()}
	if !s.groups.TryInsert(name, g) {
		return nil
	}
	return g
}

// group returns the consumer group of this name, or nil.
func (s *stream) group(name []byte) *streamCG {
	g, _ := s.groups.Find(name)
	return g
}

// createConsumer adds a consumer that was seen now (Unix time, ms), or returns nil
// when there is one of the name.
func (g *streamCG) createConsumer(name []byte, now int64) *streamConsumer {
	k := &streamConsumer{name: string(name), seenTime: now, pel: rax.New[*streamNACK]()}
	if !g.consumers.TryInsert(name, k) {
		return nil
	}
	return k
}

// consumer returns the consumer of this name, or nil.
func (g *streamCG) consumer(name []byte) *streamConsumer {
	k, _ := g.consumers.Find(name)
	return k
}

// removeConsumer removes a consumer with everything it has not acknowledged.
func (g *streamCG) removeConsumer(k *streamConsumer) {
	var it rax.Iterator[*streamNACK]
	it.Reset(k.pel)
	for ok := it.First(); ok; ok = it.Next() {
		g.pel.Remove(it.Key())
	}
	g.consumers.Remove([]byte(k.name))
}

// removePending removes an entry from the lists of those that wait to be
// acknowledged, and reports whether it was there.
func (g *streamCG) removePending(key []byte) bool {
	nack, ok := g.pel.Remove(key)
	if ok {
		nack.consumer.pel.Remove(key)
	}
	return ok
}

// take makes k the consumer of a pending entry.
func (k *streamConsumer) take(key []byte, nack *streamNACK) {
	if nack.consumer == k {
		return
	}
	if nack.consumer != nil {
		nack.consumer.pel.Remove(key)
	}
	nack.consumer = k
	k.pel.Insert(key, nack)
}

// addPending adds an entry to the lists of those that wait to be acknowledged. It
// returns false when it is there already.
func (g *streamCG) addPending(key []byte, nack *streamNACK) bool {
	if !g.pel.TryInsert(key, nack) {
		return false
	}
	if nack.consumer != nil {
		nack.consumer.pel.Insert(key, nack)
	}
	return true
}

// addNode adds a node, whose entries the caller accounts for. It returns false when
// there is one of this master ID.
func (s *stream) addNode(master streamID, lp []byte) bool {
	key := master.key()
	if !s.nodes.TryInsert(key[:], lp) {
		return false
	}
	s.nodeBytes += int64(cap(lp))
	return true
}

func (s *stream) free() {}

func (s *stream) memory() int64 {
	const (
		group    = int64(unsafe.Sizeof(streamCG{}))
		consumer = int64(unsafe.Sizeof(streamConsumer{}))
		nack     = int64(unsafe.Sizeof(streamNACK{}))
	)
	n := int64(unsafe.Sizeof(*s)) + s.nodes.Bytes() + s.nodeBytes + s.groups.Bytes()
	s.eachGroup(func(_ []byte, g *streamCG) {
		n += group + g.consumers.Bytes() + g.pel.Bytes() + nack*int64(g.pel.Len())
		g.eachConsumer(func(k *streamConsumer) {
			n += consumer + int64(len(k.name)) + k.pel.Bytes()
		})
	})
	return n
}

// eachGroup calls f for every group, in the order of their names.
func (s *stream) eachGroup(f func(name []byte, g *streamCG)) {
	var it rax.Iterator[*streamCG]
	it.Reset(s.groups)
	for ok := it.First(); ok; ok = it.Next() {
		f(it.Key(), it.Value())
	}
}

// eachConsumer calls f for every consumer, in the order of their names.
func (g *streamCG) eachConsumer(f func(k *streamConsumer)) {
	var it rax.Iterator[*streamConsumer]
	it.Reset(g.consumers)
	for ok := it.First(); ok; ok = it.Next() {
		f(it.Value())
	}
}

// eachNode calls f for every node, in the order of their master IDs.
func (s *stream) eachNode(f func(master streamID, lp []byte)) {
	var it rax.Iterator[[]byte]
	it.Reset(s.nodes)
	for ok := it.First(); ok; ok = it.Next() {
		f(streamIDOf(it.Key()), it.Value())
	}
}

// eachPending calls f for every entry that waits to be acknowledged, in the order
// of their IDs.
func eachPending(pel *rax.Tree[*streamNACK], f func(id streamID, nack *streamNACK)) {
	var it rax.Iterator[*streamNACK]
	it.Reset(pel)
	for ok := it.First(); ok; ok = it.Next() {
		f(streamIDOf(it.Key()), it.Value())
	}
}

// dup is streamDup.
func (s *stream) dup() (heapObject, error) {
	copied := newStream()
	s.eachNode(func(master streamID, lp []byte) {
		copied.addNode(master, append(make([]byte, 0, len(lp)), lp...))
	})
	copied.length, copied.lastID, copied.firstID = s.length, s.lastID, s.firstID
	copied.maxDeletedID, copied.entriesAdded = s.maxDeletedID, s.entriesAdded
	s.eachGroup(func(name []byte, g *streamCG) {
		to := copied.createGroup(name, g.lastID, g.entriesRead)
		g.eachConsumer(func(k *streamConsumer) { to.createConsumer([]byte(k.name), k.seenTime) })
		eachPending(g.pel, func(id streamID, nack *streamNACK) {
			again := *nack
			again.consumer = to.consumer([]byte(nack.consumer.name))
			key := id.key()
			to.addPending(key[:], &again)
		})
	})
	return copied, nil
}
