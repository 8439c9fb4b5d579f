package engine

import (
	"github.com/redscope/redscope/engine/internal/listpack"
	"github.com/redscope/redscope/engine/internal/rax"
	"github.com/redscope/redscope/engine/internal/rdb"
)

// rdbSaveStream appends a stream: its nodes as they are, what is known of its
// entries, and its groups with what each consumer has yet to acknowledge.
func rdbSaveStream(b []byte, s *stream, compress bool) []byte {
	b = rdb.AppendLen(b, uint64(s.nodes.Len()))
	var nodes rax.Iterator[[]byte]
	nodes.Reset(s.nodes)
	for ok := nodes.First(); ok; ok = nodes.Next() {
		b = rdb.AppendString(b, nodes.Key(), compress)
		b = rdb.AppendString(b, nodes.Value(), compress)
	}
	b = rdb.AppendLen(b, s.length)
	for _, id := range [...]streamID{s.lastID, s.firstID, s.maxDeletedID} {
		b = appendStreamID(b, id)
	}
	b = rdb.AppendLen(b, s.entriesAdded)
	b = rdb.AppendLen(b, uint64(s.groups.Len()))
	var groups rax.Iterator[*streamCG]
	groups.Reset(s.groups)
	for ok := groups.First(); ok; ok = groups.Next() {
		g := groups.Value()
		b = rdb.AppendString(b, groups.Key(), compress)
		b = appendStreamID(b, g.lastID)
		b = rdb.AppendLen(b, uint64(g.entriesRead))
		b = rdbSaveStreamPEL(b, g.pel, true)
		b = rdb.AppendLen(b, uint64(g.consumers.Len()))
		var consumers rax.Iterator[*streamConsumer]
		consumers.Reset(g.consumers)
		for ok := consumers.First(); ok; ok = consumers.Next() {
			k := consumers.Value()
			b = rdb.AppendString(b, consumers.Key(), compress)
			b = rdb.AppendMillis(b, k.seenTime)
			b = rdbSaveStreamPEL(b, k.pel, false)
		}
	}
	return b
}

func appendStreamID(b []byte, id streamID) []byte {
	return rdb.AppendLen(rdb.AppendLen(b, id.ms), id.seq)
}

// rdbSaveStreamPEL appends the IDs of entries that wait for being acknowledged, with
// their deliveries in the list of the group, which has all.
func rdbSaveStreamPEL(b []byte, pel *rax.Tree[*streamNACK], deliveries bool) []byte {
	b = rdb.AppendLen(b, uint64(pel.Len()))
	var it rax.Iterator[*streamNACK]
	it.Reset(pel)
	for ok := it.First(); ok; ok = it.Next() {
		b = append(b, it.Key()...)
		if deliveries {
			b = rdb.AppendMillis(b, it.Value().deliveryTime)
			b = rdb.AppendLen(b, it.Value().deliveryCount)
		}
	}
	return b
}

// loadStream reads a stream; old says that it is without first ID and counts.
func (l *rdbLoader) loadStream(old bool) (loadedValue, error) {
	s := newStream()
	if !l.streamNodes(s) {
		return loadedValue{}, errBadFormat
	}
	s.length = l.Len()
	s.lastID = l.streamID()
	if old {
		s.entriesAdded = s.length
		s.updateFirstID(new(streamIterator))
	} else {
		s.firstID = l.streamID()
		s.maxDeletedID = l.streamID()
		s.entriesAdded = l.Len()
	}
	// As in Redis, a number that is none is a very large one, save at the end.
	if l.Short || s.length != 0 && s.nodes.Len() == 0 {
		return loadedValue{}, errBadFormat
	}
	groups := l.Len()
	if groups == rdb.LenError {
		return loadedValue{}, errBadFormat
	}
	for ; groups > 0; groups-- {
		if !l.streamGroup(s, old) {
			return loadedValue{}, errBadFormat
		}
	}
	return l.object(typeStream, encodingStream, s), nil
}

func (l *rdbLoader) streamID() streamID {
	ms := l.Len()
	return streamID{ms, l.Len()}
}

