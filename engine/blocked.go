package engine

import (
	"container/heap"
	"math"

	"github.com/redscope/redscope/engine/internal/ae"
	"github.com/redscope/redscope/engine/internal/monotonic"
)

// A client blocks when it asks, with BLPOP or XREAD BLOCK, for something that is
// not there yet. It stands in the queue of each key it waits for. A command that
// makes such a key exist calls signalKeyAsReady, and when that command is over
// handleClientsBlockedOnKeys serves the queue in its order. So the one who has
// waited longest is served first, and nobody sees a key half done.

// blockedClients is what the server knows of them.
type blockedClients struct {
	count     int
	byType    [typeStream + 1]int // by the type of value waited for
	ready     []readyKey          // keys that clients are blocked on and that have changed
	timeouts  timeoutHeap
	timer     int64     // Unix time, ms, of the earliest timer that was asked for; 0: none
	unblocked []*client // to be read from again
}

type readyKey struct {
	db  *redisDb
	key string
}

// waiting reports whether a client waits that has a timeout.
func (b *blockedClients) waiting() bool { return len(b.timeouts) > 0 }

// blockingState is what a blocked client waits for.
type blockingState struct {
	waitsFor objectType // of the value
	keys     []string   // in db
	db       *redisDb
	until    int64 // Unix time, ms; 0: for ever
	position int   // in timeouts

	// serve is called when key may hold what is waited for. It replies and returns
	// true, or replies nothing.
	serve func(c *client, db *redisDb, key []byte) bool
	// deleted, if not nil, is likewise called when a stream is no more.
	deleted func(c *client, db *redisDb, key []byte) bool

	cmd         *command // the one that blocks
	nanoseconds int64    // that it has taken until now
}

// blockForKeys makes the client wait for a value of type t under one of the keys.
// until is a time as timeoutArgument returns it. The caller has not replied.
//
//go:noinline
func blockForKeys(c *client, t objectType, keys [][]byte, until int64, serve, deleted func(*client, *redisDb, []byte) bool) {
	s := c.srv
	b := &c.blocked
	*b = blockingState{waitsFor: t, db: c.db, until: until, serve: serve, deleted: deleted}
	if c.db.blocking == nil {
		c.db.blocking, c.db.ready = map[string][]*client{}, map[string]bool{}
	}
keys:
	for _, k := range keys {
		key := string(k)
		for _, earlier := range b.keys {
			if earlier == key {
				continue keys
			}
		}
		b.keys = append(b.keys, key)
		c.db.blocking[key] = append(c.db.blocking[key], c)
	}
	c.flags |= clientBlocked
	s.blocked.count++
	s.blocked.byType[t]++
	if until != 0 {
		heap.Push(&s.blocked.timeouts, c)
		s.blocked.setTimer(s)
	}
}

// unblockClient takes a client out of all queues; what it has sent meanwhile is
// executed when the turn is over. The reply is the caller's affair.
//
//go:noinline
func unblockClient(c *client) {
	s, b := c.srv, &c.blocked
	for _, key := range b.keys {
		queue := b.db.blocking[key]
		for i, other := range queue {
			if other == c {
				queue = append(queue[:i:i], queue[i+1:]...)
				break
			}
		}
		if len(queue) == 0 {
			delete(b.db.blocking, key)
		} else {
			b.db.blocking[key] = queue
		}
	}
	if b.until != 0 {
		heap.Remove(&s.blocked.timeouts, b.position)
	}
	s.blocked.count--
	s.blocked.byType[b.waitsFor]--
	*b = blockingState{}
	c.flags = c.flags&^clientBlocked | clientUnblocked
	s.blocked.unblocked = append(s.blocked.unblocked, c)
}

// serveBlocked has reply answer a blocked client, as the command that blocks, and
// unblocks it if it did.
func serveBlocked(c *client, reply func() bool) bool {
	s, cmd := c.srv, c.blocked.cmd
	if watching && s.turn != nil {
		s.turn.beginCommand()
	}
	errors, start, before := s.stat.errorReplies, monotonic.Ticks(), len(c.buf)
	c.cmd = cmd
	served := reply()
	if !served {
		c.cmd = nil
		return false
	}
	duration, failed := c.blocked.nanoseconds+monotonic.Nanos(monotonic.Ticks()-start), s.stat.errorReplies > errors
	cmd.count(s, duration, failed)
	if watching && s.turn != nil {
		s.turn.unblocked(c, duration, before, failed)
	}
	c.cmd = nil
	unblockClient(c)
	return true
}

// signalKeyAsReady notes that a key now holds a value of type t. Clients that
// wait for it are served when the command under way is over.
//
//go:noinline
func signalKeyAsReady(s *Server, db *redisDb, key []byte, t objectType) {
	if s.blocked.byType[t] != 0 {
		s.blocked.add(db, key)
	}
}

// signalDeletedKeyAsReady notes that a stream is no more.
//
//go:noinline
func signalDeletedKeyAsReady(s *Server, db *redisDb, key []byte) {
	signalKeyAsReady(s, db, key, typeStream)
}

// signalKeyReplaced notes that a key has got another value.
func signalKeyReplaced(s *Server, db *redisDb, key []byte, before, after objectType) {
	if before == typeStream {
		signalDeletedKeyAsReady(s, db, key)
	}
	signalKeyAsReady(s, db, key, after)
}

func (b *blockedClients) add(db *redisDb, key []byte) {
	if len(db.blocking[string(key)]) == 0 || db.ready[string(key)] {
		return
	}
	db.ready[string(key)] = true
	b.ready = append(b.ready, readyKey{db, string(key)})
}

