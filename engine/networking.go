package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"

	"github.com/tidwall/redcon"
	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/engine/internal/resp"
	"github.com/redscope/redscope/engine/probe"
)

// client is a connected client.
type client struct {
	connection
	srv *Server
	id  uint64
	db  *redisDb

	// The command under way. The arguments are views into the query buffer: they
	// hold until the command returns, and who keeps one copies it.
	argv         [][]byte
	argHash      uint64 // of argv[1]; see hash
	cmd, lastcmd *command

	// query holds the bytes that have been read and not yet understood, from pos
	// on. While one read is processed it may be the server's shared buffer.
	query  []byte
	pos    int
	reader resp.Reader
	// spare is the empty buffer of an earlier command that did not come in whole.
	// A client that sends one mostly sends another; clientsCron takes it away.
	spare []byte
	peak  int // most bytes that spare was used for since clientsCron looked

	// buf holds the reply, of which sent bytes have gone to the socket.
	buf       []byte
	sent      int
	queued    bool // in clients.pendingWrite
	replyNeed int  // bytes of the last reply

	flags         clientFlags
	resp          int // protocol version, 2 or 3
	authenticated bool
	name          []byte
	peer, local   string
	created       int64 // Unix time, ms
	lastActive    int64 // Unix time, ms
	softLimited   int64 // Unix time, s, since when the reply is above the soft limit; 0 if not
	index         int   // in clients.list

	blocked blockingState // while clientBlocked is set

	batch   int // commands executed since the last read
	trace   clientTrace
	records clientRecords
}

type clientFlags uint32

const (
	clientCloseAfterReply clientFlags = 1 << iota // close once the reply is written
	clientCloseASAP                               // in clients.toClose
	clientReplyOff                                // CLIENT REPLY OFF
	clientReplySkipNext                           // CLIENT REPLY SKIP: the next command's
	clientReplySkip                               // this command's reply is not sent
	clientNoEvict                                 // CLIENT NO-EVICT ON
	clientUnixSocket                              // connected through a unix socket
	clientPostponed                               // in clients.postponed: waits for the end of CLIENT PAUSE
	clientBlocked                                 // waits for a key: blocked says which
	clientUnblocked                               // in Server.blocked.unblocked: what it sent meanwhile waits
)

// clients holds all clients and the queues of those with something to do.
type clients struct {
	nextID       uint64
	byID         map[uint64]*client
	list         []*client // in no order
	pendingWrite []*client
	toClose      []*client
	postponed    []*client // held up by CLIENT PAUSE
	checked      int       // clientsCron goes on here

	// input is what sockets are read into. A client whose command has come in
	// whole needs no buffer of its own.
	input []byte
	// spare are reply buffers of replySize bytes that no client needs now, large
	// are bigger ones, of largeBytes together. largeUnused of them have not been
	// needed since trimLarge was last called.
	spare       [][]byte
	large       [][]byte
	largeBytes  int
	largeUnused int
}

const (
	// inputSize is the most that is read from one client before the next has its
	// turn. Redis reads 16 KiB; four times that halves the system calls of deep
	// pipelines and still takes well below a millisecond to execute.
	inputSize = 64 * 1024
	// replySize is PROTO_REPLY_CHUNK_BYTES: a reply buffer's first size.
	replySize = 16 * 1024
	// maxLarge bounds the bytes of a reply buffer that is kept, and maxLargeBytes
	// those of all of them.
	maxLarge      = 1 << 20
	maxLargeBytes = 16 << 20
	// maxWritesPerEvent is NET_MAX_WRITES_PER_EVENT: after this many bytes the
	// other clients have their turn.
	maxWritesPerEvent = 64 * 1024
	// spareKept is how long an idle client keeps a query buffer, in ms, as in
	// clientsCronResizeQueryBuffer.
	spareKept = 2000
	// keptArgs bounds the argument slice that is kept between reads.
	keptArgs = 1024
)

func (cs *clients) init() {
	cs.nextID = 1
	cs.byID = make(map[uint64]*client)
	cs.input = make([]byte, inputSize)
}

func (cs *clients) all() []*client { return append([]*client(nil), cs.list...) }