func (l *rdbLoader) streamNodes(s *stream) bool {
	n := l.Len()
	if n == rdb.LenError {
		return false
	}
	for ; n > 0; n-- {
		key, ok := l.String(&l.field)
		if !ok || len(key) != len(streamKey{}) {
			return false
		}
		lp, ok := l.String(&l.value)
		if !ok {
			return false
		}
		l.countSanitization()
		if !streamValidateListpackIntegrity(lp) {
			return false
		}
		lp = append(make([]byte, 0, len(lp)), lp...)
		if !s.addNode(streamIDOf(key), lp) {
			return false
		}
	}
	return true
}

func (l *rdbLoader) streamGroup(s *stream, old bool) bool {
	name, ok := l.String(&l.field)
	if !ok {
		return false
	}
	id := l.streamID()
	read := int64(0)
	if !old {
		read = int64(l.Len())
	}
	if l.Short {
		return false
	}
	if old {
		read = streamEstimateDistanceFromFirstEverEntry(s, id)
	}
	g := s.createGroup(name, id, read)
	if g == nil {
		return false
	}
	pending := l.Len()
	if pending == rdb.LenError {
		return false
	}
	for ; pending > 0; pending-- {
		key, ok := l.Bytes(uint64(len(streamKey{})))
		if !ok {
			return false
		}
		nack := &streamNACK{deliveryTime: l.Millis(), deliveryCount: l.Len()}
		if l.Short || !g.pel.TryInsert(key, nack) {
			return false
		}
	}
	consumers := l.Len()
	if consumers == rdb.LenError {
		return false
	}
	for ; consumers > 0; consumers-- {
		if !l.streamConsumer(g) {
			return false
		}
	}
	// Redis asks for this only with sanitize-dump-payload, and ends when it comes to
	// use an entry that is nobody's.
	var it rax.Iterator[*streamNACK]
	it.Reset(g.pel)
	for ok := it.First(); ok; ok = it.Next() {
		if it.Value().consumer == nil {
			return false
		}
	}
	return true
}

func (l *rdbLoader) streamConsumer(g *streamCG) bool {
	name, ok := l.String(&l.field)
	if !ok {
		return false
	}
	k := g.createConsumer(name, 0)
	if k == nil {
		return false
	}
	k.seenTime = l.Millis()
	if l.Short {
		return false
	}
	pending := l.Len()
	if pending == rdb.LenError {
		return false
	}
	for ; pending > 0; pending-- {
		key, ok := l.Bytes(uint64(len(streamKey{})))
		if !ok {
			return false
		}
		nack, ok := g.pel.Find(key)
		if !ok || nack.consumer != nil {
			return false
		}
		nack.consumer = k
		if !k.pel.TryInsert(key, nack) {
			return false
		}
	}
	return true
}

// streamValidateListpackIntegrity reports whether a node can be walked in both
// directions: its master entry and each entry have the elements that they say. Redis
// asks for that only with sanitize-dump-payload.
//
//go:noinline
func streamValidateListpackIntegrity(lp []byte) bool {
	if !listpack.Valid(lp, false) {
		return false
	}
	w := nodeWalker{lp: lp}
	w.p, w.ok = listpack.ValidNext(lp, -1)
	entries := w.int()
	entries += w.int() // the deleted ones
	masterFields := w.int()
	w.skip(masterFields)
	if w.int() != 0 || masterFields < 0 {
		return false
	}
	for ; entries > 0 && w.ok; entries-- {
		flags := w.int()
		w.int() // the ID
		w.int()
		fields, elements := masterFields, masterFields+3
		if flags&entrySameFields == 0 {
			fields = w.int()
			w.skip(fields) // their names
			elements = 2*fields + 4
		}
		w.skip(fields)
		if w.int() != elements || fields < 0 {
			return false
		}
	}
	return entries == 0 && w.ok && w.p < 0
}

// nodeWalker walks over the elements of a listpack that is not known to be sound.
type nodeWalker struct {
	lp []byte
	p  int  // of the next element, -1 behind the last
	ok bool // what was asked for was there
}

// int passes over an element, which has to be an integer.
func (w *nodeWalker) int() int64 {
	p := w.p
	w.skip(1)
	if !w.ok {
		return 0
	}
	_, n, isInt := listpack.Get(w.lp, p)
	w.ok = isInt
	return n
}

// skip passes over n elements.
func (w *nodeWalker) skip(n int64) {
	for ; n > 0 && w.ok; n-- {
		if w.p < 0 {
			w.ok = false
			return
		}
		w.p, w.ok = listpack.ValidNext(w.lp, w.p)
	}
}
