package load

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// readSize is the most that one read takes: enough for the replies to any
// sensible pipeline, small enough to stay in the second-level cache.
const readSize = 64 << 10

// pollTimeout bounds how long a thread sleeps without looking at stop.
const pollTimeout = 50 * time.Millisecond

// conn is one connection. Its thread alone touches it.
type conn struct {
	fd       int
	inFlight int   // requests sent, or in unsent, and not answered
	sentAt   int64 // closed loop: when the requests in flight were sent
	unsent   []byte
	writable bool // epoll watches for room to write as well
	replies  replyCounter

	// due holds, with a rate, when each request in flight was due: a ring of
	// Pipeline places of which the oldest is at oldest.
	due    []int64
	oldest int
}

// thread owns some of the connections and all that their requests need.
type thread struct {
	sh     *shared
	conns  []conn
	domain int
	addr   unix.Sockaddr
	epoll  int
	batch  *batch
	in     []byte
	events []unix.EpollEvent

	hist     *hdrhistogram.Histogram
	done     int64 // replies received
	inFlight int   // requests of all connections
	drained  bool  // there is no further request to take

	// With a rate: the schedule of this thread, and where the search for a
	// connection with room continues.
	interval float64 // nanoseconds between requests
	released int64   // requests taken from the schedule so far
	nextConn int
	coarse   bool // the kernel lacks epoll_pwait2

	published atomic.Int64 // done, once each turn
	failed    atomic.Int64 // error replies, once each turn
	// The collector leaves an empty histogram in spare; the thread takes it and
	// leaves the one it had filled in filled.
	spare  atomic.Pointer[hdrhistogram.Histogram]
	filled atomic.Pointer[hdrhistogram.Histogram]
}

func newThread(sh *shared, index, clients int) (_ *thread, err error) {
	opts := sh.opts
	t := &thread{
		sh:     sh,
		conns:  make([]conn, 0, clients),
		in:     make([]byte, readSize),
		events: make([]unix.EpollEvent, min(clients, 1024)),
		hist:   newHistogram(),
		epoll:  -1,
	}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	// Threads draw different numbers: the seeds are far apart in SplitMix64's
	// single cycle.
	seed := opts.Seed + uint64(index)<<40
	if t.batch, err = newBatch(opts.Command, opts.Pipeline, opts.Keyspace, opts.SeqStart, seed); err != nil {
		return nil, err
	}
	if t.domain, t.addr, err = opts.Target.resolve(); err != nil {
		return nil, err
	}
	if t.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot create an epoll instance: %w", err)
	}
	if opts.Rate > 0 {
		t.interval = 1e9 * float64(opts.Threads) / opts.Rate
	}
	for range clients {
		t.conns = append(t.conns, conn{fd: -1})
		c := &t.conns[len(t.conns)-1]
		if opts.Rate > 0 {
			c.due = make([]int64, opts.Pipeline)
		}
		if err = t.connect(c, len(t.conns)-1); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *thread) connect(c *conn, index int) error {
	fd, err := t.sh.opts.Target.dial(t.domain, t.addr)
	if err != nil {
		return err
	}
	c.fd = fd
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(index)}
	if err := unix.EpollCtl(t.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

func (t *thread) close() {
	for i := range t.conns {
		if t.conns[i].fd >= 0 {
			unix.Close(t.conns[i].fd)
		}
	}
	if t.epoll >= 0 {
		unix.Close(t.epoll)
	}
}

func (t *thread) errors() (n int64) {
	for i := range t.conns {
		n += t.conns[i].replies.errors
	}
	return n
}

func (t *thread) firstError() string {
	for i := range t.conns {
		if t.conns[i].replies.errors > 0 {
			return t.conns[i].replies.errorText()
		}
	}
	return ""
}

// now is nanoseconds since the start of the run. time.Since on a time with a
// monotonic reading is one vDSO call, about 40 ns; there is one per reply read,
// next to two system calls of microseconds. The TSC itself would save most of
// it, but is not usable on every machine.
func (t *thread) now() int64 { return int64(time.Since(t.sh.start)) }

// run is the loop of one thread. It returns when all requests are answered, the
// run is stopped, or a connection fails.
func (t *thread) run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if t.interval > 0 {
		// The default of 50 µs would delay every wake-up of the schedule. The
		// slack is the thread's; failing leaves it as it was.
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
		defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)
	} else if err := t.sendAll(); err != nil {
		return err
	}
	for !t.sh.stop.Load() {
		wait := pollTimeout
		if t.interval > 0 {
			var err error
			if wait, err = t.sendDue(); err != nil {
				return err
			}
		}
		if t.inFlight == 0 && t.drained {
			if sent, err := t.sendHeld(); err != nil || !sent {
				return err
			}
		}
		n, err := t.poll(wait)
		if err != nil {
			return err
		}
		for i := range n {
			ev := &t.events[i]
			c := &t.conns[ev.Fd]
			if ev.Events&unix.EPOLLOUT != 0 {
				if err := t.flush(c, int(ev.Fd)); err != nil {
					return err
				}
			}
			if ev.Events&^unix.EPOLLOUT != 0 {
				if err := t.receive(c, int(ev.Fd)); err != nil {
					return err
				}
			}
		}
		t.published.Store(t.done)
		if t.spare.Load() != nil {
			t.failed.Store(t.errors())
			t.filled.Store(t.hist)
			t.hist = t.spare.Swap(nil)
		}
	}
	return nil
}