// scanDatabaseForReadyKeys notes the keys of a database, whose contents have been
// exchanged, that clients wait for.
//
//go:noinline
func scanDatabaseForReadyKeys(s *Server, db *redisDb) {
	for key := range db.blocking {
		s.blocked.add(db, []byte(key))
	}
}

// scanDatabaseForDeletedStreams notes the streams of a database, which is about to
// be emptied, that clients wait for.
//
//go:noinline
func scanDatabaseForDeletedStreams(s *Server, db *redisDb) {
	for key := range db.blocking {
		if r := db.dict.Find([]byte(key)); r != 0 && metaType(db.dict.Meta(r)) == typeStream {
			signalDeletedKeyAsReady(s, db, []byte(key))
		}
	}
}

// handleClientsBlockedOnKeys serves the clients that wait for keys which the
// command before it, or one served here, has made ready.
//
//go:noinline
func handleClientsBlockedOnKeys(s *Server) {
	for len(s.blocked.ready) > 0 {
		ready := s.blocked.ready
		s.blocked.ready = nil
		for _, k := range ready {
			delete(k.db.ready, k.key)
			s.serveClientsBlockedOnKey(k.db, []byte(k.key))
		}
	}
}

func (s *Server) serveClientsBlockedOnKey(db *redisDb, key []byte) {
	queue := db.blocking[string(key)] // unblockClient leaves this slice as it is
	for _, c := range queue {
		if c.flags&clientBlocked == 0 || c.flags&clientCloseASAP != 0 {
			continue
		}
		// Looked up each time, for the client before may have emptied it.
		r := lookupKey(c, db, key, lookupNoStats)
		switch b := &c.blocked; {
		case r != 0 && metaType(db.dict.Meta(r)) == b.waitsFor:
			serveBlocked(c, func() bool { return b.serve(c, db, key) })
		case b.deleted != nil:
			serveBlocked(c, func() bool { return b.deleted(c, db, key) })
		}
	}
}

// processUnblockedClients executes what clients sent while they were blocked.
//
//go:noinline
func processUnblockedClients(s *Server) {
	waiting := s.blocked.unblocked
	s.blocked.unblocked = nil
	for _, c := range waiting {
		c.flags &^= clientUnblocked
		if c.flags&clientCloseASAP == 0 {
			c.resume()
		}
	}
}

// handleBlockedClientsTimeout tells the clients whose time is over.
//
//go:noinline
func handleBlockedClientsTimeout(s *Server) {
	for s.blocked.waiting() && s.blocked.timeouts[0].blocked.until <= s.loopClock.unixMs {
		c := s.blocked.timeouts[0]
		serveBlocked(c, func() bool {
			addReplyNullArray(c)
			return true
		})
	}
}

// setTimer has the loop wake up for the earliest timeout. A timer that has become
// needless fires all the same, and beforeSleep finds nothing to do.
func (b *blockedClients) setTimer(s *Server) {
	first := b.timeouts[0].blocked.until
	if b.timer != 0 && b.timer <= first {
		return
	}
	b.timer = first
	s.el.CreateTimeEvent(int(min(max(0, first-s.loopClock.unixMs), math.MaxInt32)), func(*ae.EventLoop) int {
		if s.updateCachedTime(); b.timer == first {
			b.timer = 0
			handleBlockedClientsTimeout(s)
			if b.waiting() {
				b.setTimer(s)
			}
		}
		return ae.NoMore
	})
}

// timeoutHeap has the client whose timeout is next at index 0.
type timeoutHeap []*client

func (h timeoutHeap) Len() int           { return len(h) }
func (h timeoutHeap) Less(i, j int) bool { return h[i].blocked.until < h[j].blocked.until }
func (h timeoutHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].blocked.position, h[j].blocked.position = i, j
}

func (h *timeoutHeap) Push(c any) {
	c.(*client).blocked.position = len(*h)
	*h = append(*h, c.(*client))
}

func (h *timeoutHeap) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return c
}

// timeoutArgument reads a timeout in seconds, which may have a fraction, and
// returns when it ends as Unix time in ms, 0 for never. It tells the client when
// it cannot be one (getTimeoutFromObjectOrReply).
func timeoutArgument(c *client, arg []byte) (until int64, ok bool) {
	if n, ok := parseInt64(arg); ok && 0 <= n && n <= math.MaxInt64/1000 {
		return timeoutAt(c, n*1000) // as nearly all are
	}
	var seconds longDouble
	if !seconds.parse(arg) {
		addReplyError(c, "timeout is not a float or out of range")
		return 0, false
	}
	ms, fits := seconds.ceilMilliseconds()
	if !fits {
		ms = math.MinInt64 // as C converts it
	}
	return timeoutAt(c, ms)
}

// timeoutArgumentMs is timeoutArgument for a whole number of milliseconds.
func timeoutArgumentMs(c *client, arg []byte) (until int64, ok bool) {
	ms, ok := parseInt64(arg)
	if !ok {
		addReplyError(c, "timeout is not an integer or out of range")
		return 0, false
	}
	return timeoutAt(c, ms)
}

func timeoutAt(c *client, ms int64) (until int64, ok bool) {
	now := c.srv.loopClock.unixMs
	switch {
	case ms < 0:
		addReplyError(c, "timeout is negative")
		return 0, false
	case ms == 0:
		return 0, true
	case ms > math.MaxInt64-now:
		return 0, true // nobody will see the end of it
	}
	return now + ms, true
}