// createClient makes a client of a connected, non-blocking socket.
//
//go:noinline
func createClient(s *Server, fd int, peer unix.Sockaddr, isUnix bool) (*client, error) {
	c := &client{
		connection: connection{fd: fd},
		srv:        s,
		id:         s.clients.nextID,
		db:         s.db[0],
		resp:       2,
		created:    s.loopClock.unixMs,
		lastActive: s.loopClock.unixMs,
		peer:       sockaddrString(peer),
	}
	c.client = c
	c.local = localAddress(fd, s.config.UnixSocket, isUnix)
	if isUnix {
		c.flags |= clientUnixSocket
		c.peer = c.local
	}
	c.authenticated = s.config.RequirePass == ""
	if err := c.setReadHandler(s.el, readQueryFromClient); err != nil {
		return nil, err
	}
	s.clients.nextID++
	s.clients.byID[c.id] = c
	c.index = len(s.clients.list)
	s.clients.list = append(s.clients.list, c)
	return c, nil
}

// freeClient disconnects a client at once. It must not be called while a
// command of that client is under way: that is what freeClientAsync is for.
//
//go:noinline
func freeClient(c *client) {
	cs := &c.srv.clients
	if cs.byID[c.id] != c {
		return
	}
	delete(cs.byID, c.id)
	last := cs.list[len(cs.list)-1]
	cs.list[c.index], last.index = last, c.index
	cs.list[len(cs.list)-1] = nil
	cs.list = cs.list[:len(cs.list)-1]
	c.flags |= clientCloseASAP
	c.close(c.srv.el)
	if c.flags&clientPostponed != 0 {
		cs.postponed = slices.DeleteFunc(cs.postponed, func(p *client) bool { return p == c })
	}
	if c.flags&clientBlocked != 0 {
		unblockClient(c)
	}
	if c.flags&clientUnblocked != 0 {
		c.srv.blocked.unblocked = slices.DeleteFunc(c.srv.blocked.unblocked, func(p *client) bool { return p == c })
	}
	cs.giveBack(c)
	c.query, c.pos, c.argv = nil, 0, nil
}

// freeClientAsync disconnects a client when the turn is over.
//
//go:noinline
func freeClientAsync(c *client) {
	if c.flags&clientCloseASAP != 0 {
		return
	}
	c.flags |= clientCloseASAP
	c.srv.clients.toClose = append(c.srv.clients.toClose, c)
}

//go:noinline
func freeClientsInAsyncFreeQueue(s *Server) {
	for _, c := range s.clients.toClose {
		freeClient(c)
	}
	clear(s.clients.toClose)
	s.clients.toClose = s.clients.toClose[:0]
}

// mustAuthenticate reports whether the client has yet to give the password.
func (c *client) mustAuthenticate() bool {
	return !c.authenticated && c.srv.config.RequirePass != ""
}

// readQueryFromClient reads what the client's socket has and executes the
// commands in it.
//
//go:noinline
func readQueryFromClient(conn *connection) {
	c := conn.client
	s := c.srv
	c.trace.beginRead(c)
	if watching && s.turn != nil {
		s.turn.readStart = s.turn.now()
	}
	var room []byte
	shared := len(c.query) == 0 && cap(c.spare) < inputSize
	if shared {
		room = s.clients.input
	} else {
		if len(c.query) == 0 {
			c.query, c.pos, c.spare = c.spare, 0, nil
		}
		want := c.growQuery()
		room = c.query[len(c.query):min(cap(c.query), len(c.query)+max(want, inputSize))]
	}
	n, errno := readSocket(c.fd, room)
	if n <= 0 || errno != 0 {
		c.trace.sampled = false
		switch errno {
		case unix.EAGAIN, unix.EINTR:
			return
		case 0:
			s.log.verbose("Client closed connection id=%d addr=%s", c.id, c.peer)
		default:
			s.log.verbose("Reading from client: %s", errno.Error())
		}
		freeClientAsync(c)
		return
	}
	c.trace.readDone(c, n)
	if watching && s.turn != nil {
		s.turn.readEnd = s.turn.now()
	}
	if watching && probe.SocketReadEnabled() {
		probe.SocketRead(c.id, c.fd, n)
	}
	s.stat.readEvents++
	s.stat.netInput += int64(n)
	c.lastActive = s.loopClock.unixMs
	if shared {
		c.query, c.pos = room[:n], 0
	} else {
		c.query = c.query[:len(c.query)+n]
	}
	size := int64(len(c.query))
	s.stat.maxInput = max(s.stat.maxInput, size)
	if size > s.config.QueryBufferLimit {
		s.log.warning("Closing client that reached max query buffer length: id=%d addr=%s (qbuf initial bytes: %q)", c.id, c.peer, c.query[:min(64, len(c.query))])
		s.stat.queryBufferClosed++
		c.query = nil
		freeClientAsync(c)
		c.trace.endRead(c)
		return
	}
	processInputBuffer(c)
	c.keepQuery(shared)
	c.trace.endRead(c)
}