// take reserves up to n requests and returns the number of the first.
func (t *thread) take(n int) (first int64, taken int) {
	first = t.sh.next.Add(int64(n)) - int64(n)
	left := t.sh.limit - first
	if left <= int64(n) {
		t.drained = true
	}
	return first, int(max(0, min(left, int64(n))))
}

// sendHeld is called when this thread has nothing left to do. The last thread
// to get here sends the request that was held back, if there is one.
func (t *thread) sendHeld() (sent bool, err error) {
	if t.sh.live.Add(-1) > 0 || !t.sh.held.Swap(false) {
		return false, nil
	}
	t.sh.live.Add(1)
	c := &t.conns[0]
	now := t.now()
	if c.due != nil {
		c.due[c.oldest] = now
	}
	return true, t.send(c, 0, t.sh.limit, 1, now)
}

// sendAll starts the closed loop: one batch on each connection.
func (t *thread) sendAll() error {
	for i := range t.conns {
		if err := t.sendNext(&t.conns[i], i, t.now()); err != nil {
			return err
		}
	}
	return nil
}

// sendNext sends the next batch of the closed loop, if there is one.
func (t *thread) sendNext(c *conn, index int, now int64) error {
	if t.drained {
		return nil
	}
	first, n := t.take(t.sh.opts.Pipeline)
	if n == 0 {
		return nil
	}
	return t.send(c, index, first, n, now)
}

// sendDue sends what the schedule has released and returns how long it is
// until the next request is due, or pollTimeout when a reply must come first.
func (t *thread) sendDue() (time.Duration, error) {
	for !t.drained {
		now := t.now()
		due := int64(float64(now)/t.interval) + 1 - t.released
		if due <= 0 {
			next := time.Duration(float64(t.released)*t.interval) - time.Duration(now)
			return min(max(next, 0), pollTimeout), nil
		}
		c, index := t.connWithRoom()
		if c == nil {
			return pollTimeout, nil
		}
		first, n := t.take(int(min(due, int64(len(c.due)-c.inFlight))))
		for i := range n {
			place := (c.oldest + c.inFlight + i) % len(c.due)
			c.due[place] = int64(float64(t.released) * t.interval)
			t.released++
		}
		if n > 0 {
			if err := t.send(c, index, first, n, now); err != nil {
				return 0, err
			}
		}
	}
	return pollTimeout, nil
}

func (t *thread) connWithRoom() (*conn, int) {
	for range t.conns {
		i := t.nextConn
		if t.nextConn++; t.nextConn == len(t.conns) {
			t.nextConn = 0
		}
		if c := &t.conns[i]; c.inFlight < len(c.due) {
			return c, i
		}
	}
	return nil, 0
}

// send writes n requests, or keeps what the socket does not take.
func (t *thread) send(c *conn, index int, first int64, n int, now int64) error {
	out := t.batch.fill(first, n)
	c.sentAt = now
	c.inFlight += n
	t.inFlight += n
	if len(c.unsent) > 0 {
		c.unsent = append(c.unsent, out...)
		return nil
	}
	written, errno := rawWrite(c.fd, out)
	if errno != 0 {
		if errno != unix.EAGAIN && errno != unix.EINTR {
			return t.lost(errno)
		}
		written = 0
	}
	if written < len(out) {
		c.unsent = append(c.unsent[:0], out[written:]...)
		return t.watchWrite(c, index, true)
	}
	return nil
}