// growQuery makes room behind an unfinished command: for the whole argument
// under way when its length is known, so that a big one is copied only once. It
// returns how many bytes are wanted at least.
func (c *client) growQuery() (want int) {
	want = max(c.reader.Missing(c.query[c.pos:]), replySize)
	if c.pos > 0 {
		c.query = append(c.query[:0], c.query[c.pos:]...)
		c.pos = 0
	}
	if cap(c.query)-len(c.query) < want {
		// Twice as much, or many small arguments would be copied once per read.
		c.query = append(make([]byte, 0, max(len(c.query)+want, 2*len(c.query))), c.query...)
	}
	return want
}

// keepQuery saves the bytes of an unfinished command for the next read.
func (c *client) keepQuery(shared bool) {
	switch rest := c.query[c.pos:]; {
	case len(rest) == 0:
		if !shared {
			c.peak = max(c.peak, len(c.query))
			c.spare = c.query[:0]
			c.srv.batch.forget()
		}
		c.query, c.pos = nil, 0
	case shared:
		if cap(c.spare) < len(rest) {
			c.spare = make([]byte, 0, max(replySize, len(rest)))
		}
		c.query, c.pos, c.spare = append(c.spare, rest...), 0, nil
	}
}

// processInputBuffer executes the whole commands in the client's query buffer.
//
//go:noinline
func processInputBuffer(c *client) {
	batch := &c.srv.batch
	c.batch = 0
read:
	for c.pos < len(c.query) && c.flags&(clientCloseAfterReply|clientCloseASAP|clientPostponed|clientBlocked|clientUnblocked) == 0 {
		limit := batchSize
		if watching && c.trace.sampled {
			limit = 1 // so that parsing and executing can be told apart
			c.trace.beginParse()
		}
		batch.parse(c, limit)
		if watching && c.srv.turn != nil {
			c.srv.turn.parsed = c.srv.turn.now()
		}
		if len(batch.ready) > 1 {
			batch.prefetchEntries(c.db.dict)
		}
		for i := range batch.ready {
			p := &batch.ready[i]
			c.argv, c.argHash = batch.args[p.first:p.end:p.end], p.hash
			c.pos += p.size
			goOn := processCommandAndResetClient(c)
			if c.flags&clientPostponed != 0 {
				// This command and those behind it will be read again.
				c.pos -= p.size
				c.reader = resp.Reader{}
				break read
			}
			c.batch++
			if c.flags&clientBlocked != 0 {
				c.reader = resp.Reader{} // what is behind will be read again
				break read
			}
			if !goOn {
				break read
			}
		}
		c.pos += batch.empty
		if batch.err != nil {
			setProtocolError(c, batch.err)
			break
		}
		if batch.short {
			break
		}
	}
	// A client that wanted no replies waits for none.
	if c.flags&clientCloseAfterReply != 0 && !c.hasReply() {
		freeClientAsync(c)
	}
}

// setProtocolError answers a client that does not speak the protocol and closes
// the connection behind the answer.
func setProtocolError(c *client, err error) {
	c.srv.log.verbose("%v from client: id=%d addr=%s. Query buffer: %q", err, c.id, c.peer, c.query[c.pos:min(len(c.query), c.pos+128)])
	addReplyErrorFormat(c, "%s", err)
	c.flags |= clientCloseAfterReply
	c.pos = len(c.query)
}

// processCommandAndResetClient executes the client's command and makes the
// client ready for the next. It returns false when the client is not to be read
// from any more.
//
//go:noinline
func processCommandAndResetClient(c *client) bool {
	c.trace.beginCommand(c)
	goOn := processCommand(c) && c.flags&clientCloseAfterReply == 0
	if c.flags&clientPostponed != 0 {
		c.cmd, c.argv = nil, nil // it will come again, and CLIENT REPLY SKIP is for it
		return false
	}
	c.trace.endCommand(c)
	if len(c.buf) > replySize {
		c.checkOutputLimit()
	}
	resetClient(c)
	return goOn
}

func resetClient(c *client) {
	c.cmd, c.argv = nil, nil
	if c.flags&(clientReplySkip|clientReplySkipNext) != 0 {
		c.flags &^= clientReplySkip
		if c.flags&clientReplySkipNext != 0 {
			c.flags = c.flags&^clientReplySkipNext | clientReplySkip
		}
	}
}