// flush writes what the socket had no room for.
func (t *thread) flush(c *conn, index int) error {
	n, errno := rawWrite(c.fd, c.unsent)
	if errno != 0 {
		if errno == unix.EAGAIN || errno == unix.EINTR {
			return nil
		}
		return t.lost(errno)
	}
	c.unsent = c.unsent[:copy(c.unsent, c.unsent[n:])]
	if len(c.unsent) == 0 {
		return t.watchWrite(c, index, false)
	}
	return nil
}

func (t *thread) watchWrite(c *conn, index int, on bool) error {
	if c.writable == on {
		return nil
	}
	c.writable = on
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(index)}
	if on {
		ev.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(t.epoll, unix.EPOLL_CTL_MOD, c.fd, &ev); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// receive reads once, records the replies, and sends the next batch when the
// connection has nothing in flight. One reading of the clock serves as the end
// of the old requests and the beginning of the new.
func (t *thread) receive(c *conn, index int) error {
	got, errno := rawRead(c.fd, t.in)
	if errno != 0 {
		if errno == unix.EAGAIN || errno == unix.EINTR {
			return nil
		}
		return t.lost(errno)
	}
	if got == 0 {
		return t.lost(nil)
	}
	n, err := c.replies.feed(t.in[:got])
	if n > c.inFlight {
		err = errors.New("the server sent more replies than it was sent requests")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", t.sh.opts.Target, err)
	}
	if n == 0 {
		return nil
	}
	now := t.now()
	if c.due == nil {
		t.record(now-c.sentAt, n)
	} else {
		for range n {
			t.record(now-c.due[c.oldest], 1)
			if c.oldest++; c.oldest == len(c.due) {
				c.oldest = 0
			}
		}
	}
	c.inFlight -= n
	t.inFlight -= n
	t.done += int64(n)
	if c.inFlight > 0 {
		return nil
	}
	if t.sh.opts.Reconnect && !t.drained {
		unix.Close(c.fd)
		c.fd = -1
		if err := t.connect(c, index); err != nil {
			return err
		}
		now = t.now()
	}
	if c.due != nil {
		return nil
	}
	return t.sendNext(c, index, now)
}

func (t *thread) record(latency int64, n int) {
	// It fails for a value out of range only, which the clamp excludes.
	_ = t.hist.RecordValues(min(max(latency, 0), maxLatency), int64(n))
}

// lost says that a connection ended; cause is nil when the server closed it.
func (t *thread) lost(cause error) error {
	if cause == nil {
		cause = errors.New("the server closed it")
	}
	return &LostError{Target: t.sh.opts.Target, Cause: cause}
}

// LostError reports a connection that ended while requests were under way.
type LostError struct {
	Target Target
	Cause  error
}

func (e *LostError) Error() string {
	return fmt.Sprintf("lost the connection to %s: %v", e.Target, e.Cause)
}

func (e *LostError) Unwrap() error { return e.Cause }

// The descriptors are non-blocking, so read and write return at once: telling
// the scheduler of each, as the wrappers of package unix do, costs more than it
// can bring.

func rawRead(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), errno
}

func rawWrite(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), errno
}

// poll waits for events, up to the given time. The wait may block, so the
// scheduler is told. A schedule needs epoll_pwait2, which counts in nanoseconds
// (Linux 5.11); before that, waits of less than a millisecond are spun away.
func (t *thread) poll(wait time.Duration) (int, error) {
	events := unsafe.Pointer(unsafe.SliceData(t.events))
	for {
		var n uintptr
		var errno unix.Errno
		if t.interval > 0 && !t.coarse {
			ts := unix.NsecToTimespec(int64(wait))
			n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(t.epoll),
				uintptr(events), uintptr(len(t.events)), uintptr(unsafe.Pointer(&ts)), 0, 0)
		} else {
			n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(t.epoll),
				uintptr(events), uintptr(len(t.events)), uintptr(wait/time.Millisecond), 0, 0)
		}
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.ENOSYS:
			t.coarse = true
		default:
			return 0, fmt.Errorf("epoll_wait: %w", errno)
		}
	}
}