// handleClientsWithPendingWrites writes the replies of this turn; a client that
// cannot take all of its reply now gets a write handler.
//
//go:noinline
func handleClientsWithPendingWrites(s *Server) {
	pending := s.clients.pendingWrite
	if len(pending) == 0 {
		return
	}
	for i, c := range pending {
		pending[i] = nil
		c.queued = false
		if c.flags&clientCloseASAP != 0 {
			continue
		}
		if writeToClient(c) && c.hasReply() {
			if err := c.setWriteHandler(s.el, sendReplyToClient); err != nil {
				freeClientAsync(c)
			}
		}
	}
	s.clients.pendingWrite = pending[:0]
}

//go:noinline
func sendReplyToClient(conn *connection) { writeToClient(conn.client) }

func (c *client) hasReply() bool { return c.sent < len(c.buf) }

// writeToClient writes what the socket takes of the client's reply, and returns
// false when the client is gone.
//
//go:noinline
func writeToClient(c *client) bool {
	s := c.srv
	if watching && s.turn != nil {
		s.turn.writeStart = s.turn.now()
	}
	total := 0
	for c.hasReply() && total < maxWritesPerEvent {
		c.trace.beginWrite()
		n, errno := writeSocket(c.fd, c.buf[c.sent:])
		c.trace.endWrite(c, n, errno != 0)
		if errno != 0 {
			if errno == unix.EAGAIN || errno == unix.EINTR {
				break
			}
			s.log.verbose("Error writing to client: %s", errno.Error())
			freeClientAsync(c)
			return false
		}
		if watching && probe.ReplyWrittenEnabled() {
			probe.ReplyWritten(c.id, c.fd, n)
		}
		c.sent += n
		total += n
		s.stat.writeEvents++
	}
	s.stat.netOutput += int64(total)
	if total > 0 {
		c.lastActive = s.loopClock.unixMs
	}
	// A client that always has more to come would keep what it has had.
	if c.sent >= maxWritesPerEvent && c.sent > len(c.buf)/2 {
		c.buf = append(c.buf[:0], c.buf[c.sent:]...)
		c.sent = 0
	}
	if !c.hasReply() {
		if watching && s.turn != nil {
			s.turn.written(c)
		}
		s.clients.giveBack(c)
		c.softLimited = 0
		if c.writeHandler != nil {
			c.setWriteHandler(s.el, nil)
		}
		if c.flags&clientCloseAfterReply != 0 {
			freeClientAsync(c)
			return false
		}
	}
	return true
}

// takeBuffer gives a client a reply buffer, of the size that its last reply needed:
// who asks for a hundred elements will mostly do so again.
func (cs *clients) takeBuffer(c *client) {
	if c.replyNeed > replySize {
		if last := len(cs.large) - 1; last >= 0 {
			c.buf, cs.large[last] = cs.large[last], nil
			cs.large = cs.large[:last]
			cs.largeBytes -= cap(c.buf)
			cs.largeUnused = min(cs.largeUnused, last)
		} else {
			c.buf = make([]byte, 0, min(2*c.replyNeed, maxLarge))
		}
		return
	}
	if n := len(cs.spare); n > 0 {
		c.buf = cs.spare[n-1]
		cs.spare = cs.spare[:n-1]
		return
	}
	c.buf = make([]byte, 0, replySize)
}

// giveBack takes a client's reply buffer away. One that is out of proportion is
// left to the collector.
func (cs *clients) giveBack(c *client) {
	size := cap(c.buf)
	switch {
	case size == replySize && len(cs.spare) < 1024:
		cs.spare = append(cs.spare, c.buf[:0])
	case size > replySize && size <= maxLarge && cs.largeBytes+size <= maxLargeBytes:
		cs.large = append(cs.large, c.buf[:0])
		cs.largeBytes += size
	}
	c.replyNeed = len(c.buf)
	c.buf, c.sent = nil, 0
}

// trimLarge lets go of the large buffers that were not needed since it was last
// called.
func (cs *clients) trimLarge() {
	for _, b := range cs.large[:cs.largeUnused] {
		cs.largeBytes -= cap(b)
	}
	cs.large = slices.Delete(cs.large, 0, cs.largeUnused)
	cs.largeUnused = len(cs.large)
}

// prepareClientToWrite must come before anything is appended to c.buf. It
// returns false when the client gets no reply.
func (c *client) prepareClientToWrite() bool {
	if c.queued && c.flags&(clientReplyOff|clientReplySkip|clientCloseASAP) == 0 {
		return true
	}
	return c.queueWrite()
}

func (c *client) queueWrite() bool {
	if c.flags&(clientReplyOff|clientReplySkip|clientCloseASAP) != 0 {
		return false
	}
	cs := &c.srv.clients
	if c.buf == nil {
		cs.takeBuffer(c)
	}
	// A client with a write handler is served by the loop.
	if c.writeHandler == nil {
		c.queued = true
		cs.pendingWrite = append(cs.pendingWrite, c)
	}
	return true
}

// checkOutputLimit closes a client whose reply has outgrown
// client-output-buffer-limit. It is asked after each command.
func (c *client) checkOutputLimit() {
	size := int64(len(c.buf) - c.sent)
	s := c.srv
	if size > s.stat.maxOutput {
		s.stat.maxOutput = size
	}
	limit := &s.config.OutputBufferLimits[outputNormal]
	over := limit.Hard > 0 && size >= limit.Hard
	if limit.Soft > 0 && size >= limit.Soft {
		now := s.loopClock.unixMs / 1000
		if c.softLimited == 0 {
			c.softLimited = now
		}
		over = over || now-c.softLimited > limit.SoftSeconds
	} else {
		c.softLimited = 0
	}
	if over {
		s.log.warning("Client id=%d addr=%s closed for overcoming of output buffer limits.", c.id, c.peer)
		s.stat.outputBufferClosed++
		freeClientAsync(c)
	}
}

// checkLongReply is for a command that writes as much as a client cares to ask for:
// false when the client has had enough.
func (c *client) checkLongReply() bool {
	if len(c.buf) > replySize {
		c.checkOutputLimit()
	}
	return c.flags&clientCloseASAP == 0
}

// The replies. They are written with redcon's codec.

// addReply appends bytes that are a reply already.
func addReply(c *client, raw []byte) {
	if c.prepareClientToWrite() {
		c.buf = append(c.buf, raw...)
	}
}

func addReplyStatus(c *client, status string) {
	if c.prepareClientToWrite() {
		c.buf = redcon.AppendString(c.buf, status)
	}
}

func addReplyBulk(c *client, b []byte) {
	if c.prepareClientToWrite() {
		c.buf = appendBulk(c.buf, b)
	}
}

// appendBulk is redcon's AppendBulk, faster for what has less than a hundred bytes.
func appendBulk(b, s []byte) []byte {
	switch n := len(s); {
	case n < 10:
		b = append(b, '$', byte('0'+n), '\r', '\n')
	case n < 100:
		b = append(b, '$', byte('0'+n/10), byte('0'+n%10), '\r', '\n')
	default:
		return redcon.AppendBulk(b, s)
	}
	return append(append(b, s...), '\r', '\n')
}

func addReplyBulkString(c *client, s string) {
	if c.prepareClientToWrite() {
		c.buf = redcon.AppendBulkString(c.buf, s)
	}
}

func addReplyBulkLongLong(c *client, n int64) {
	if c.prepareClientToWrite() {
		c.buf = appendBulkInt(c.buf, n)
	}
}

// appendBulkInt appends an integer as a bulk; redcon's codec allocates for it.
func appendBulkInt(b []byte, n int64) []byte {
	if uint64(n) >= 1e8 {
		var digits [20]byte
		return appendBulk(b, strconv.AppendInt(digits[:0], n, 10))
	}
	digits, length := decimal(uint32(n))
	at := len(b)
	b = append(b, "$0\r\n12345678\r\n"...)
	b[at+1] += byte(length)
	binary.LittleEndian.PutUint64(b[at+4:], digits)
	b[at+4+length], b[at+5+length] = '\r', '\n'
	return b[:at+6+length]
}

// appendInt is redcon's AppendInt, faster for what has up to eight digits.
func appendInt(b []byte, n int64) []byte {
	if uint64(n) >= 1e8 {
		return redcon.AppendInt(b, n)
	}
	digits, length := decimal(uint32(n))
	at := len(b)
	b = append(b, ":12345678\r\n"...)
	binary.LittleEndian.PutUint64(b[at+1:], digits)
	b[at+1+length], b[at+2+length] = '\r', '\n'
	return b[:at+3+length]
}

// decimal returns the digits of a number below 1e8, the first one in the lowest byte,
// and how many there are. It divides by 10,000, then both parts at once by 100, then
// all four by 10.
func decimal(n uint32) (digits uint64, length int) {
	x := uint64(n/1e4) | uint64(n%1e4)<<32
	q := x * 5243 >> 19 & 0x0000007f_0000007f // a hundredth
	x = q | (x-100*q)<<16
	q = x * 103 >> 10 & 0x000f_000f_000f_000f // a tenth
	x = q | (x-10*q)<<8
	zeros := bits.TrailingZeros64(x|1<<56) / 8
	return (x | 0x3030303030303030) >> (8 * zeros), 8 - zeros
}

func addReplyLongLong(c *client, n int64) {
	switch {
	case n == 0:
		addReply(c, shared.czero)
	case n == 1:
		addReply(c, shared.cone)
	default:
		if c.prepareClientToWrite() {
			c.buf = appendInt(c.buf, n)
		}
	}
}

func addReplyArrayLen(c *client, n int) {
	if c.prepareClientToWrite() {
		c.buf = redcon.AppendArray(c.buf, n)
	}
}

// appendHeader writes a RESP3 header; redcon's codec knows RESP2 only.
func (c *client) appendHeader(kind byte, n int) {
	if c.prepareClientToWrite() {
		c.buf = append(strconv.AppendInt(append(c.buf, kind), int64(n), 10), '\r', '\n')
	}
}

// addReplyMapLen announces n pairs of a key and a value.
func addReplyMapLen(c *client, n int) {
	if c.resp == 2 {
		addReplyArrayLen(c, 2*n)
		return
	}
	c.appendHeader('%', n)
}

// addReplyDeferredLen begins an aggregate whose length is not known yet, and
// returns what setDeferredArrayLen wants to know.
func addReplyDeferredLen(c *client) int {
	c.prepareClientToWrite()
	return len(c.buf)
}

// setDeferredArrayLen announces n items before what was written since
// addReplyDeferredLen.
func setDeferredArrayLen(c *client, mark, n int) {
	var head [24]byte
	setDeferredReply(c, mark, redcon.AppendArray(head[:0], n))
}

// setDeferredMapLen is setDeferredArrayLen for a map of n pairs.
func setDeferredMapLen(c *client, mark, n int) {
	if c.resp == 2 {
		setDeferredArrayLen(c, mark, 2*n)
		return
	}
	setDeferredHeader(c, mark, '%', n)
}

// setDeferredSetLen is setDeferredArrayLen for a set.
func setDeferredSetLen(c *client, mark, n int) {
	if c.resp == 2 {
		setDeferredArrayLen(c, mark, n)
		return
	}
	setDeferredHeader(c, mark, '~', n)
}

func setDeferredHeader(c *client, mark int, kind byte, n int) {
	var head [24]byte
	setDeferredReply(c, mark, append(strconv.AppendInt(append(head[:0], kind), int64(n), 10), '\r', '\n'))
}

// setDeferredReply puts head before what was written since addReplyDeferredLen.
// It moves that, which costs less than a list of buffers would in every write.
func setDeferredReply(c *client, mark int, head []byte) {
	if c.prepareClientToWrite() {
		c.buf = slices.Insert(c.buf, mark, head...)
	}
}

func addReplySetLen(c *client, n int) {
	if c.resp == 2 {
		addReplyArrayLen(c, n)
		return
	}
	c.appendHeader('~', n)
}

func addReplyNull(c *client) {
	if c.resp == 2 {
		addReply(c, shared.nullBulk)
		return
	}
	addReply(c, shared.null)
}

// emptySetReply is a set without members.
func emptySetReply(c *client) []byte {
	if c.resp == 2 {
		return shared.emptyArray
	}
	return shared.emptySet
}

// addReplyNullArray is what RESP2 has for an array that does not exist.
func addReplyNullArray(c *client) {
	if c.resp == 2 {
		addReply(c, shared.nullArray)
		return
	}
	addReply(c, shared.null)
}

// addReplyDouble writes a number as C's "%.17g" does: a bulk in RESP2.
func addReplyDouble(c *client, d float64) {
	var digits [32]byte
	addReplyDoubleText(c, appendDouble(digits[:0], d))
}

func addReplyDoubleText(c *client, text []byte) {
	if c.resp == 2 {
		addReplyBulk(c, text)
		return
	}
	if c.prepareClientToWrite() {
		c.buf = append(append(append(c.buf, ','), text...), '\r', '\n')
	}
}

// appendDouble appends a number as C's "%.17g" prints it.
func appendDouble(b []byte, d float64) []byte {
	switch {
	case d == float64(int64(d)) && -1e15 < d && d < 1e15 && (d != 0 || !math.Signbit(d)):
		return strconv.AppendInt(b, int64(d), 10)
	case math.IsInf(d, 0):
		if d < 0 {
			b = append(b, '-')
		}
		return append(b, "inf"...)
	case d != d:
		return append(b, "nan"...)
	}
	return strconv.AppendFloat(b, d, 'g', 17, 64)
}

// addReplyVerbatim writes a text with its three-letter format, a plain bulk in
// RESP2.
func addReplyVerbatim(c *client, text, format string) {
	if c.resp == 2 {
		addReplyBulkString(c, text)
		return
	}
	c.appendHeader('=', len(text)+4)
	if c.prepareClientToWrite() {
		c.buf = append(append(append(append(append(c.buf, format...), ':'), text...), '\r'), '\n')
	}
}

// addReplyError appends an error. One that does not begin with "-CODE " gets
// the code ERR.
func addReplyError(c *client, text string) {
	if len(text) == 0 || text[0] != '-' {
		text = "-ERR " + text
	}
	addReplyErrorObject(c, []byte(text+"\r\n"))
}

func addReplyErrorFormat(c *client, format string, args ...any) {
	// An error is one line, whatever the client made us quote.
	text := bytes.Trim(fmt.Appendf(nil, format, args...), "\r\n")
	for i, b := range text {
		if b == '\r' || b == '\n' {
			text[i] = ' '
		}
	}
	addReplyError(c, string(text))
}

// addReplyErrorObject appends an error reply that is one already, as those of
// shared, and counts it by its code.
func addReplyErrorObject(c *client, reply []byte) {
	s := c.srv
	s.stat.errorReplies++
	code := reply[1:]
	if i := bytes.IndexAny(code, " \r"); i >= 0 {
		code = code[:i]
	}
	// As in Redis, hostile codes cannot fill the memory: there are no more
	// different ones than the server itself knows.
	if n, ok := s.stat.errors[string(code)]; ok || len(s.stat.errors) < maxErrorCodes {
		s.stat.errors[string(code)] = n + 1
	}
	c.trace.noteError(code)
	if watching && s.turn != nil {
		s.turn.noteError(code)
	}
	addReply(c, reply)
}

// maxErrorCodes bounds the codes that INFO errorstats tells apart.
const maxErrorCodes = 128

func addReplyErrorArity(c *client) {
	addReplyErrorFormat(c, "wrong number of arguments for '%s' command", c.cmd.fullName)
}

// addReplySubcommandSyntaxError is for a container command whose subcommand
// has the wrong arguments or does not exist.
func addReplySubcommandSyntaxError(c *client) {
	addReplyErrorFormat(c, "unknown subcommand or wrong number of arguments for '%.128s'. Try %s HELP.", c.argv[1], upper(c.argv[0]))
}

// addReplyHelp answers HELP of a container command: lines of which each
// subcommand's are followed by an indented explanation.
func addReplyHelp(c *client, lines []string) {
	addReplyArrayLen(c, len(lines)+3)
	addReplyStatus(c, upper(c.argv[0])+" <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
	for _, l := range lines {
		addReplyStatus(c, l)
	}
	addReplyStatus(c, "HELP")
	addReplyStatus(c, "    Prints this help.")
}

func upper(b []byte) string { return string(bytes.ToUpper(b)) }

// shared holds the replies that are always the same.
var shared = struct {
	ok, pong, emptyBulk, czero, cone, nullBulk, nullArray, null []byte
	emptyArray, emptyMap, emptySet, emptyScan                   []byte

	syntaxerr, nokeyerr, wrongtypeerr, noautherr, sameobjecterr []byte
	noautherrHello, wrongpasserr, noprotoerr                    []byte
	notinterr, notfloaterr, overflowerr, oomerr, busykeyerr     []byte
	outofrangeerr                                               []byte
}{
	ok:         []byte("+OK\r\n"),
	pong:       []byte("+PONG\r\n"),
	emptyBulk:  []byte("$0\r\n\r\n"),
	czero:      []byte(":0\r\n"),
	cone:       []byte(":1\r\n"),
	nullBulk:   []byte("$-1\r\n"),
	nullArray:  []byte("*-1\r\n"),
	null:       []byte("_\r\n"),
	emptyArray: []byte("*0\r\n"),
	emptyMap:   []byte("%0\r\n"),
	emptySet:   []byte("~0\r\n"),
	emptyScan:  []byte("*2\r\n$1\r\n0\r\n*0\r\n"),

	syntaxerr:      []byte("-ERR syntax error\r\n"),
	nokeyerr:       []byte("-ERR no such key\r\n"),
	wrongtypeerr:   []byte("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
	noautherr:      []byte("-NOAUTH Authentication required.\r\n"),
	noautherrHello: []byte("-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time\r\n"),
	wrongpasserr:   []byte("-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
	noprotoerr:     []byte("-NOPROTO unsupported protocol version\r\n"),
	sameobjecterr:  []byte("-ERR source and destination objects are the same\r\n"),
	notinterr:      []byte("-ERR value is not an integer or out of range\r\n"),
	notfloaterr:    []byte("-ERR value is not a valid float\r\n"),
	overflowerr:    []byte("-ERR increment or decrement would overflow\r\n"),
	busykeyerr:     []byte("-BUSYKEY Target key name already exists.\r\n"),
	outofrangeerr:  []byte("-ERR index out of range\r\n"),
	oomerr:         []byte("-OOM command not allowed when used memory > 'maxmemory'.\r\n"),
}

// rejectCommand answers a command that a check refused.
func rejectCommand(c *client, reply []byte) {
	if c.cmd != nil {
		c.cmd.rejectedCalls++
	}
	addReplyErrorObject(c, reply)
}

func rejectCommandFormat(c *client, format string, args ...any) {
	if c.cmd != nil {
		c.cmd.rejectedCalls++
	}
	addReplyErrorFormat(c, format, args...)
}

func rejectArity(c *client) {
	rejectCommandFormat(c, "wrong number of arguments for '%s' command", c.cmd.fullName)
}

func rejectDebug(c *client) {
	rejectCommandFormat(c, "DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.")
}

func rejectNoAuth(c *client) { rejectCommand(c, shared.noautherr) }

// rejectUnknown answers a command, or a subcommand, that does not exist.
func rejectUnknown(c *client) {
	if container := c.srv.lookupCommand(c.argv[0]); container != nil {
		c.cmd = nil
		name := cString(c.argv[1])
		rejectCommandFormat(c, "unknown subcommand '%s'. Try %s HELP.", name[:min(len(name), 128)], upper(c.argv[0]))
		return
	}
	var args []byte
	for _, a := range c.argv[1:] {
		if len(args) >= 128 {
			break
		}
		a = cString(a)
		args = append(args, '\'')
		args = append(args, a[:min(len(a), 128-len(args)+1)]...)
		args = append(args, "' "...)
	}
	name := cString(c.argv[0])
	rejectCommandFormat(c, "unknown command '%s', with args beginning with: %s", name[:min(len(name), 128)], args)
}

// isSecurityTrap recognises a web browser that was made to send its request
// here (cross-protocol scripting).
func isSecurityTrap(name []byte) bool {
	return equalFoldASCII(name, "host:") || equalFoldASCII(name, "post")
}

func securityWarningCommand(c *client) {
	s := c.srv
	// Once a minute: whoever attacks must not fill the disk with this.
	if s.loopClock.unixMs-s.attackLogged > 60_000 {
		s.attackLogged = s.loopClock.unixMs
		s.log.warning("Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Redis. This is likely due to an attacker attempting to use Cross Protocol Scripting to compromise your Redis instance. Connection from %s aborted.", c.peer)
	}
	freeClientAsync(c)
}

// clientsCron looks at so many clients that each is seen once a second, and
// closes those that have been idle for longer than timeout.
//
//go:noinline
func clientsCron(s *Server) {
	cs := &s.clients
	if s.cron.loops%int64(s.cron.hz) == 0 {
		cs.trimLarge()
	}
	if len(cs.list) == 0 {
		return
	}
	const atLeast = 5 // CLIENTS_CRON_MIN_ITERATIONS
	n := min(len(cs.list), max(len(cs.list)/s.cron.hz, atLeast))
	for range n {
		cs.checked++
		c := cs.list[cs.checked%len(cs.list)]
		idle := s.loopClock.unixMs - c.lastActive
		if s.config.Timeout > 0 && c.flags&(clientPostponed|clientBlocked) == 0 && idle > int64(s.config.Timeout)*1000 {
			s.log.verbose("Closing idle client")
			freeClientAsync(c)
			continue
		}
		// As in Redis, a busy client keeps no more than twice what it needs.
		if idle > spareKept || cap(c.spare) > 2*max(c.peak, inputSize) {
			c.spare = nil
		}
		c.peak = 0
		if len(c.buf) > replySize {
			c.checkOutputLimit()
		}
	}
}
